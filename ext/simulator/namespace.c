/* Paths, and the objects they lead to. */
#include <string.h>
#include <unistd.h>

#include "sim.h"

#define MAX_LINKS_FOLLOWED 40

#define OBJECT_COLUMNS                                                                                          \
    "o.id, o.type, o.mode, o.uid, o.gid, o.nlink, o.size, o.cos, o.family, o.fileset, o.created, o.accessed, " \
    "o.written, o.changed, o.purge_lock, o.generation"

static void take_object(sqlite3_stmt *row, struct object *object) {
    *object = (struct object){
        .id = sqlite3_column_int64(row, 0),
        .type = sqlite3_column_int(row, 1),
        .mode = (unsigned32)sqlite3_column_int(row, 2) & 07777,
        .uid = (unsigned32)sqlite3_column_int64(row, 3),
        .gid = (unsigned32)sqlite3_column_int64(row, 4),
        .nlink = (unsigned32)sqlite3_column_int64(row, 5),
        .size = (u_signed64)sqlite3_column_int64(row, 6),
        .cos = (unsigned32)sqlite3_column_int64(row, 7),
        .family = (unsigned32)sqlite3_column_int64(row, 8),
        .fileset = sqlite3_column_int64(row, 9),
        .created = sqlite3_column_int64(row, 10),
        .accessed = sqlite3_column_int64(row, 11),
        .written = sqlite3_column_int64(row, 12),
        .changed = sqlite3_column_int64(row, 13),
        .purge_lock = sqlite3_column_int(row, 14) != 0,
        .generation = (unsigned32)sqlite3_column_int64(row, 15),
    };
}

static int one_object(int found, sqlite3_stmt *row, struct object *out) {
    if (found == 1) {
        take_object(row, out);
        db_done(row);
    }
    return found;
}

int object_load(struct context *context, object_id id, struct object *out) {
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row, "SELECT " OBJECT_COLUMNS " FROM object o WHERE o.id = ?", "i", id);
    return one_object(found, row, out);
}

static int look_up(struct context *context, object_id parent, const char *name, struct object *out) {
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row,
                       "SELECT " OBJECT_COLUMNS
                       " FROM name n JOIN object o ON o.id = n.object WHERE n.parent = ? AND n.name = ?",
                       "is", parent, name);
    return one_object(found, row, out);
}

int object_parent(struct context *context, object_id directory, struct object *out) {
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row,
                       "SELECT " OBJECT_COLUMNS " FROM name n JOIN object o ON o.id = n.parent WHERE n.object = ?", "i",
                       directory);
    if (found == 0)
        return object_load(context, ROOT_OBJECT, out); /* above the root is the root */
    return one_object(found, row, out);
}

int namespace_permits(const struct context *context, const struct object *object, int access) {
    if (context->uid == 0)
        return 0;
    unsigned32 granted = object->mode;
    if (object->uid == context->uid)
        granted >>= 6;
    else if (object->gid == context->gid)
        granted >>= 3;
    return ((unsigned)access & ~granted & 7) == 0 ? 0 : HPSS_EACCES;
}

bool namespace_is_owner(const struct context *context, const struct object *object) {
    return context->uid == 0 || context->uid == object->uid;
}

/* ---- walking a path ---- */

struct walk {
    struct context *context;
    char rest[2 * (HPSS_MAX_PATH_NAME + 1)]; /* what is still to be walked; a link's target goes before it */
    struct object directory;
    int links;
};

/* Takes the next name off the rest; *is_last when nothing but slashes follows. */
static int next_name(struct walk *walk, char name[HPSS_MAX_FILE_NAME + 1], bool *is_last, bool *slash) {
    char *from = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(from, "/");
    if (length > HPSS_MAX_FILE_NAME)
        return HPSS_ENAMETOOLONG;
    memcpy(name, from, length);
    name[length] = 0;
    from += length;
    *slash = *from == '/';
    from += strspn(from, "/");
    *is_last = *from == 0;
    memmove(walk->rest, from, strlen(from) + 1);
    return 0;
}

static int follow(struct walk *walk, const struct object *link, bool slash) {
    if (++walk->links > MAX_LINKS_FOLLOWED)
        return HPSS_ELOOP;
    sqlite3_stmt *row;
    int found = db_row(&walk->context->database, &row, "SELECT target FROM object WHERE id = ?", "i", link->id);
    if (found != 1)
        return found < 0 ? found : HPSS_ENOENT;
    const char *target = (const char *)sqlite3_column_text(row, 0);
    size_t length = target == NULL ? 0 : strlen(target);
    size_t rest = strlen(walk->rest);
    int code = length == 0 ? HPSS_ENOENT : length + rest + 2 > sizeof walk->rest ? HPSS_ENAMETOOLONG : 0;
    bool is_absolute = code == 0 && target[0] == '/';
    if (code == 0) {
        memmove(walk->rest + length + slash, walk->rest, rest + 1);
        memcpy(walk->rest, target, length);
        if (slash)
            walk->rest[length] = '/';
    }
    db_done(row);
    if (code == 0 && is_absolute && object_load(walk->context, ROOT_OBJECT, &walk->directory) != 1)
        code = HPSS_EIO;
    return code;
}

static int step_in(struct walk *walk, const char *name, struct object *found) {
    if (walk->directory.type != NS_OBJECT_TYPE_DIRECTORY)
        return HPSS_ENOTDIR;
    int code = namespace_permits(walk->context, &walk->directory, X_OK);
    if (code != 0)
        return code;
    if (strcmp(name, "..") == 0)
        return object_parent(walk->context, walk->directory.id, found);
    if (name[0] == 0 || strcmp(name, ".") == 0) {
        *found = walk->directory;
        return 1;
    }
    return look_up(walk->context, walk->directory.id, name, found);
}

static void arrive(struct walk *walk, const char *name, bool slash, int exists, const struct object *found,
                   struct place *place) {
    bool is_named = name[0] != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    place->parent = walk->directory;
    strcpy(place->name, is_named ? name : "");
    place->must_be_directory = slash;
    place->exists = exists == 1;
    if (exists == 1)
        place->found = *found;
}

int namespace_find(struct context *context, const char *path, enum links links, struct place *place) {
    if (path == NULL)
        return HPSS_EFAULT;
    if (*path == 0)
        return HPSS_ENOENT;
    if (strlen(path) > HPSS_MAX_PATH_NAME)
        return HPSS_ENAMETOOLONG;
    struct walk walk = {.context = context};
    strcpy(walk.rest, path);
    if (object_load(context, ROOT_OBJECT, &walk.directory) != 1)
        return HPSS_EIO;
    for (;;) {
        char name[HPSS_MAX_FILE_NAME + 1];
        bool is_last, slash;
        struct object found;
        int code = next_name(&walk, name, &is_last, &slash);
        if (code != 0)
            return code;
        int exists = step_in(&walk, name, &found);
        if (exists < 0 || (exists == 0 && !is_last))
            return exists < 0 ? exists : HPSS_ENOENT;
        bool is_link = exists == 1 && found.type == NS_OBJECT_TYPE_SYM_LINK;
        if (is_link && (links == FOLLOW || !is_last || slash)) {
            code = follow(&walk, &found, slash);
            if (code != 0)
                return code;
            continue;
        }
        if (is_last) {
            arrive(&walk, name, slash, exists, &found, place);
            bool is_file = exists == 1 && slash && found.type != NS_OBJECT_TYPE_DIRECTORY;
            return is_file ? HPSS_ENOTDIR : 0;
        }
        walk.directory = found;
    }
}

int namespace_object(struct context *context, const char *path, enum links links, struct object *out) {
    struct place place;
    int code = namespace_find(context, path, links, &place);
    if (code == 0 && !place.exists)
        code = HPSS_ENOENT;
    if (code == 0)
        *out = place.found;
    return code;
}
