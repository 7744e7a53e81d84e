/*
 * The client API as flat C: plain integers, byte arrays and structures of fixed size, one function a call.
 *
 * Nothing here knows Python, so the shim runs as it is under valgrind or a sanitizer, driven by a C program.  The same
 * text, from "declarations" to its end, is what the Python module `_hpss` is generated from: keep it to what a C parser
 * without a preprocessor reads.
 *
 * Every function that returns int (or int64_t) answers with the client API's own code, negative, when the call failed,
 * and with 0 or the value asked for when not.  All of them may block for as long as the archive pleases, and apart from
 * shim_features, shim_built_for, shim_level, shim_error_name and shim_configure, none may be called before shim_login
 * succeeded: the library would wait for ever.  The shim has no state of its own.
 */
#ifndef SHIM_H
#define SHIM_H

#include <stddef.h>
#include <stdint.h>

/* declarations */

#define SHIM_MAX_LEVELS 8
#define SHIM_MAX_VOLUMES 16
#define SHIM_VOLUME_NAME_SIZE 32
#define SHIM_BITFILE_SIZE 128
#define SHIM_SERVER_SIZE 16
#define SHIM_REQUEST_SIZE 16
#define SHIM_FUNCTION_SIZE 64
#define SHIM_NAME_SIZE 1024

/* ---- What this build is ---- */

/* The optional parts that the SDK had when this was compiled, as words with a space between. */
const char *shim_features(void);

/* The HPSS version of the SDK, as "7.5"; empty where its headers do not say. */
const char *shim_built_for(void);

/* How many storage levels the library reports of a file. */
int shim_max_levels(void);

/* The level of the library that was loaded, as it names itself. */
int shim_level(char *text, size_t size);

/* ---- Errors ---- */

/* What the library remembers of the calling thread's last failure: often the server's code behind a general one. */
typedef struct {
    int code;
    char function[SHIM_FUNCTION_SIZE];
} shim_last_error;

/* Fetch it and clear it, for the call that has just failed in this thread.  Code 0: nothing more is known. */
void shim_take_last_error(shim_last_error *error);

/* The library's name of a code, or NULL. */
const char *shim_error_name(int code);

/* ---- Session ---- */

enum { SHIM_MECHANISM_UNIX = 1, SHIM_MECHANISM_KRB5 = 2 };

/* The library's own retries, before or after the login; delays in seconds. */
int shim_configure(int retries, int busy_retries, int busy_delay, int total_delay);

/* Log the process in with a key table. */
int shim_login(const char *principal, int mechanism, const char *keytab);

/* Drop the connections of all threads. */
void shim_reset(void);

/* Drop the connections and the credentials. */
void shim_logout(void);

/* Have the library set up the calling thread, with an umask of 0; release what it holds for the thread. */
void shim_thread_start(void);
void shim_thread_end(void);

/* Find the core server of a site; ask it for its clock.  `server` is opaque. */
int shim_lookup_core_server(const char *site, unsigned char server[SHIM_SERVER_SIZE]);
int shim_ping(const unsigned char server[SHIM_SERVER_SIZE]);

/* ---- Names ---- */

enum { SHIM_OTHER = 0, SHIM_FILE = 1, SHIM_DIRECTORY = 2, SHIM_SYMLINK = 3 };

typedef struct {
    int kind;
    uint32_t mode; /* permission bits only */
    uint32_t uid;
    uint32_t gid;
    uint32_t links;
    uint64_t id;
    uint64_t size;
    int64_t accessed;
    int64_t modified;
    int64_t changed;
} shim_stat;

int shim_stat_path(const char *path, shim_stat *stat);
int shim_stat_link(const char *path, shim_stat *stat);
int shim_stat_open(int descriptor, shim_stat *stat);

int shim_readlink(const char *path, char *target, size_t size);
int shim_mkdir(const char *path, uint32_t mode);
int shim_rmdir(const char *path);
int shim_rename(const char *old_path, const char *new_path);
int shim_link(const char *existing, const char *new_path);
int shim_unlink(const char *path);
int shim_chmod(const char *path, uint32_t mode);

/* HPSS_ERANGE for a time that the archive cannot store. */
int shim_utime(const char *path, int64_t accessed, int64_t modified);

/* Fill `names` with whole names, each ended by a NUL, and return the bytes used: 0 at the end of the directory.
 * `size` must be SHIM_NAME_SIZE at least. */
int shim_opendir(const char *path);
int64_t shim_readdir(int descriptor, char *names, size_t size);
int shim_closedir(int descriptor);

/* ---- Where the bytes are ---- */

enum { SHIM_MEDIUM_NONE = 0, SHIM_MEDIUM_DISK = 1, SHIM_MEDIUM_TAPE = 2 };

/* A virtual volume; of a striped one, the name is that of its first physical volume. */
typedef struct {
    char name[SHIM_VOLUME_NAME_SIZE];
    int64_t position;
    uint64_t offset;
    uint64_t bytes;
} shim_volume;

typedef struct {
    int medium;
    int has_data;
    uint64_t bytes;
    uint32_t volume_count;
    shim_volume volumes[SHIM_MAX_VOLUMES];
} shim_level_state;

typedef struct {
    shim_stat stat;
    uint32_t cos;
    int purge_locked;
    uint32_t bitfile_size;
    unsigned char bitfile[SHIM_BITFILE_SIZE]; /* opaque */
    shim_level_state levels[SHIM_MAX_LEVELS];
} shim_attributes;

/* All levels in one call, which does not wait for a file that is moving between levels. */
int shim_get_attributes(const char *path, shim_attributes *attributes);

/* ---- Data ---- */

/* Create a file that must not exist, with mode 0600, for writing.  A class of service is taken before a size;
 * size -1, class 0 and family 0: not known, not wanted. */
int shim_create(const char *path, int64_t size, uint32_t cos, uint32_t family);

/* Open what exists; `flags` are those of open(2), and O_NONBLOCK keeps the library from staging. */
int shim_open(const char *path, int flags);

int shim_close(int descriptor);
int64_t shim_read(int descriptor, void *buffer, size_t size);
int64_t shim_write(int descriptor, const void *buffer, size_t size);
int64_t shim_seek(int descriptor, int64_t offset);

/* HPSS_EOPNOTSUPP where the SDK has no hpss_Fsync. */
int shim_fsync(int descriptor);

/* ---- User-defined attributes ---- */

/* `values` has room for `count` texts of `value_size` bytes each; HPSS_ERANGE where that is too little. */
int shim_get_user_attributes(const char *path, int count, const char *const *keys, char *values, size_t value_size);
int shim_set_user_attributes(const char *path, int count, const char *const *keys, const char *const *values);
int shim_delete_user_attributes(const char *path, int count, const char *const *keys);

/* ---- Between the levels ---- */

enum { SHIM_STAGE_UNKNOWN = 0, SHIM_STAGE_QUEUED = 1, SHIM_STAGE_ACTIVE = 2 };

/* Bring the whole file to the first level, and return when it is there. */
int shim_stage(int descriptor);

/* Copy it from the first level to the next; drop it from the first level.  Both return when that is done. */
int shim_migrate(int descriptor);
int shim_purge(int descriptor);

/* Ask for a stage under an id of the caller's, and return at once.  `bitfile` is filled for shim_stage_status, which
 * returns one of SHIM_STAGE_*. */
int shim_submit_stage(const char *path, const unsigned char request[SHIM_REQUEST_SIZE],
                      unsigned char bitfile[SHIM_BITFILE_SIZE], uint32_t *bitfile_size);
int shim_stage_status(const unsigned char request[SHIM_REQUEST_SIZE], const unsigned char *bitfile,
                      size_t bitfile_size);

/* The same for many files, which the server then orders by tape and position.  `bitfiles` lie one after the other,
 * `bitfile_size` apart; the server's own id of the batch is stored in `batch`; `states` are SHIM_STAGE_*.
 * HPSS_EOPNOTSUPP where the SDK cannot do it. */
int shim_submit_batch(const unsigned char request[SHIM_REQUEST_SIZE], const unsigned char *bitfiles,
                      size_t bitfile_size, int count, unsigned char batch[SHIM_REQUEST_SIZE]);
int shim_batch_status(const unsigned char batch[SHIM_REQUEST_SIZE], const unsigned char *bitfiles, size_t bitfile_size,
                      int count, int *states);

/* end of declarations */

#endif
