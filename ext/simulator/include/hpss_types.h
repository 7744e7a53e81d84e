/* Scalar and shared types of the client API. */
#ifndef HPSS_TYPES_H
#define HPSS_TYPES_H

#include <stdint.h>
#include <sys/types.h>
#include <netinet/in.h>

#include "hpss_limits.h"
#include "hpss_version.h"
#include "u_signed64.h"

typedef uint32_t unsigned32;
typedef int32_t signed32;
typedef uint16_t unsigned16;
typedef int16_t signed16;
typedef uint8_t byte;

typedef uint32_t timestamp_sec_t;
typedef uint32_t acct_rec_t;
typedef int64_t hpss_off_t;

typedef struct hpss_uuid {
    unsigned32 time_low;
    unsigned16 time_mid;
    unsigned16 time_hi_and_version;
    byte clock_seq_hi_and_reserved;
    byte clock_seq_low;
    byte node[6];
} hpss_uuid_t;

#if HPSS_SIM_LEVEL >= 830
typedef hpss_uuid_t hpss_reqid_t;
#elif HPSS_SIM_LEVEL >= 750
typedef unsigned32 hpss_reqid_t;
#else
typedef signed32 hpss_reqid_t;
#endif

/* Opaque: callers may compare and print the bytes, nothing else. */
#if HPSS_SIM_LEVEL >= 750
typedef struct hpssoid {
    byte Bytes[32];
} hpssoid_t;

typedef unsigned32 hpss_srvr_id_t;
typedef unsigned16 hpss_distributionkey_t;

typedef struct bfs_bitfile_obj_handle {
    hpssoid_t BfId;
    hpss_distributionkey_t BfHash;
    unsigned32 ValidHash;
} bfs_bitfile_obj_handle_t;
#else
typedef struct hpssoid {
    hpss_uuid_t ObjectID;
    unsigned32 ServerDep1;
    unsigned16 ServerDep2;
    unsigned16 ServerDep3;
    byte ServerDep4;
    byte ServerDep5;
    byte SecurityLevel[2];
    byte Reserved[2];
    byte SubType;
    byte Type;
} hpssoid_t;
#endif

typedef struct sockaddr_storage hpss_sockaddr_t;

typedef struct ns_ObjHandle {
    u_signed64 ObjId;
    u_signed64 FileId;
    unsigned32 Type;
    byte Flags;
    unsigned32 Generation;
#if HPSS_SIM_LEVEL >= 750
    hpss_srvr_id_t CoreServerId;
#else
    hpss_uuid_t CoreServerUUID;
#endif
} ns_ObjHandle_t;

#define NS_OBJECT_TYPE_FILE 0x81
#define NS_OBJECT_TYPE_SYM_LINK 0x82
#define NS_OBJECT_TYPE_HARD_LINK 0x83
#define NS_OBJECT_TYPE_DIRECTORY 0x84
#define NS_OBJECT_TYPE_JUNCTION 0x85
#define NS_OBJECT_TYPE_FILESET_ROOT 0x86

#define NS_PERMS_RD 0x20
#define NS_PERMS_WR 0x40
#define NS_PERMS_XS 0x80

/* Who calls. */
typedef struct sec_cred {
    unsigned32 Uid;
    unsigned32 Gid;
    unsigned32 NumGroups;
    unsigned32 AltGroups[HPSS_NGROUPS_MAX];
    unsigned32 RealmId;
    acct_rec_t DefAccount;
    acct_rec_t CurAccount;
    char Name[HPSS_MAX_PRINCIPAL_NAME];
} sec_cred_t;

#endif
