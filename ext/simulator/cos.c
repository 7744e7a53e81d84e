/* Classes of service: which one a new file gets, and changing it afterwards. */
#include <stdio.h>
#include <string.h>

#include "sim.h"

/* A hint at the priority REQUIRED excludes classes; a lower one weighs. */
static bool weigh(unsigned32 priority, bool is_met, int *weight) {
    if (priority == NO_PRIORITY)
        return true;
    if (is_met)
        *weight += (int)priority;
    return is_met || priority < REQUIRED_PRIORITY;
}

static bool fits(const struct service_class *class, const hpss_cos_hints_t *hints,
                 const hpss_cos_priorities_t *priorities, int *weight) {
    /* The sizes are the file's: the least and the most that it may have must lie within the class's. */
    bool is_named = strncmp(class->name, hints->COSName, sizeof hints->COSName) == 0;
    return weigh(priorities->COSIdPriority, class->id == hints->COSId, weight) &&
           weigh(priorities->COSNamePriority, is_named, weight) &&
           weigh(priorities->MinFileSizePriority, class->min_size <= hints->MinFileSize, weight) &&
           weigh(priorities->MaxFileSizePriority, class->max_size >= hints->MaxFileSize, weight) &&
           weigh(priorities->StageCodePriority, class->stage_code == hints->StageCode, weight);
}

/* Of classes that fit alike the usual one is taken, then the one that is made for files of this size. */
static bool is_better(const struct service_class *class, int weight, const struct service_class *best, int best_weight,
                      unsigned32 usual) {
    if (best == NULL || weight != best_weight)
        return best == NULL || weight > best_weight;
    if (best->id == usual || class->id == usual)
        return class->id == usual;
    return class->min_size > best->min_size;
}

int cos_choose(struct context *context, const hpss_cos_hints_t *hints, const hpss_cos_priorities_t *priorities,
               const struct service_class **out) {
    static const hpss_cos_hints_t NO_HINTS;
    static const hpss_cos_priorities_t NO_PRIORITIES;
    const struct settings *settings = &context->settings;
    bool are_given = hints != NULL && priorities != NULL;
    int best_weight = 0;
    *out = NULL;
    for (size_t i = 0; i < settings->class_count; i++) {
        const struct service_class *class = &settings->classes[i];
        int weight = 0;
        if (!fits(class, are_given ? hints : &NO_HINTS, are_given ? priorities : &NO_PRIORITIES, &weight))
            continue;
        if (is_better(class, weight, *out, best_weight, settings->default_cos)) {
            *out = class;
            best_weight = weight;
        }
    }
    return *out == NULL ? HPSS_EINVAL : 0;
}

static void describe(const struct service_class *class, hpss_cos_md_t *out) {
    *out = (hpss_cos_md_t){
        .COSId = class->id,
        .MinFileSize = class->min_size,
        .MaxFileSize = class->max_size,
        .EnforceMaxFileSize = class->enforce_max,
        .StageCode = class->stage_code,
    };
    snprintf(out->COSName, sizeof out->COSName, "%s", class->name);
}

/* Before data is written the class is changed at once.  Afterwards it would have to be copied, which takes a policy. */
static int change_class(struct context *context, object_id object, unsigned32 class) {
    sqlite3_int64 size;
    int code = db_write(&context->database);
    if (code == 0)
        code = db_integer(&context->database, &size, -1, "SELECT size FROM object WHERE id = ?", "i", object);
    if (code == 0)
        code = size < 0 ? HPSS_ENOENT : size > 0 ? HPSS_EINVAL : 0;
    if (code == 0)
        code = db_run(&context->database, "UPDATE object SET cos = ? WHERE id = ?", "ii", (sqlite3_int64)class, object);
    return db_end(&context->database, code);
}

int hpss_SetCOSByHints(int Fildes, unsigned32 Flags, const hpss_cos_hints_t *HintsPtr,
                       const hpss_cos_priorities_t *PrioPtr, hpss_cos_md_t *COSPtr) {
    (void)Flags;
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_SetCOSByHints, descriptor_path(Fildes, path));
    if (code == 0)
        code = HintsPtr == NULL || PrioPtr == NULL ? HPSS_EFAULT : descriptor_get(Fildes, false, &descriptor);
    if (code == 0) {
        const struct service_class *class;
        code = descriptor_check(descriptor);
        if (code == 0)
            code = cos_choose(call.context, HintsPtr, PrioPtr, &class);
        if (code == 0)
            code = change_class(call.context, descriptor->object, class->id);
        if (code == 0 && COSPtr != NULL)
            describe(class, COSPtr);
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

static int set_class(struct call *call, const char *path, unsigned32 class) {
    struct context *context = call->context;
    struct object object;
    if (settings_class(&context->settings, class) == NULL)
        return HPSS_EINVAL;
    int code = db_read(&context->database);
    if (code == 0)
        code = namespace_object(context, path, FOLLOW, &object);
    code = db_end(&context->database, code);
    if (code == 0)
        code = object.type != NS_OBJECT_TYPE_FILE ? HPSS_EINVAL : change_class(context, object.id, class);
    return code;
}

int hpss_FileSetCOS(HPSS_SIM_CONST char *Path, unsigned32 COSId, unsigned32 StreamId) {
    (void)StreamId;
    struct call call;
    int code = call_begin(&call, FN_FileSetCOS, Path);
    if (code == 0)
        code = set_class(&call, Path, COSId);
    return (int)call_end(&call, code);
}

#define BLOCK_SIZE 4096

static int fill_statfs(struct call *call, unsigned32 class, hpss_statfs_t *out) {
    struct database *database = &call->context->database;
    sqlite3_int64 used, capacity, files;
    if (class != 0 && settings_class(&call->context->settings, class) == NULL)
        return HPSS_EINVAL;
    int code = db_read(database);
    if (code == 0)
        code = db_integer(database, &used, 0, "SELECT disk_used FROM library", "");
    if (code == 0)
        code = db_integer(database, &capacity, 0, "SELECT value FROM setting WHERE name = 'disk_capacity'", "");
    if (code == 0)
        code = db_integer(database, &files, 0, "SELECT count(*) FROM object", "");
    code = db_end(database, code);
    if (code != 0)
        return code;
    memset(out, 0, sizeof *out);
    out->f_bsize = BLOCK_SIZE;
    out->f_blocks = (u_signed64)capacity / BLOCK_SIZE;
    out->f_bfree = capacity > used ? (u_signed64)(capacity - used) / BLOCK_SIZE : 0;
    out->f_bavail = out->f_bfree;
    out->f_files = (u_signed64)files;
    snprintf(out->f_fname, sizeof out->f_fname, "%s", "HPSS");
    return 0;
}

int hpss_Statfs(unsigned32 CosId, hpss_statfs_t *StatfsBuffer) {
    struct call call;
    int code = call_begin(&call, FN_Statfs, NULL);
    if (code == 0)
        code = StatfsBuffer == NULL ? HPSS_EFAULT : call_advance(&call);
    if (code == 0)
        code = fill_statfs(&call, CosId, StatfsBuffer);
    return (int)call_end(&call, code);
}
