/* What the files of the library share.

   A public function is a thin frame: call_begin() asks whether the call may run at all (login, faults, the server's
   state), a function of the concern does the work, call_end() accounts for it.  Codes are 0 or a count, or negative. */
#ifndef SIM_H
#define SIM_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>

#include "control.h"
#include "hpss_api.h"
#include "tape.h"

typedef sqlite3_int64 object_id;

#define ROOT_OBJECT ((object_id)1)

/* Every function that is counted and that a fault can name: "hpss_" goes before. */
#define SIM_FUNCTIONS(X)                                                                                               \
    X(SetLoginCred) X(PurgeLoginCred) X(ClientAPIReset) X(LoadDefaultThreadState) X(LoadThreadState) X(GetThreadUcred) \
    X(Umask) X(GetLastHPSSErrno) X(ClearLastHPSSErrno) X(ThreadCleanUp) X(LookupRootCS) X(PingCore)                    \
    X(Stat) X(Lstat) X(Fstat) X(Access) X(Chmod) X(Chown) X(Utime) X(Truncate) X(Ftruncate) X(Rename) X(Unlink)        \
    X(Link) X(Symlink) X(Readlink) X(Mkdir) X(Rmdir) X(Statfs) X(FileGetAttributes) X(FileSetAttributes)               \
    X(FileGetXAttributes) X(GetListAttrs) X(FileSetCOS) X(Opendir) X(Readdir) X(Rewinddir) X(Closedir)                 \
    X(Open) X(Close) X(Read) X(Write) X(Lseek) X(SetFileOffset) X(Fsync) X(Fpreallocate) X(CopyFile) X(SetCOSByHints)  \
    X(Fopen) X(Fread) X(Fwrite) X(Fseek) X(Ftell) X(Fflush) X(Fclose) X(Fgetc) X(Fgets)                                \
    X(Stage) X(Migrate) X(Purge) X(PurgeLock) X(StageCallBack) X(GetAsyncStatus) X(GetAsynchStatus)                    \
    X(StageBatchCallBack) X(GetBatchAsynchStatus)                                                                      \
    X(UserAttrSetAttrs) X(UserAttrDeleteAttrs) X(UserAttrGetAttrs) X(UserAttrListAttrs)

enum function {
#define SIM_FUNCTION_NUMBER(name) FN_##name,
    SIM_FUNCTIONS(SIM_FUNCTION_NUMBER)
#undef SIM_FUNCTION_NUMBER
    FUNCTION_COUNT
};

_Static_assert(FUNCTION_COUNT <= SIM_CONTROL_CALLS, "room in the control page");

const char *function_name(enum function function);

/* ---- clock.c: simulated and real time ---- */

double clock_real(void);
double clock_simulated(struct control *control);
void clock_sleep(double seconds);

/* ---- archive.c: the directory, and the control page in it ---- */

struct archive {
    struct archive *next;
    int references;
    char directory[HPSS_MAX_PATH_NAME + 1];
    int data;                        /* the directory of the bytes */
    struct control *control;
    struct control_process *process; /* this process's entry */
    struct control_process no_room;  /* stands in when the page is full */
};

/* `directory` must hold an archive.  The caller gets a reference. */
int archive_open(const char *directory, struct archive **out);
struct archive *archive_hold(struct archive *archive);
void archive_release(struct archive *archive);

/* Around a fork(): locks are held over it, and the child forgets what is the parent's, without closing it. */
enum fork_step { FORK_PREPARE, FORK_PARENT, FORK_CHILD };

void archive_fork(enum fork_step step);

/* ---- database.c: one connection to hpss.db, its prepared statements, transactions ---- */

#define DATABASE_STATEMENTS 128

struct database {
    sqlite3 *connection;
    struct tape *tape;
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } statements[DATABASE_STATEMENTS];
};

int database_open(struct database *database, const char *directory);
/* To be called in a child of fork() after its first database_open. */
int database_after_fork(const char *directory);
void database_close(struct database *database);

/* `types` has a letter for each argument: i sqlite3_int64, s text (may be NULL), d double. */
int db_run(struct database *database, const char *sql, const char *types, ...);
/* 1 and the first row, to be given back with db_done; 0 when there is none. */
int db_row(struct database *database, sqlite3_stmt **row, const char *sql, const char *types, ...);
/* The next row of it, 1 or 0.  After 0 or an error the statement is given back already. */
int db_next(sqlite3_stmt *row);
void db_done(sqlite3_stmt *row);
/* The one integer that the query gives, `otherwise` when it gives no row. */
int db_integer(struct database *database, sqlite3_int64 *value, sqlite3_int64 otherwise, const char *sql,
               const char *types, ...);
int db_code(int result);

int db_read(struct database *database);
int db_write(struct database *database);
/* Ends the transaction: commits when `code` is no error.  `code`, or the error of the commit. */
int db_end(struct database *database, int code);

/* ---- settings.c: the tables setting, fault and cos, read anew when the control page says so ---- */

enum server_state { SERVER_UP, SERVER_DOWN, SERVER_BUSY };

enum fault_action { FAULT_ERROR, FAULT_DELAY, FAULT_HANG, FAULT_SHORT, FAULT_DISCONNECT };

struct fault {
    sqlite3_int64 id;
    char *function;
    char *path;
    uint64_t first;
    uint64_t count;
    enum fault_action action;
    sqlite3_int64 value;
};

struct service_class {
    unsigned32 id;
    char name[HPSS_MAX_COS_NAME];
    u_signed64 min_size;
    u_signed64 max_size;
    bool enforce_max;
    int levels;
    bool is_disk[HPSS_MAX_STORAGE_LEVELS];
    unsigned32 stage_code;
};

struct settings {
    enum server_state server_state;
    bool linux_numbers;
    bool user_attributes;
    double credential_lifetime; /* seconds, 0: for ever */
    uint64_t credential_calls;  /* 0: without end */
    double ping_skew;
    double ping_delay;
    double retry_delay;
    double callback_timeout;
    int max_open_files;
    unsigned32 principal_uid;
    unsigned32 principal_gid;
    unsigned32 default_cos;
    char site[HPSS_MAX_DESC_NAME];
    size_t fault_count;
    struct fault *faults;
    size_t class_count;
    struct service_class *classes;
};

int settings_load(struct database *database, struct settings *settings);
void settings_free(struct settings *settings);
const struct service_class *settings_class(const struct settings *settings, sqlite3_int64 id);

/* ---- session.c: login, configuration, the breaking of connections ---- */

struct session {
    struct archive *archive; /* NULL: not logged in; the caller's reference */
    double login_time;
    uint64_t credential_epoch;
    char principal[HPSS_MAX_PRINCIPAL_NAME];
};

/* Changes with every login, logout and fork. */
uint64_t session_number(void);
/* Changes when all connections break. */
uint64_t session_connections(void);
/* The calls since the login, this one included. */
uint64_t session_count_call(void);
/* True in a child of fork() that has not logged in since. */
bool session_is_of_parent(void);
struct session session_now(uint64_t *number);
api_config_t session_configuration(void);

/* ---- context.c: what the library keeps for a thread ---- */

struct context {
    struct archive *archive;
    struct database database;
    struct settings settings;
    uint64_t generation; /* of the settings */
    uint64_t session;
    double login_time;
    uint64_t credential_epoch;
    mode_t umask;
    uid_t uid;
    gid_t gid;
    bool is_assumed; /* a user was loaded for this thread */
    char user[HPSS_MAX_PRINCIPAL_NAME];
    hpss_errno_state_t last_error;
};

int context_connect(struct context *context, struct archive *archive);
void context_disconnect(struct context *context);
/* This thread's context, connected to the archive of the present login; waits for a login when there is none. */
int context_get(struct context **out);
/* Reads the settings anew when they have changed.  Outside a transaction. */
int context_refresh(struct context *context);
void context_forget_in_child(void);

/* ---- call.c: the frame of every public call ---- */

struct call {
    struct context *context;
    enum function function;
    const char *path;
    const char *second_path;
    uint64_t connections;
    size_t limit; /* a short read or write: no more than this */
    bool is_short;
    bool is_cut_off;  /* the work is done, the answer is lost */
    bool is_verbatim; /* the code comes from the fault plan, and goes out as it is */
};

int call_begin(struct call *call, enum function function, const char *path);
int call_begin_in(struct call *call, struct context *context, enum function function, const char *path,
                  const char *second_path);
int call_begin_pair(struct call *call, enum function function, const char *path, const char *second_path);
/* `code`, or what became of it. */
long long call_end(struct call *call, long long code);
/* Sleeps for one step of a wait, the steps growing from `*step` = 0; HPSS_ECONN when the connections have broken. */
int call_pause(struct call *call, double *step);
/* Plays the library up to now and delivers callbacks. */
int call_advance(struct call *call);
double call_now(const struct call *call);
/* Counts a call that runs without a login. */
void call_count(struct archive *archive, enum function function);

/* ---- namespace.c: paths ---- */

struct object {
    object_id id;
    int type;
    unsigned32 mode; /* permission bits, and the special ones */
    unsigned32 uid;
    unsigned32 gid;
    unsigned32 nlink;
    u_signed64 size;
    unsigned32 cos;
    unsigned32 family;
    sqlite3_int64 fileset;
    sqlite3_int64 created;
    sqlite3_int64 accessed;
    sqlite3_int64 written;
    sqlite3_int64 changed;
    bool purge_lock;
    unsigned32 generation;
};

struct place {
    struct object parent;
    char name[HPSS_MAX_FILE_NAME + 1]; /* empty: the path names a directory without naming it in a parent: / . .. */
    bool must_be_directory;            /* a slash ended the path */
    bool exists;
    struct object found;
};

enum links { FOLLOW, NO_FOLLOW };

/* 1 when it exists. */
int object_load(struct context *context, object_id id, struct object *out);
/* The directory that a directory is in; of the root, the root. */
int object_parent(struct context *context, object_id directory, struct object *out);
/* Where the path leads; the last name need not exist.  Inside a transaction. */
int namespace_find(struct context *context, const char *path, enum links links, struct place *place);
/* The object at the path, HPSS_ENOENT when there is none.  Inside a transaction. */
int namespace_object(struct context *context, const char *path, enum links links, struct object *out);
/* 0 when the thread's user may: R_OK, W_OK, X_OK. */
int namespace_permits(const struct context *context, const struct object *object, int access);
bool namespace_is_owner(const struct context *context, const struct object *object);

/* ---- tree.c ---- */

/* A new object of that type under the name that `place` has. */
int tree_create(struct context *context, const struct place *place, int type, mode_t mode, const char *target,
                sqlite3_int64 now, object_id *id);

/* ---- attributes.c ---- */

/* The object at the path, and all that hpss_Attrs_t says of it.  Inside a transaction. */
int attributes_of(struct context *context, const char *path, enum links links, struct object *object,
                  hpss_Attrs_t *out);
void attributes_handle(const struct object *object, ns_ObjHandle_t *handle);
#if HPSS_SIM_LEVEL >= 750
typedef bfs_bitfile_obj_handle_t bitfile_t;
#else
typedef hpssoid_t bitfile_t;
#endif
bitfile_t attributes_bitfile(object_id id);
/* 0 when it was not made by attributes_bitfile. */
object_id attributes_object(const bitfile_t *bitfile);

/* ---- residency.c: is a file on disk, and how does it get there ---- */

enum residency { ON_DISK, NOT_ON_DISK };

int residency_of(struct context *context, object_id object, u_signed64 *size, enum residency *residency);
/* Returns once the file is on disk, asking for it if nobody has; a negative code when it cannot come. */
int residency_wait(struct call *call, object_id object);
/* Asks for the file: the number of the request. */
int residency_ask(struct call *call, object_id object, sqlite3_int64 *request);
/* Returns the code that the request ended with. */
int residency_wait_request(struct call *call, sqlite3_int64 request);

/* ---- descriptor.c: one table for files and directories ---- */

struct directory_page {
    char (*names)[HPSS_MAX_FILE_NAME + 1];
    struct object *objects;
    size_t count;
    size_t next;
    bool is_last;
    int dots; /* of "." and "..", how many have been given */
    char after[HPSS_MAX_FILE_NAME + 1];
};

struct descriptor {
    atomic_int references;
    pthread_mutex_t lock; /* held for the length of one operation on it */
    int number;
    bool is_directory;
    int flags;
    object_id object;
    char path[HPSS_MAX_PATH_NAME + 1];
    uint64_t connections; /* breaks with them */
    bool is_cut_off;
    struct archive *archive;
    int data;         /* for those who write; -1 for those who only read */
    const void *view; /* for those who only read: the bytes as they were when it was opened */
    u_signed64 view_size;
    u_signed64 offset;
    bool has_read;
    bool has_written;
    sqlite3_int64 stage; /* asynchronous stage that Close waits for, 0 = none */
    struct directory_page page;
};

/* A new entry with one reference for the table and one for the caller. */
int descriptor_new(struct context *context, bool is_directory, const char *path, struct descriptor **out);
/* Holds it and its lock. */
int descriptor_get(int number, bool is_directory, struct descriptor **out);
void descriptor_put(struct descriptor *descriptor);
/* Takes the entry out of the table; it goes when nobody holds it any more. */
void descriptor_remove(struct descriptor *descriptor);
/* The path it was opened by, for faults; NULL when there is no such entry. */
const char *descriptor_path(int number, char *buffer);
/* HPSS_ECONN when its connection is gone. */
int descriptor_check(const struct descriptor *descriptor);
void descriptor_fork(enum fork_step step);

/* ---- cos.c: classes of service ---- */

int cos_choose(struct context *context, const hpss_cos_hints_t *hints, const hpss_cos_priorities_t *priorities,
               const struct service_class **out);

/* ---- data.c: also used by streams ---- */

int data_open(struct call *call, const char *path, int flags, mode_t mode, const hpss_cos_hints_t *hints,
              const hpss_cos_priorities_t *priorities, hpss_cos_hints_t *chosen);
/* Closes whatever happens: `begun` is the code of call_begin, after an error of which there is nothing to finish. */
int data_close(struct call *call, int begun, int number);
/* Takes away a descriptor of which nobody knows. */
void data_drop(int number);
ssize_t data_read(struct call *call, struct descriptor *descriptor, void *buffer, size_t size, u_signed64 offset);
ssize_t data_write(struct call *call, struct descriptor *descriptor, const void *buffer, size_t size);
int data_resize(struct call *call, struct descriptor *descriptor, u_signed64 length);
/* All bytes are written: a file that is kept on tape alone gets its place there. */
int data_settle(struct call *call, struct descriptor *descriptor);
int data_seek(struct call *call, struct descriptor *descriptor, hpss_off_t offset, int whence, u_signed64 *result);
/* Bytes of the file that are no hole. */
u_signed64 data_bytes(int data, u_signed64 size);
/* How many bytes there are, whether or not the file still has a name. */
int data_size(const struct descriptor *descriptor, u_signed64 *size);
/* The name of an object's bytes below the directory of the bytes. */
void data_name(object_id object, char name[32]);

/* ---- staging.c ---- */

/* HPSS_STAGE_STATUS_* of the file under that request id. */
int staging_status(struct call *call, const hpss_reqid_t *id, const bitfile_t *bitfile, int *status);

/* ---- names.c ---- */

/* Some of the real library's paths answer with the local numbers, which differ above 34. */
int code_in_linux_numbers(int code);
/* What errno is set to for a code. */
int local_errno(int code);

/* ---- callback.c ---- */

#define CALLBACK_TEXT 128

/* The text kept in a request; "none" for an address of zeros. */
void callback_text(const bfs_callback_addr_t *address, char *text, size_t size);
/* Tells whoever waits for requests that have ended. */
int callback_deliver(struct database *database, struct control *control, double timeout);

/* ---- requestid.c ---- */

#define REQUEST_ID_TEXT 40

void request_id_text(const hpss_reqid_t *id, char text[REQUEST_ID_TEXT]);
bool request_id_is_zero(const hpss_reqid_t *id);
hpss_reqid_t request_id_new(void);

#endif
