/* Moving files between levels: stage in its forms, migrate, purge and the lock against it. */
#include <string.h>

#include "sim.h"

/* Only the top level can be the target of a stage, or the source of a migration and a purge. */
static int check_level(unsigned32 level) {
    return level == 0 ? 0 : HPSS_EINVAL;
}

/* A descriptor for a call that moves data: locked, its connection whole, the library played up to now. */
static int begin_move(struct call *call, enum function function, int number, char *path, struct descriptor **out) {
    int code = call_begin(call, function, descriptor_path(number, path));
    if (code == 0)
        code = call_advance(call);
    if (code == 0)
        code = descriptor_get(number, false, out);
    if (code != 0) {
        *out = NULL;
        return code;
    }
    return descriptor_check(*out);
}

static int end_move(struct call *call, struct descriptor *descriptor, int code) {
    if (descriptor != NULL)
        descriptor_put(descriptor);
    return (int)call_end(call, code);
}

int hpss_Stage(int Fildes, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel, unsigned32 Flags) {
    (void)Offset;
    (void)Length; /* a range is taken for the whole file */
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    sqlite3_int64 request = 0;
    int code = begin_move(&call, FN_Stage, Fildes, path, &descriptor);
    if (code == 0)
        code = check_level(StorageLevel);
    if (code == 0)
        code = residency_ask(&call, descriptor->object, &request);
    if (code == 0 && (Flags & BFS_ASYNCH_CALL) != 0)
        descriptor->stage = request; /* Close waits for it */
    else if (code == 0)
        code = residency_wait_request(&call, request);
    return end_move(&call, descriptor, code);
}

static int migrate(struct call *call, object_id object, unsigned32 flags, uint64_t *bytes) {
    struct database *database = &call->context->database;
    int code = db_write(database);
    if (code == 0 && (flags & HPSS_MIGRATE_NO_COPY) == 0)
        code = tape_migrate(database->tape, object, bytes);
    if (code == 0 && (flags & HPSS_MIGRATE_PURGE_DATA) != 0)
        code = tape_purge(database->tape, object, NULL);
    return db_end(database, code);
}

int hpss_Migrate(int Fildes, unsigned32 SrcLevel, unsigned32 Flags, u_signed64 *RetBytesMigrated) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    uint64_t bytes = 0;
    int code = begin_move(&call, FN_Migrate, Fildes, path, &descriptor);
    if (code == 0)
        code = check_level(SrcLevel);
    if (code == 0)
        code = migrate(&call, descriptor->object, Flags, &bytes);
    if (code == 0 && RetBytesMigrated != NULL)
        *RetBytesMigrated = bytes;
    return end_move(&call, descriptor, code);
}

static int check_purge(struct call *call, const struct descriptor *descriptor, u_signed64 offset, u_signed64 length,
                       unsigned32 flags) {
    u_signed64 size;
    enum residency residency;
    if ((descriptor->flags & O_ACCMODE) == O_RDONLY)
        return HPSS_EBADF;
    int code = residency_of(call->context, descriptor->object, &size, &residency);
    bool is_whole = (flags & BFS_PURGE_ALL) != 0 || (offset == 0 && length >= size);
    return code == 0 && !is_whole ? HPSS_EINVAL : code;
}

int hpss_Purge(int Fildes, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel, unsigned32 Flags,
               u_signed64 *RetBytesPurged) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    uint64_t bytes = 0;
    int code = begin_move(&call, FN_Purge, Fildes, path, &descriptor);
    if (code == 0)
        code = check_level(StorageLevel);
    if (code == 0)
        code = check_purge(&call, descriptor, Offset, Length, Flags);
    if (code == 0)
        code = db_write(&call.context->database);
    if (code == 0)
        code = db_end(&call.context->database,
                      tape_purge(call.context->database.tape, descriptor->object, &bytes));
    if (code == 0 && RetBytesPurged != NULL)
        *RetBytesPurged = bytes;
    return end_move(&call, descriptor, code);
}

/* Only bytes on a disk level can be kept there; a lock that is left over can be taken off whatever became of them. */
static int lock_purge(struct context *context, object_id id, bool lock) {
    struct object object;
    sqlite3_int64 on_top;
    int found = object_load(context, id, &object);
    if (found != 1)
        return found < 0 ? found : HPSS_ENOENT;
    const struct service_class *class = settings_class(&context->settings, object.cos);
    int code = db_integer(&context->database, &on_top, 0, "SELECT 1 FROM level WHERE object = ? AND level = 0", "i",
                          id);
    if (code == 0 && lock && (on_top == 0 || class == NULL || !class->is_disk[0]))
        code = HPSS_EINVAL;
    if (code == 0)
        code = db_run(&context->database, "UPDATE object SET purge_lock = ? WHERE id = ?", "ii", (sqlite3_int64)lock,
                      id);
    return code;
}

int hpss_PurgeLock(int Fildes, purgelock_flag_t Flag) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = begin_move(&call, FN_PurgeLock, Fildes, path, &descriptor);
    if (code == 0 && Flag != PURGE_LOCK && Flag != PURGE_UNLOCK)
        code = HPSS_EINVAL;
    if (code == 0)
        code = db_write(&call.context->database);
    if (code == 0)
        code = db_end(&call.context->database, lock_purge(call.context, descriptor->object, Flag == PURGE_LOCK));
    return end_move(&call, descriptor, code);
}

/* ---- by path, with a callback ---- */

static int submit(struct call *call, const char *path, const bfs_callback_addr_t *callback, const hpss_reqid_t *id,
                  object_id *file) {
    struct context *context = call->context;
    struct object object;
    sqlite3_int64 request;
    char id_text[REQUEST_ID_TEXT], callback_line[CALLBACK_TEXT];
    request_id_text(id, id_text);
    callback_text(callback, callback_line, sizeof callback_line);
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_object(context, path, FOLLOW, &object);
    if (code == 0)
        code = object.type != NS_OBJECT_TYPE_FILE ? HPSS_EISDIR : namespace_permits(context, &object, 4);
    if (code == 0)
        code = tape_submit(context->database.tape, object.id, id_text, 0, callback_line, call_now(call), &request);
    if (code == 0)
        *file = object.id;
    return db_end(&context->database, code);
}

int hpss_StageCallBack(HPSS_SIM_CONST char *Path, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel,
                       bfs_callback_addr_t *CallBackPtr, unsigned32 Flags, hpss_reqid_t *ReqID, bitfile_t *BitfileObj) {
    (void)Offset;
    (void)Length;
    (void)Flags;
    struct call call;
    object_id file = 0;
    hpss_reqid_t id = {0};
    int code = call_begin(&call, FN_StageCallBack, Path);
    if (code == 0)
        code = CallBackPtr == NULL ? HPSS_EFAULT : check_level(StorageLevel);
    if (code == 0)
        code = call_advance(&call);
    if (code == 0) {
        id = request_id_is_zero(&CallBackPtr->id) ? request_id_new() : CallBackPtr->id;
        code = submit(&call, Path, CallBackPtr, &id, &file);
    }
    code = (int)call_end(&call, code);
    if (code == 0 && ReqID != NULL)
        *ReqID = id;
    if (code == 0 && BitfileObj != NULL)
        *BitfileObj = attributes_bitfile(file);
    return code;
}

int staging_status(struct call *call, const hpss_reqid_t *id, const bitfile_t *bitfile, int *status) {
    enum tape_stage_status stage;
    char id_text[REQUEST_ID_TEXT];
    request_id_text(id, id_text);
    int code = tape_status(call->context->database.tape, id_text, attributes_object(bitfile), &stage);
    if (code == 0)
        *status = stage == TAPE_STAGE_ACTIVE   ? HPSS_STAGE_STATUS_ACTIVE
                  : stage == TAPE_STAGE_QUEUED ? HPSS_STAGE_STATUS_QUEUED
                                               : HPSS_STAGE_STATUS_UNKNOWN;
    return code;
}

static int status_of(enum function function, hpss_reqid_t id, const bitfile_t *bitfile, signed32 *status) {
    struct call call;
    int code = call_begin(&call, function, NULL);
    if (code == 0)
        code = bitfile == NULL ? HPSS_EINVAL : status == NULL ? HPSS_EFAULT : call_advance(&call);
    if (code == 0)
        code = staging_status(&call, &id, bitfile, status);
    return (int)call_end(&call, code);
}

#if HPSS_SIM_LEVEL >= 750
int hpss_GetAsyncStatus(hpss_reqid_t CallBackId, bfs_bitfile_obj_handle_t *BitfileObj, int32_t *Status) {
    return status_of(FN_GetAsyncStatus, CallBackId, BitfileObj, Status);
}
#else
int hpss_GetAsynchStatus(signed32 CallBackId, hpssoid_t *BitfileId, signed32 *Status) {
    return status_of(FN_GetAsynchStatus, CallBackId, BitfileId, Status);
}
#endif
