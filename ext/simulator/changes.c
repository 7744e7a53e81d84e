/* Changing what is known of an object: mode, owner, times, and the attributes that can be set. */
#include <string.h>

#include "sim.h"

enum right { OWNER, OWNER_OR_WRITER, SUPERUSER };

static int has_right(const struct context *context, const struct object *object, enum right right) {
    if (context->uid == 0 || (right != SUPERUSER && namespace_is_owner(context, object)))
        return 0;
    return right == OWNER_OR_WRITER && namespace_permits(context, object, 2) == 0 ? 0 : HPSS_EPERM;
}

/* Begins a change: in a writing transaction the object at the path, which the user may change. */
static int begin_change(struct call *call, const char *path, enum right right, struct object *object) {
    int code = db_write(&call->context->database);
    if (code == 0)
        code = namespace_object(call->context, path, FOLLOW, object);
    if (code == 0)
        code = has_right(call->context, object, right);
    return code;
}

static int end_change(struct call *call, int code) {
    return (int)call_end(call, call->context == NULL ? code : db_end(&call->context->database, code));
}

static sqlite3_int64 now_of(const struct call *call) {
    return (sqlite3_int64)call_now(call);
}

int hpss_Chmod(HPSS_SIM_CONST char *Path, mode_t Mode) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_Chmod, Path);
    if (code == 0)
        code = begin_change(&call, Path, OWNER, &object);
    if (code == 0)
        code = db_run(&call.context->database, "UPDATE object SET mode = ?, changed = ? WHERE id = ?", "iii",
                      (sqlite3_int64)(Mode & 07777), now_of(&call), object.id);
    return end_change(&call, code);
}

int hpss_Chown(HPSS_SIM_CONST char *Path, uid_t Owner, gid_t Group) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_Chown, Path);
    if (code == 0)
        code = begin_change(&call, Path, SUPERUSER, &object);
    if (code == 0)
        code = db_run(&call.context->database, "UPDATE object SET uid = ?, gid = ?, changed = ? WHERE id = ?", "iiii",
                      (sqlite3_int64)Owner, (sqlite3_int64)Group, now_of(&call), object.id);
    return end_change(&call, code);
}

/* Times are kept in 32 bits without a sign. */
static bool is_stamp(time_t seconds) {
    return seconds >= 0 && (timestamp_sec_t)seconds == seconds;
}

int hpss_Utime(HPSS_SIM_CONST char *Path, const struct utimbuf *Times) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_Utime, Path);
    if (code == 0 && Times != NULL && !(is_stamp(Times->actime) && is_stamp(Times->modtime)))
        code = HPSS_EINVAL;
    if (code == 0)
        code = begin_change(&call, Path, Times == NULL ? OWNER_OR_WRITER : OWNER, &object);
    if (code == 0) {
        sqlite3_int64 now = now_of(&call);
        code = db_run(&call.context->database, "UPDATE object SET accessed = ?, written = ?, changed = ? WHERE id = ?",
                      "iiii", Times == NULL ? now : (sqlite3_int64)Times->actime,
                      Times == NULL ? now : (sqlite3_int64)Times->modtime, now, object.id);
    }
    return end_change(&call, code);
}

static unsigned32 mode_of(const hpss_Attrs_t *attrs) {
    unsigned32 mode = attrs->ModePerms & 7u;
    const byte perms[] = {attrs->UserPerms, attrs->GroupPerms, attrs->OtherPerms};
    for (int i = 0; i < 3; i++)
        mode = mode << 3 | (perms[i] & NS_PERMS_RD ? 4u : 0) | (perms[i] & NS_PERMS_WR ? 2u : 0) |
               (perms[i] & NS_PERMS_XS ? 1u : 0);
    return mode;
}

static int set_attributes(struct call *call, struct object object, hpss_fileattrbits_t selection,
                          const hpss_Attrs_t *in) {
    struct database *database = &call->context->database;
    char comment[HPSS_MAX_COMMENT + 1];
    memcpy(comment, in->Comment, HPSS_MAX_COMMENT);
    comment[HPSS_MAX_COMMENT] = 0;
    if (chkbit64m(selection, CORE_ATTR_UID))
        object.uid = in->UID;
    if (chkbit64m(selection, CORE_ATTR_GID))
        object.gid = in->GID;
    if (chkbit64m(selection, CORE_ATTR_FAMILY_ID))
        object.family = in->FamilyId;
    if (chkbit64m(selection, CORE_ATTR_USER_PERMS))
        object.mode = mode_of(in);
    if (chkbit64m(selection, CORE_ATTR_TIME_LAST_READ))
        object.accessed = in->TimeLastRead;
    if (chkbit64m(selection, CORE_ATTR_TIME_LAST_WRITTEN))
        object.written = in->TimeLastWritten;
    if ((object.uid != in->UID || object.gid != in->GID) && chkbit64m(selection, CORE_ATTR_UID) &&
        has_right(call->context, &object, SUPERUSER) != 0)
        return HPSS_EPERM;
    int code = db_run(database,
                      "UPDATE object SET uid = ?, gid = ?, family = ?, mode = ?, accessed = ?, written = ?, changed = ?"
                      " WHERE id = ?",
                      "iiiiiiii", (sqlite3_int64)object.uid, (sqlite3_int64)object.gid, (sqlite3_int64)object.family,
                      (sqlite3_int64)object.mode, object.accessed, object.written, now_of(call), object.id);
    if (code == 0 && chkbit64m(selection, CORE_ATTR_COMMENT))
        code = db_run(database, "UPDATE object SET comment = ? WHERE id = ?", "si", comment, object.id);
    return code;
}

int hpss_FileSetAttributes(HPSS_SIM_CONST char *Path, hpss_fileattrbits_t SelFlags, hpss_fileattr_t *AttrIn,
                           hpss_fileattr_t *AttrOut) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_FileSetAttributes, Path);
    if (code == 0 && AttrIn == NULL)
        code = HPSS_EFAULT;
    if (code == 0)
        code = begin_change(&call, Path, OWNER, &object);
    if (code == 0)
        code = set_attributes(&call, object, SelFlags, &AttrIn->Attrs);
    if (code == 0 && AttrOut != NULL) {
        code = attributes_of(call.context, Path, FOLLOW, &object, &AttrOut->Attrs);
        attributes_handle(&object, &AttrOut->ObjectHandle);
    }
    return end_change(&call, code);
}
