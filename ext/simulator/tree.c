/* Changing the tree of names: making, linking, removing and renaming. */
#include <string.h>
#include <unistd.h>

#include "sim.h"

static int touch_directory(struct context *context, object_id directory, int more_links, sqlite3_int64 now) {
    return db_run(&context->database,
                  "UPDATE object SET written = ?, changed = ?, nlink = nlink + ? WHERE id = ?", "iiii", now, now,
                  (sqlite3_int64)more_links, directory);
}

static int add_name(struct context *context, const struct place *place, const struct object *object,
                    sqlite3_int64 now) {
    int code = db_run(&context->database, "INSERT INTO name (parent, name, object) VALUES (?, ?, ?)", "isi",
                      place->parent.id, place->name, object->id);
    if (code == 0)
        code = touch_directory(context, place->parent.id, object->type == NS_OBJECT_TYPE_DIRECTORY, now);
    return code;
}

static int remove_name(struct context *context, const struct place *place, sqlite3_int64 now) {
    int code = db_run(&context->database, "DELETE FROM name WHERE parent = ? AND name = ?", "is", place->parent.id,
                      place->name);
    if (code == 0)
        code = touch_directory(context, place->parent.id, -(place->found.type == NS_OBJECT_TYPE_DIRECTORY), now);
    return code;
}

/* Whether a name may be made there, and by this user. */
static int check_new(struct context *context, const struct place *place) {
    if (place->exists || place->name[0] == 0)
        return HPSS_EEXIST;
    return namespace_permits(context, &place->parent, W_OK | X_OK);
}

int tree_create(struct context *context, const struct place *place, int type, mode_t mode, const char *target,
                sqlite3_int64 now, object_id *id) {
    int code = check_new(context, place);
    if (code == 0 && place->must_be_directory && type != NS_OBJECT_TYPE_DIRECTORY)
        code = HPSS_EISDIR;
    bool is_directory = type == NS_OBJECT_TYPE_DIRECTORY;
    mode_t bits = type == NS_OBJECT_TYPE_SYM_LINK ? 0777 : mode & 07777 & ~context->umask;
    if (code == 0)
        code = db_run(&context->database,
                      "INSERT INTO object"
                      " (type, mode, uid, gid, nlink, size, fileset, target, created, accessed, written, changed)"
                      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?9, ?9, ?9, ?9)",
                      "iiiiiiisi", (sqlite3_int64)type, (sqlite3_int64)bits, (sqlite3_int64)context->uid,
                      (sqlite3_int64)context->gid, (sqlite3_int64)(is_directory ? 2 : 1),
                      (sqlite3_int64)(target == NULL ? 0 : strlen(target)), place->parent.fileset, target, now);
    if (code != 0)
        return code;
    *id = sqlite3_last_insert_rowid(context->database.connection);
    return add_name(context, place, &(struct object){.id = *id, .type = type}, now);
}

/* Takes one name away from an object that is no directory; *is_gone when it was the last. */
static int drop_link(struct context *context, const struct object *object, sqlite3_int64 now, bool *is_gone) {
    *is_gone = object->nlink <= 1;
    if (!*is_gone)
        return db_run(&context->database, "UPDATE object SET nlink = nlink - 1, changed = ? WHERE id = ?", "ii", now,
                      object->id);
    int code = tape_removed(context->database.tape, object->id, (double)now);
    if (code == 0)
        code = db_run(&context->database, "DELETE FROM attribute WHERE object = ?", "i", object->id);
    if (code == 0)
        code = db_run(&context->database, "DELETE FROM object WHERE id = ?", "i", object->id);
    return code;
}

/* After the commit: a process that dies before it leaves bytes that nothing names, and no name without bytes. */
static void drop_bytes(struct context *context, const struct object *object) {
    char name[32];
    data_name(object->id, name);
    if (object->type == NS_OBJECT_TYPE_FILE)
        unlinkat(context->archive->data, name, 0);
}

static int remove_directory(struct context *context, const struct object *directory) {
    sqlite3_int64 entries;
    int code = db_integer(&context->database, &entries, 0, "SELECT 1 FROM name WHERE parent = ? LIMIT 1", "i",
                          directory->id);
    if (code == 0 && entries != 0)
        code = HPSS_ENOTEMPTY;
    if (code == 0)
        code = db_run(&context->database, "DELETE FROM attribute WHERE object = ?", "i", directory->id);
    if (code == 0)
        code = db_run(&context->database, "DELETE FROM object WHERE id = ?", "i", directory->id);
    return code;
}

/* ---- the public functions ---- */

static int make(struct call *call, const char *path, int type, mode_t mode, const char *target) {
    struct context *context = call->context;
    struct place place;
    object_id id;
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_find(context, path, NO_FOLLOW, &place);
    if (code == 0)
        code = tree_create(context, &place, type, mode, target, (sqlite3_int64)call_now(call), &id);
    return db_end(&context->database, code);
}

int hpss_Mkdir(HPSS_SIM_CONST char *Path, mode_t Mode) {
    struct call call;
    int code = call_begin(&call, FN_Mkdir, Path);
    if (code == 0)
        code = make(&call, Path, NS_OBJECT_TYPE_DIRECTORY, Mode, NULL);
    return (int)call_end(&call, code);
}

static int check_target(const char *target) {
    if (target == NULL)
        return HPSS_EFAULT;
    if (*target == 0)
        return HPSS_ENOENT;
    return strlen(target) > HPSS_MAX_PATH_NAME ? HPSS_ENAMETOOLONG : 0;
}

int hpss_Symlink(HPSS_SIM_CONST char *Contents, HPSS_SIM_CONST char *Path) {
    struct call call;
    int code = call_begin(&call, FN_Symlink, Path);
    if (code == 0)
        code = check_target(Contents);
    if (code == 0)
        code = make(&call, Path, NS_OBJECT_TYPE_SYM_LINK, 0777, Contents);
    return (int)call_end(&call, code);
}

static int read_link(struct context *context, const char *path, char *contents, size_t size) {
    struct object object;
    sqlite3_stmt *row;
    int code = namespace_object(context, path, NO_FOLLOW, &object);
    if (code == 0 && object.type != NS_OBJECT_TYPE_SYM_LINK)
        code = HPSS_EINVAL;
    if (code != 0)
        return code;
    code = db_row(&context->database, &row, "SELECT target FROM object WHERE id = ?", "i", object.id);
    if (code != 1)
        return code < 0 ? code : HPSS_ENOENT;
    int length = sqlite3_column_bytes(row, 0);
    if ((size_t)length > size)
        code = HPSS_ERANGE;
    else
        memcpy(contents, sqlite3_column_text(row, 0), (size_t)length);
    if ((size_t)length < size)
        contents[length] = 0;
    db_done(row);
    return code < 0 ? code : length;
}

int hpss_Readlink(HPSS_SIM_CONST char *Path, char *Contents, size_t BufferSize) {
    struct call call;
    int code = call_begin(&call, FN_Readlink, Path);
    if (code == 0 && Contents == NULL)
        code = HPSS_EFAULT;
    if (code == 0)
        code = db_read(&call.context->database);
    if (code == 0)
        code = db_end(&call.context->database, read_link(call.context, Path, Contents, BufferSize));
    return (int)call_end(&call, code);
}

static int unlink_path(struct call *call, const char *path) {
    struct context *context = call->context;
    struct place place;
    bool is_gone = false;
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_find(context, path, NO_FOLLOW, &place);
    if (code == 0 && !place.exists)
        code = HPSS_ENOENT;
    if (code == 0 && place.found.type == NS_OBJECT_TYPE_DIRECTORY)
        code = HPSS_EISDIR;
    if (code == 0)
        code = namespace_permits(context, &place.parent, W_OK | X_OK);
    if (code == 0)
        code = remove_name(context, &place, (sqlite3_int64)call_now(call));
    if (code == 0)
        code = drop_link(context, &place.found, (sqlite3_int64)call_now(call), &is_gone);
    code = db_end(&context->database, code);
    if (code == 0 && is_gone)
        drop_bytes(context, &place.found);
    return code;
}

int hpss_Unlink(HPSS_SIM_CONST char *Path) {
    struct call call;
    int code = call_begin(&call, FN_Unlink, Path);
    if (code == 0)
        code = call_advance(&call);
    if (code == 0)
        code = unlink_path(&call, Path);
    return (int)call_end(&call, code);
}

static int rmdir_path(struct call *call, const char *path) {
    struct context *context = call->context;
    struct place place;
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_find(context, path, NO_FOLLOW, &place);
    if (code == 0 && !place.exists)
        code = HPSS_ENOENT;
    if (code == 0 && place.found.type != NS_OBJECT_TYPE_DIRECTORY)
        code = HPSS_ENOTDIR;
    if (code == 0 && place.name[0] == 0)
        code = HPSS_EINVAL;
    if (code == 0)
        code = namespace_permits(context, &place.parent, W_OK | X_OK);
    if (code == 0)
        code = remove_directory(context, &place.found);
    if (code == 0)
        code = remove_name(context, &place, (sqlite3_int64)call_now(call));
    return db_end(&context->database, code);
}

int hpss_Rmdir(HPSS_SIM_CONST char *Path) {
    struct call call;
    int code = call_begin(&call, FN_Rmdir, Path);
    if (code == 0)
        code = rmdir_path(&call, Path);
    return (int)call_end(&call, code);
}

static int link_path(struct call *call, const char *existing, const char *new) {
    struct context *context = call->context;
    struct object object;
    struct place place;
    sqlite3_int64 now = (sqlite3_int64)call_now(call);
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_object(context, existing, NO_FOLLOW, &object);
    if (code == 0 && object.type != NS_OBJECT_TYPE_FILE)
        code = object.type == NS_OBJECT_TYPE_DIRECTORY ? HPSS_EISDIR : HPSS_EINVAL;
    if (code == 0)
        code = namespace_find(context, new, NO_FOLLOW, &place);
    if (code == 0)
        code = check_new(context, &place);
    if (code == 0 && place.parent.fileset != object.fileset)
        code = HPSS_EXDEV;
    if (code == 0)
        code = add_name(context, &place, &object, now);
    if (code == 0)
        code = db_run(&context->database, "UPDATE object SET nlink = nlink + 1, changed = ? WHERE id = ?", "ii", now,
                      object.id);
    return db_end(&context->database, code);
}

int hpss_Link(HPSS_SIM_CONST char *Existing, HPSS_SIM_CONST char *New) {
    struct call call;
    int code = call_begin_pair(&call, FN_Link, Existing, New);
    if (code == 0)
        code = link_path(&call, Existing, New);
    return (int)call_end(&call, code);
}

/* Whether `directory` is `inner` or holds it, however deep. */
static int holds(struct context *context, object_id directory, object_id inner) {
    struct object above = {.id = inner};
    while (above.id != directory) {
        if (above.id == ROOT_OBJECT)
            return 0;
        int code = object_parent(context, above.id, &above);
        if (code != 1)
            return code < 0 ? code : HPSS_EIO;
    }
    return 1;
}

static int check_rename(struct context *context, const struct place *from, const struct place *to) {
    if (!from->exists)
        return HPSS_ENOENT;
    if (from->name[0] == 0 || to->name[0] == 0)
        return HPSS_EINVAL;
    bool is_directory = from->found.type == NS_OBJECT_TYPE_DIRECTORY;
    if (!is_directory && to->must_be_directory)
        return HPSS_ENOTDIR;
    if (from->found.fileset != to->parent.fileset)
        return HPSS_EXDEV;
    if (to->exists && (to->found.type == NS_OBJECT_TYPE_DIRECTORY) != is_directory)
        return is_directory ? HPSS_ENOTDIR : HPSS_EISDIR;
    int code = namespace_permits(context, &from->parent, W_OK | X_OK);
    if (code == 0)
        code = namespace_permits(context, &to->parent, W_OK | X_OK);
    if (code == 0 && is_directory)
        code = holds(context, from->found.id, to->parent.id);
    return code == 1 ? HPSS_EINVAL : code;
}

/* What stood at the new name makes room; *is_gone when its bytes have to go as well. */
static int replace(struct context *context, const struct place *to, sqlite3_int64 now, bool *is_gone) {
    int code = remove_name(context, to, now);
    if (code == 0)
        code = to->found.type == NS_OBJECT_TYPE_DIRECTORY ? remove_directory(context, &to->found)
                                                          : drop_link(context, &to->found, now, is_gone);
    return code;
}

static int rename_path(struct call *call, const char *old, const char *new) {
    struct context *context = call->context;
    struct place from, to;
    bool is_gone = false;
    sqlite3_int64 now = (sqlite3_int64)call_now(call);
    int code = db_write(&context->database);
    if (code == 0)
        code = namespace_find(context, old, NO_FOLLOW, &from);
    if (code == 0)
        code = namespace_find(context, new, NO_FOLLOW, &to);
    if (code == 0)
        code = check_rename(context, &from, &to);
    bool is_same = code == 0 && to.exists && to.found.id == from.found.id;
    if (code == 0 && to.exists && !is_same)
        code = replace(context, &to, now, &is_gone);
    if (code == 0 && !is_same)
        code = remove_name(context, &from, now);
    if (code == 0 && !is_same)
        code = add_name(context, &to, &from.found, now);
    code = db_end(&context->database, code);
    if (code == 0 && is_gone)
        drop_bytes(context, &to.found);
    return code;
}

int hpss_Rename(HPSS_SIM_CONST char *Old, HPSS_SIM_CONST char *New) {
    struct call call;
    int code = call_begin_pair(&call, FN_Rename, Old, New);
    if (code == 0)
        code = call_advance(&call);
    if (code == 0)
        code = rename_path(&call, Old, New);
    return (int)call_end(&call, code);
}
