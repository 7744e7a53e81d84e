/* Opening and closing of files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"

#define SECONDS_IN_DAY 86400

struct opening {
    struct call *call;
    const char *path;
    int flags;
    mode_t mode;
    const hpss_cos_hints_t *hints;
    const hpss_cos_priorities_t *priorities;
    struct object object;
    bool is_new;
    bool is_cut; /* existed, and is truncated */
};

static bool writes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY;
}

void data_name(object_id object, char name[32]) {
    snprintf(name, 32, "%lld", (long long)object);
}

static int open_bytes(struct context *context, object_id object, int flags) {
    char name[32];
    data_name(object, name);
    return openat(context->archive->data, name, O_RDWR | O_CLOEXEC | flags, 0600);
}

/* Archives that are made in bulk have no bytes on their files until someone opens one: they read as zeros. */
static int open_bulk_bytes(struct context *context, object_id object) {
    struct object still;
    int code = db_write(&context->database);
    if (code == 0) {
        int found = object_load(context, object, &still);
        code = found == 0 ? HPSS_ENOENT : found < 0 ? found : 0;
    }
    int data = -1;
    if (code == 0) {
        data = open_bytes(context, object, O_CREAT);
        if (data < 0 || ftruncate(data, (off_t)still.size) != 0)
            code = HPSS_EIO;
    }
    code = db_end(&context->database, code);
    if (code != 0 && data >= 0)
        close(data);
    return code == 0 ? data : code;
}

static int create_file(struct opening *opening, const struct place *place, struct descriptor *descriptor) {
    struct context *context = opening->call->context;
    const struct service_class *class;
    object_id id;
    int code = cos_choose(context, opening->hints, opening->priorities, &class);
    if (code == 0)
        code = tree_create(context, place, NS_OBJECT_TYPE_FILE, opening->mode, NULL,
                           (sqlite3_int64)call_now(opening->call), &id);
    if (code != 0)
        return code;
    bool has_family = opening->priorities != NULL && opening->priorities->FamilyIdPriority != NO_PRIORITY;
    code = db_run(&context->database, "UPDATE object SET cos = ?, family = ? WHERE id = ?", "iii",
                  (sqlite3_int64)class->id, (sqlite3_int64)(has_family ? opening->hints->FamilyId : 0), id);
    if (code == 0 && object_load(context, id, &opening->object) != 1)
        code = HPSS_EIO;
    if (code != 0)
        return code;
    /* Before the commit: then no file can be seen that has no bytes.  A leftover of a killed process is emptied. */
    descriptor->data = open_bytes(context, id, O_CREAT | O_TRUNC);
    opening->is_new = true;
    return descriptor->data < 0 ? HPSS_EIO : 0;
}

static int cut_file(struct opening *opening) {
    struct database *database = &opening->call->context->database;
    sqlite3_int64 now = (sqlite3_int64)call_now(opening->call);
    object_id id = opening->object.id;
    opening->is_cut = opening->object.size > 0;
    if (!opening->is_cut)
        return 0;
    opening->object.size = 0;
    int code = db_run(database, "UPDATE object SET size = 0, written = ?2, changed = ?2 WHERE id = ?1", "ii", id, now);
    if (code == 0)
        code = db_run(database, "DELETE FROM level WHERE object = ? AND level = 0", "i", id);
    return code == 0 ? tape_written(database->tape, id, (double)now) : code;
}

static int check_existing(struct opening *opening) {
    if (opening->object.type == NS_OBJECT_TYPE_DIRECTORY)
        return HPSS_EISDIR;
    if ((opening->flags & O_CREAT) != 0 && (opening->flags & O_EXCL) != 0)
        return HPSS_EEXIST;
    if (opening->object.type != NS_OBJECT_TYPE_FILE)
        return HPSS_EINVAL;
    int mode = opening->flags & O_ACCMODE;
    int access = mode == O_RDONLY ? R_OK : mode == O_WRONLY ? W_OK : R_OK | W_OK;
    return namespace_permits(opening->call->context, &opening->object, access);
}

static int find_or_create(struct opening *opening, struct descriptor *descriptor) {
    struct context *context = opening->call->context;
    struct place place;
    bool is_exclusive = (opening->flags & O_CREAT) != 0 && (opening->flags & O_EXCL) != 0;
    int code = namespace_find(context, opening->path, is_exclusive ? NO_FOLLOW : FOLLOW, &place);
    if (code != 0)
        return code;
    if (!place.exists)
        return (opening->flags & O_CREAT) == 0 ? HPSS_ENOENT : create_file(opening, &place, descriptor);
    opening->object = place.found;
    code = check_existing(opening);
    if (code == 0 && (opening->flags & O_TRUNC) != 0 && writes(opening->flags))
        code = cut_file(opening);
    return code;
}

/*
 * A descriptor of HPSS is none of the operating system.  Readers hold none here either, so that whoever counts those of
 * its process sees its own; and, as a descriptor would, a mapping keeps the bytes when the name goes.
 */
static int keep_view(struct descriptor *descriptor) {
    struct stat status;
    int code = fstat(descriptor->data, &status) == 0 ? 0 : HPSS_EIO;
    if (code == 0 && status.st_size > 0) {
        void *view = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, descriptor->data, 0);
        if (view == MAP_FAILED)
            return HPSS_ENOMEM;
        descriptor->view = view;
        descriptor->view_size = (u_signed64)status.st_size;
    }
    if (code == 0) {
        close(descriptor->data);
        descriptor->data = -1;
    }
    return code;
}

/* In one transaction what the name space has to do with it, and then the bytes. */
static int open_object(struct opening *opening, struct descriptor *descriptor) {
    struct context *context = opening->call->context;
    bool changes = (opening->flags & O_CREAT) != 0 || ((opening->flags & O_TRUNC) != 0 && writes(opening->flags));
    int code = changes ? db_write(&context->database) : db_read(&context->database);
    if (code == 0)
        code = find_or_create(opening, descriptor);
    code = db_end(&context->database, code);
    if (code != 0 || opening->is_new)
        return code;
    descriptor->data = open_bytes(context, opening->object.id, 0);
    if (descriptor->data < 0)
        descriptor->data = errno == ENOENT ? open_bulk_bytes(context, opening->object.id) : HPSS_EIO;
    if (descriptor->data < 0)
        return descriptor->data;
    if (!writes(opening->flags))
        return keep_view(descriptor);
    return opening->is_cut && ftruncate(descriptor->data, 0) != 0 ? HPSS_EIO : 0;
}

/* A file whose bytes are on tape is brought by the open itself, if its class of service says so. */
static int stage_on_open(struct opening *opening) {
    struct call *call = opening->call;
    const struct service_class *class = settings_class(&call->context->settings, opening->object.cos);
    enum residency residency;
    u_signed64 size;
    unsigned32 stage_code = class == NULL ? COS_STAGE_NO_STAGE : class->stage_code;
    if ((opening->flags & O_NONBLOCK) != 0 || stage_code == COS_STAGE_NO_STAGE)
        return 0;
    int code = residency_of(call->context, opening->object.id, &size, &residency);
    if (code != 0 || residency == ON_DISK)
        return code;
    if (stage_code == COS_STAGE_ON_OPEN)
        return residency_wait(call, opening->object.id);
    int is_moving = tape_is_moving(call->context->database.tape, opening->object.id);
    sqlite3_int64 request;
    if (is_moving == 0)
        code = residency_ask(call, opening->object.id, &request);
    if (is_moving < 0 || code != 0)
        return is_moving < 0 ? is_moving : code;
    if (stage_code == COS_STAGE_ON_OPEN_ASYNCH)
        return 0;
    return session_configuration().RetryStageInp != 0 ? HPSS_EINPROGRESS : residency_wait(call, opening->object.id);
}

static void tell_class(struct opening *opening, hpss_cos_hints_t *out) {
    const struct service_class *class = settings_class(&opening->call->context->settings, opening->object.cos);
    memset(out, 0, sizeof *out);
    if (class == NULL)
        return;
    out->COSId = class->id;
    snprintf(out->COSName, sizeof out->COSName, "%s", class->name);
    out->MinFileSize = class->min_size;
    out->MaxFileSize = class->max_size;
    out->StageCode = class->stage_code;
    out->StripeWidth = 1;
    out->StripeLength = 1 << 20;
    out->OptimumAccessSize = 1 << 20;
    out->FamilyId = opening->object.family;
}

int data_open(struct call *call, const char *path, int flags, mode_t mode, const hpss_cos_hints_t *hints,
              const hpss_cos_priorities_t *priorities, hpss_cos_hints_t *chosen) {
    struct opening opening = {.call = call, .path = path, .flags = flags, .mode = mode, .hints = hints,
                              .priorities = hints == NULL ? NULL : priorities};
    struct descriptor *descriptor;
    if (path == NULL)
        return HPSS_EFAULT;
    int code = call_advance(call);
    if (code == 0)
        code = descriptor_new(call->context, false, path, &descriptor);
    if (code != 0)
        return code;
    code = open_object(&opening, descriptor);
    if (code == 0) {
        descriptor->object = opening.object.id;
        descriptor->flags = flags;
        code = stage_on_open(&opening);
    }
    if (code == 0 && chosen != NULL)
        tell_class(&opening, chosen);
    int number = descriptor->number;
    if (code != 0)
        descriptor_remove(descriptor);
    descriptor_put(descriptor);
    return code == 0 ? number : code;
}

int hpss_Open(HPSS_SIM_CONST char *Path, int Oflag, mode_t Mode, HPSS_SIM_CONST hpss_cos_hints_t *HintsIn,
              HPSS_SIM_CONST hpss_cos_priorities_t *HintsPri, hpss_cos_hints_t *HintsOut) {
    struct call call;
    int number = call_begin(&call, FN_Open, Path);
    if (number == 0)
        number = data_open(&call, Path, Oflag, Mode, HintsIn, HintsPri, HintsOut);
    int answer = (int)call_end(&call, number);
    if (answer < 0 && number >= 0)
        data_drop(number); /* the caller never learned of it */
    return answer;
}

/* ---- closing ---- */

/* The time of the last access is no reason to write the database on every read. */
static int note_access(struct call *call, const struct descriptor *descriptor) {
    sqlite3_int64 now = (sqlite3_int64)call_now(call);
    sqlite3_int64 accessed;
    struct database *database = &call->context->database;
    int code = db_integer(database, &accessed, now, "SELECT accessed FROM object WHERE id = ?", "i",
                          descriptor->object);
    if (code == 0 && now - accessed > SECONDS_IN_DAY)
        code = db_run(database, "UPDATE object SET accessed = ? WHERE id = ?", "ii", now, descriptor->object);
    return code;
}

static int finish(struct call *call, struct descriptor *descriptor) {
    int code = descriptor_check(descriptor);
    if (code == 0 && descriptor->stage != 0) {
        int staged = residency_wait_request(call, descriptor->stage);
        code = staged == HPSS_ECONN ? staged : 0; /* whether it came is told by where the file is */
    }
    if (code == 0 && descriptor->has_read)
        code = note_access(call, descriptor);
    if (code == 0 && descriptor->has_written)
        code = data_settle(call, descriptor);
    return code;
}

void data_drop(int number) {
    struct descriptor *descriptor;
    if (descriptor_get(number, false, &descriptor) != 0)
        return;
    descriptor_remove(descriptor);
    descriptor_put(descriptor);
}

int data_close(struct call *call, int begun, int number) {
    struct descriptor *descriptor;
    int code = descriptor_get(number, false, &descriptor);
    if (code == 0) {
        code = begun == 0 ? finish(call, descriptor) : begun;
        descriptor_remove(descriptor);
        descriptor_put(descriptor);
    }
    return begun == 0 ? code : begun;
}

int hpss_Close(int Fildes) {
    struct call call;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Close, descriptor_path(Fildes, path));
    return (int)call_end(&call, data_close(&call, code, Fildes));
}
