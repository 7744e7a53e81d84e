/* What is known of an object: stat in its forms, the attributes, where its bytes are. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define BLOCK_SIZE 4096

/* Marks the bitfile ids that are this simulator's. */
#define BITFILE_MARK 0x5349

static timestamp_sec_t in_stamp(sqlite3_int64 seconds) {
    return (timestamp_sec_t)seconds;
}

/* ---- ids ---- */

static void write_id(byte *bytes, object_id id) {
    for (int i = 0; i < 8; i++)
        bytes[i] = (byte)((uint64_t)id >> (8 * i));
}

static object_id read_id(const byte *bytes) {
    uint64_t id = 0;
    for (int i = 0; i < 8; i++)
        id |= (uint64_t)bytes[i] << (8 * i);
    return (object_id)id;
}

static hpssoid_t oid_of(object_id id) {
    hpssoid_t oid;
    memset(&oid, 0, sizeof oid);
#if HPSS_SIM_LEVEL >= 750
    write_id(oid.Bytes, id);
    oid.Bytes[8] = BITFILE_MARK & 0xff;
    oid.Bytes[9] = BITFILE_MARK >> 8;
#else
    byte bytes[8];
    write_id(bytes, id);
    memcpy(&oid.ObjectID.time_low, bytes, 4);
    memcpy(oid.ObjectID.node, bytes + 4, 4);
    oid.ServerDep1 = BITFILE_MARK;
#endif
    return oid;
}

static object_id object_of(const hpssoid_t *oid) {
#if HPSS_SIM_LEVEL >= 750
    return oid->Bytes[8] == (BITFILE_MARK & 0xff) && oid->Bytes[9] == BITFILE_MARK >> 8 ? read_id(oid->Bytes) : 0;
#else
    byte bytes[8];
    memcpy(bytes, &oid->ObjectID.time_low, 4);
    memcpy(bytes + 4, oid->ObjectID.node, 4);
    return oid->ServerDep1 == BITFILE_MARK ? read_id(bytes) : 0;
#endif
}

bitfile_t attributes_bitfile(object_id id) {
#if HPSS_SIM_LEVEL >= 750
    return (bitfile_t){.BfId = oid_of(id), .BfHash = (hpss_distributionkey_t)id, .ValidHash = 1};
#else
    return oid_of(id);
#endif
}

object_id attributes_object(const bitfile_t *bitfile) {
#if HPSS_SIM_LEVEL >= 750
    return object_of(&bitfile->BfId);
#else
    return object_of(bitfile);
#endif
}

void attributes_handle(const struct object *object, ns_ObjHandle_t *handle) {
    memset(handle, 0, sizeof *handle);
    handle->ObjId = (u_signed64)object->id;
    handle->FileId = (u_signed64)object->id;
    handle->Type = (unsigned32)object->type;
    handle->Generation = object->generation;
}

/* ---- stat ---- */

static unsigned32 type_bits(int type) {
    return type == NS_OBJECT_TYPE_DIRECTORY ? S_IFDIR : type == NS_OBJECT_TYPE_SYM_LINK ? S_IFLNK : S_IFREG;
}

static void fill_stat(const struct object *object, hpss_stat_t *out) {
    memset(out, 0, sizeof *out);
    out->st_ino = (u_signed64)object->id;
    out->st_nlink = (unsigned16)object->nlink;
    out->st_uid = object->uid;
    out->st_gid = object->gid;
    out->hpss_st_atime = in_stamp(object->accessed);
    out->hpss_st_mtime = in_stamp(object->written);
    out->hpss_st_ctime = in_stamp(object->changed);
    out->st_blksize = BLOCK_SIZE;
    out->st_blocks = (unsigned32)((object->size + 511) / 512);
    out->st_type = (unsigned32)object->type;
    out->st_gen = object->generation;
    out->st_size = object->size;
    out->st_mode = type_bits(object->type) | object->mode;
}

/* The object at a path, in a transaction of its own. */
static int find_object(struct call *call, const char *path, enum links links, struct object *object) {
    struct database *database = &call->context->database;
    int code = db_read(database);
    if (code == 0)
        code = namespace_object(call->context, path, links, object);
    return db_end(database, code);
}

static int stat_path(enum function function, const char *path, enum links links, hpss_stat_t *out) {
    struct call call;
    struct object object;
    int code = call_begin(&call, function, path);
    if (code == 0 && out == NULL)
        code = HPSS_EFAULT;
    if (code == 0)
        code = find_object(&call, path, links, &object);
    if (code == 0)
        fill_stat(&object, out);
    return (int)call_end(&call, code);
}

int hpss_Stat(HPSS_SIM_CONST char *Path, hpss_stat_t *Buf) {
    return stat_path(FN_Stat, Path, FOLLOW, Buf);
}

int hpss_Lstat(HPSS_SIM_CONST char *Path, hpss_stat_t *Buf) {
    return stat_path(FN_Lstat, Path, NO_FOLLOW, Buf);
}

static int stat_unlinked(const struct descriptor *descriptor, struct object *object) {
    u_signed64 size;
    if (descriptor->is_directory || data_size(descriptor, &size) != 0)
        return HPSS_ENOENT;
    *object = (struct object){.id = descriptor->object, .type = NS_OBJECT_TYPE_FILE, .size = size};
    return 0;
}

static int stat_descriptor(struct call *call, int number, hpss_stat_t *out) {
    struct descriptor *descriptor;
    struct object object;
    int code = descriptor_get(number, false, &descriptor);
    if (code != 0)
        return code;
    code = descriptor_check(descriptor);
    if (code == 0) {
        int found = object_load(call->context, descriptor->object, &object);
        code = found == 1 ? 0 : found == 0 ? stat_unlinked(descriptor, &object) : found;
    }
    descriptor_put(descriptor);
    if (code == 0)
        fill_stat(&object, out);
    return code;
}

int hpss_Fstat(int Fildes, hpss_stat_t *Buf) {
    struct call call;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Fstat, descriptor_path(Fildes, path));
    if (code == 0)
        code = Buf == NULL ? HPSS_EFAULT : stat_descriptor(&call, Fildes, Buf);
    return (int)call_end(&call, code);
}

int hpss_Access(HPSS_SIM_CONST char *Path, int Amode) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_Access, Path);
    if (code == 0)
        code = find_object(&call, Path, FOLLOW, &object);
    if (code == 0)
        code = namespace_permits(call.context, &object, Amode & 7);
    return (int)call_end(&call, code);
}

/* ---- attributes ---- */

static byte permissions(unsigned32 bits) {
    return (byte)((bits & R_OK ? NS_PERMS_RD : 0) | (bits & W_OK ? NS_PERMS_WR : 0) | (bits & X_OK ? NS_PERMS_XS : 0));
}

static int fill_attributes(struct context *context, const struct object *object, hpss_Attrs_t *out) {
    memset(out, 0, sizeof *out);
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row, "SELECT comment FROM object WHERE id = ?", "i", object->id);
    if (found == 1) {
        strncpy(out->Comment, (const char *)sqlite3_column_text(row, 0), sizeof out->Comment - 1);
        db_done(row);
    }
    sqlite3_int64 entries = 0;
    if (found >= 0 && object->type == NS_OBJECT_TYPE_DIRECTORY)
        found = db_integer(&context->database, &entries, 0, "SELECT count(*) FROM name WHERE parent = ?", "i",
                           object->id);
    if (found < 0)
        return found;
    if (object->type == NS_OBJECT_TYPE_FILE)
#if HPSS_SIM_LEVEL >= 750
        out->BitfileObj = attributes_bitfile(object->id);
#else
        out->BitfileId = attributes_bitfile(object->id);
#endif
    out->COSId = object->cos;
    out->DataLength = object->size;
    out->EntryCount = (unsigned32)entries;
    out->FamilyId = object->family;
    out->FilesetId = (u_signed64)object->fileset;
    out->GID = object->gid;
    out->UserPerms = permissions(object->mode >> 6);
    out->GroupPerms = permissions(object->mode >> 3);
    out->OtherPerms = permissions(object->mode);
    out->CompositePerms = out->UserPerms;
    out->ModePerms = (byte)(object->mode >> 9 & 7);
    out->LinkCount = object->nlink;
    out->OptionFlags = object->purge_lock ? CORE_OPTION_FLAG_DONT_PURGE : 0;
    out->TimeCreated = in_stamp(object->created);
    out->TimeLastRead = in_stamp(object->accessed);
    out->TimeLastWritten = object->type == NS_OBJECT_TYPE_FILE ? in_stamp(object->written) : 0;
    out->TimeModified = in_stamp(object->changed);
    bool is_hard_link = object->type == NS_OBJECT_TYPE_FILE && object->nlink > 1;
    out->Type = is_hard_link ? NS_OBJECT_TYPE_HARD_LINK : (unsigned32)object->type;
    out->UID = object->uid;
    return 0;
}

int attributes_of(struct context *context, const char *path, enum links links, struct object *object,
                  hpss_Attrs_t *out) {
    int code = namespace_object(context, path, links, object);
    return code == 0 ? fill_attributes(context, object, out) : code;
}

static int file_attributes(struct call *call, const char *path, enum links links, struct object *object,
                           hpss_Attrs_t *out) {
    struct database *database = &call->context->database;
    int code = db_read(database);
    if (code == 0)
        code = attributes_of(call->context, path, links, object, out);
    return db_end(database, code);
}

int hpss_FileGetAttributes(HPSS_SIM_CONST char *Path, hpss_fileattr_t *AttrOut) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_FileGetAttributes, Path);
    if (code == 0)
        code = AttrOut == NULL ? HPSS_EFAULT : file_attributes(&call, Path, FOLLOW, &object, &AttrOut->Attrs);
    if (code == 0)
        attributes_handle(&object, &AttrOut->ObjectHandle);
    return (int)call_end(&call, code);
}

int hpss_GetListAttrs(HPSS_SIM_CONST char *Path, hpss_Attrs_t *Attrs) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_GetListAttrs, Path);
    if (code == 0)
        code = Attrs == NULL ? HPSS_EFAULT : file_attributes(&call, Path, NO_FOLLOW, &object, Attrs);
    return (int)call_end(&call, code);
}

void API_ConvertTimeToPosixTime(hpss_Attrs_t *Attrs, timestamp_sec_t *Atime, timestamp_sec_t *Mtime,
                                timestamp_sec_t *Ctime) {
    *Atime = Attrs->TimeLastRead != 0 ? Attrs->TimeLastRead : Attrs->TimeCreated;
    timestamp_sec_t written = Attrs->Type == NS_OBJECT_TYPE_DIRECTORY ? Attrs->TimeModified : Attrs->TimeLastWritten;
    *Mtime = written != 0 ? written : Attrs->TimeCreated;
    *Ctime = Attrs->TimeModified;
}
