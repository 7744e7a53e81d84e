/* hpss_FileGetXAttributes: the attributes of a file, and its bytes at each storage level. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define WHICH_LEVELS \
    (API_GET_STATS_FOR_LEVEL | API_GET_STATS_FOR_1STLEVEL | API_GET_STATS_OPTIMIZE | API_GET_STATS_FOR_ALL_LEVELS)

#define STRIPE_LENGTH (1u << 20)

static void free_volumes(hpss_xfileattr_t *out) {
    for (int level = 0; level < HPSS_MAX_STORAGE_LEVELS; level++)
        for (unsigned32 i = 0; i < out->SCAttrib[level].NumberOfVVs; i++) {
            free(out->SCAttrib[level].VVAttrib[i].PVList);
            out->SCAttrib[level].VVAttrib[i].PVList = NULL;
        }
}

/* One block: the list with its one element behind it, so that the caller's free() takes both. */
static pv_list_t *new_volume_list(const char *name) {
    struct {
        pv_list_t list;
        pv_list_element_t element;
    } *block = calloc(1, sizeof *block);
    if (block == NULL)
        return NULL;
    block->list.List.List_len = 1;
    block->list.List.List_val = &block->element;
    snprintf(block->element.Name, sizeof block->element.Name, "%s", name);
    return &block->list;
}

static int add_volume(bf_sc_attrib_t *level, const char *name, sqlite3_int64 position, sqlite3_int64 offset,
                      u_signed64 bytes) {
    bf_vv_attrib_t *volume = &level->VVAttrib[0];
    volume->PVList = new_volume_list(name);
    if (volume->PVList == NULL)
        return HPSS_ENOMEM;
    memcpy(&volume->VVID, name, strlen(name) < sizeof volume->VVID ? strlen(name) : sizeof volume->VVID);
    volume->RelPosition = (signed32)position;
    volume->RelPositionOffset = (u_signed64)offset;
    volume->BytesOnVV = bytes;
    level->NumberOfVVs = 1;
    return 0;
}

static int fill_volume(struct context *context, object_id object, int number, bool is_disk, bf_sc_attrib_t *level) {
    if (is_disk) {
        char name[HPSS_PV_NAME_SIZE];
        snprintf(name, sizeof name, "DSK%05d", (int)(object % 100));
        return add_volume(level, name, 0, 0, level->BytesAtLevel);
    }
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row,
                       "SELECT cartridge, position, offset, bytes FROM segment WHERE object = ? AND level = ?", "ii",
                       object, (sqlite3_int64)number);
    if (found != 1)
        return found;
    int code = add_volume(level, (const char *)sqlite3_column_text(row, 0), sqlite3_column_int64(row, 1),
                          sqlite3_column_int64(row, 2), (u_signed64)sqlite3_column_int64(row, 3));
    db_done(row);
    return code;
}

static int fill_level(struct context *context, const struct object *object, const struct service_class *class,
                      int number, bf_sc_attrib_t *level) {
    if (number >= class->levels)
        return 0;
    level->Flags = class->is_disk[number] ? BFS_BFATTRS_LEVEL_IS_DISK : BFS_BFATTRS_LEVEL_IS_TAPE;
    level->OptimumAccessSize = STRIPE_LENGTH;
    level->StripeWidth = 1;
    level->StripeLength = STRIPE_LENGTH;
    sqlite3_int64 bytes;
    int code = db_integer(&context->database, &bytes, -1, "SELECT bytes FROM level WHERE object = ? AND level = ?",
                          "ii", object->id, (sqlite3_int64)number);
    if (code != 0 || bytes < 0)
        return code;
    level->Flags |= BFS_BFATTRS_DATAEXISTS_AT_LEVEL;
    level->BytesAtLevel = (u_signed64)bytes;
    return fill_volume(context, object->id, number, class->is_disk[number], level);
}

/* Fills level after level; without ALL_LEVELS only the one that was asked for. */
static int fill_levels(struct context *context, const struct object *object, unsigned32 flags, unsigned32 wanted,
                       hpss_xfileattr_t *out) {
    const struct service_class *class = settings_class(&context->settings, object->cos);
    if (object->type != NS_OBJECT_TYPE_FILE || class == NULL)
        return 0;
    for (int number = 0; number < HPSS_MAX_STORAGE_LEVELS; number++) {
        bf_sc_attrib_t *level = &out->SCAttrib[number];
        if ((flags & API_GET_STATS_FOR_LEVEL) != 0 && (unsigned32)number != wanted)
            continue;
        int code = fill_level(context, object, class, number, level);
        if (code < 0)
            return code;
        bool is_first = (flags & (API_GET_STATS_FOR_1STLEVEL | API_GET_STATS_OPTIMIZE)) != 0;
        if (is_first && (level->Flags & BFS_BFATTRS_DATAEXISTS_AT_LEVEL) != 0)
            break;
    }
    return 0;
}

static int check_flags(unsigned32 flags, unsigned32 level) {
    unsigned32 which = flags & WHICH_LEVELS;
    if (which == 0 || (which & (which - 1)) != 0)
        return HPSS_EINVAL;
    if ((flags & ~(unsigned32)(WHICH_LEVELS | API_GET_XATTRS_NO_BLOCK)) != 0)
        return HPSS_EINVAL;
    return which == API_GET_STATS_FOR_LEVEL && level >= HPSS_MAX_STORAGE_LEVELS ? HPSS_EINVAL : 0;
}

/* The bitfile server has the file for itself while it moves: who does not say NO_BLOCK waits for the end. */
static int wait_while_moving(struct call *call, object_id object) {
    double step = 0;
    for (;;) {
        int moving = tape_is_moving(call->context->database.tape, object);
        if (moving <= 0)
            return moving;
        int code = call_pause(call, &step);
        if (code == 0)
            code = call_advance(call);
        if (code != 0)
            return code;
    }
}

static int look(struct call *call, const char *path, unsigned32 flags, unsigned32 level, hpss_xfileattr_t *out) {
    struct context *context = call->context;
    struct object object;
    memset(out, 0, sizeof *out);
    int code = db_read(&context->database);
    if (code == 0)
        code = attributes_of(context, path, FOLLOW, &object, &out->Attrs);
    if (code == 0) {
        attributes_handle(&object, &out->ObjectHandle);
        code = fill_levels(context, &object, flags, level, out);
    }
    return db_end(&context->database, code);
}

static int wait_at(struct call *call, const char *path) {
    struct context *context = call->context;
    struct object object;
    int code = db_read(&context->database);
    if (code == 0)
        code = namespace_object(context, path, FOLLOW, &object);
    code = db_end(&context->database, code);
    return code == 0 ? wait_while_moving(call, object.id) : code;
}

int hpss_FileGetXAttributes(HPSS_SIM_CONST char *Path, unsigned32 Flags, unsigned32 StorageLevel,
                            hpss_xfileattr_t *AttrOut) {
    struct call call;
    int code = call_begin(&call, FN_FileGetXAttributes, Path);
    bool is_started = false;
    if (code == 0)
        code = AttrOut == NULL ? HPSS_EFAULT : check_flags(Flags, StorageLevel);
    if (code == 0)
        code = call_advance(&call);
    if (code == 0 && (Flags & API_GET_XATTRS_NO_BLOCK) == 0)
        code = wait_at(&call, Path);
    if (code == 0) {
        is_started = true;
        code = look(&call, Path, Flags, StorageLevel, AttrOut);
    }
    code = (int)call_end(&call, code);
    if (code != 0 && is_started)
        free_volumes(AttrOut); /* who gets an error does not free */
    return code;
}
