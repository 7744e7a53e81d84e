/* The name space: status, directories, links, times. */
#include "shim_sdk.h"

#include <string.h>
#include <sys/stat.h>
#include <utime.h>

static int kind_of_mode(uint32_t mode) {
    if (S_ISREG(mode))
        return SHIM_FILE;
    if (S_ISDIR(mode))
        return SHIM_DIRECTORY;
    if (S_ISLNK(mode))
        return SHIM_SYMLINK;
    return SHIM_OTHER;
}

static int flatten(int code, const hpss_stat_t *from, shim_stat *stat) {
    if (code < 0)
        return code;
    *stat = (shim_stat){
        .kind = kind_of_mode(from->st_mode),
        .mode = from->st_mode & 07777,
        .uid = from->st_uid,
        .gid = from->st_gid,
        .links = from->st_nlink,
        .id = from->st_ino,
        .size = from->st_size,
        .accessed = from->hpss_st_atime,
        .modified = from->hpss_st_mtime,
        .changed = from->hpss_st_ctime,
    };
    return 0;
}

int shim_stat_path(const char *path, shim_stat *stat) {
    hpss_stat_t found;
    return flatten(hpss_Stat((char *)path, &found), &found, stat);
}

int shim_stat_link(const char *path, shim_stat *stat) {
    hpss_stat_t found;
    return flatten(hpss_Lstat((char *)path, &found), &found, stat);
}

int shim_stat_open(int descriptor, shim_stat *stat) {
    hpss_stat_t found;
    return flatten(hpss_Fstat(descriptor, &found), &found, stat);
}

int shim_readlink(const char *path, char *target, size_t size) {
    /* Whether the library ends the text with a NUL is not known, so one is there beforehand. */
    memset(target, 0, size);
    int code = hpss_Readlink((char *)path, target, size - 1);
    return code < 0 ? code : 0;
}

int shim_mkdir(const char *path, uint32_t mode) {
    return hpss_Mkdir((char *)path, (mode_t)mode);
}

int shim_rmdir(const char *path) {
    return hpss_Rmdir((char *)path);
}

int shim_rename(const char *old_path, const char *new_path) {
    return hpss_Rename((char *)old_path, (char *)new_path);
}

int shim_link(const char *existing, const char *new_path) {
    return hpss_Link((char *)existing, (char *)new_path);
}

int shim_unlink(const char *path) {
    return hpss_Unlink((char *)path);
}

int shim_chmod(const char *path, uint32_t mode) {
    return hpss_Chmod((char *)path, (mode_t)mode);
}

/* The archive keeps fewer bits than time_t has, and would cut a time off in silence. */
static int fits_archive(int64_t seconds) {
    return (int64_t)(timestamp_sec_t)seconds == seconds;
}

int shim_utime(const char *path, int64_t accessed, int64_t modified) {
    if (!fits_archive(accessed) || !fits_archive(modified))
        return HPSS_ERANGE;
    struct utimbuf times = {.actime = (time_t)accessed, .modtime = (time_t)modified};
    return hpss_Utime((char *)path, &times);
}

int shim_opendir(const char *path) {
    return hpss_Opendir((char *)path);
}

int64_t shim_readdir(int descriptor, char *names, size_t size) {
    size_t used = 0;
    while (size - used >= SHIM_NAME_SIZE) {
        hpss_dirent_t entry;
        memset(&entry, 0, sizeof entry);
        int code = hpss_Readdir(descriptor, &entry);
        if (code < 0)
            return code;
        if (entry.d_namelen == 0)
            break;
        size_t length = strnlen(entry.d_name, sizeof entry.d_name);
        if (length >= SHIM_NAME_SIZE)
            return HPSS_ENAMETOOLONG;
        memcpy(names + used, entry.d_name, length);
        names[used + length] = '\0';
        used += length + 1;
    }
    return (int64_t)used;
}

int shim_closedir(int descriptor) {
    return hpss_Closedir(descriptor);
}
