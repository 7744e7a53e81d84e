/* stat in the client API's form: one-second resolution, the _n fields unused. */
#ifndef HPSS_STAT_H
#define HPSS_STAT_H

#include <sys/stat.h>

#include "hpss_types.h"

typedef struct hpss_stat {
    unsigned32 st_dev;
    u_signed64 st_ino;
    unsigned16 st_nlink;
    unsigned16 st_flag;
    unsigned32 st_uid;
    unsigned32 st_gid;
    unsigned32 st_rdev;
    u_signed64 st_ssize;
    timestamp_sec_t hpss_st_atime;
    unsigned32 st_atime_n;
    timestamp_sec_t hpss_st_mtime;
    unsigned32 st_mtime_n;
    timestamp_sec_t hpss_st_ctime;
    unsigned32 st_ctime_n;
    unsigned32 st_blksize;
    unsigned32 st_blocks;
    signed32 st_vfstype;
    unsigned32 st_vfs;
    unsigned32 st_type;
    unsigned32 st_gen;
    u_signed64 st_size;
    unsigned32 st_mode;
} hpss_stat_t;

typedef struct hpss_statfs {
    signed32 f_type;
    unsigned32 f_bsize;
    u_signed64 f_blocks;
    u_signed64 f_bfree;
    u_signed64 f_bavail;
    u_signed64 f_files;
    u_signed64 f_ffree;
    unsigned32 f_fsid;
    char f_fname[32];
} hpss_statfs_t;

#endif
