/* Where the bytes of a file are: all levels in one call. */
#include "shim_sdk.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(HPSS_MAX_STORAGE_LEVELS <= SHIM_MAX_LEVELS, "SHIM_MAX_LEVELS is too small for this SDK");

enum { VOLUMES_REPORTED = sizeof((bf_sc_attrib_t *)0)->VVAttrib / sizeof((bf_sc_attrib_t *)0)->VVAttrib[0] };
_Static_assert(VOLUMES_REPORTED <= SHIM_MAX_VOLUMES, "SHIM_MAX_VOLUMES is too small for this SDK");

static unsigned volumes_reported(const bf_sc_attrib_t *level) {
    return level->NumberOfVVs < VOLUMES_REPORTED ? level->NumberOfVVs : VOLUMES_REPORTED;
}

/* The library allocates a list for each volume that it reports, and leaves them to the caller. */
static void free_volume_lists(hpss_xfileattr_t *attributes) {
    for (int level = 0; level < HPSS_MAX_STORAGE_LEVELS; level++) {
        bf_sc_attrib_t *at = &attributes->SCAttrib[level];
        for (unsigned volume = 0; volume < VOLUMES_REPORTED; volume++) {
            free(at->VVAttrib[volume].PVList);
            at->VVAttrib[volume].PVList = NULL;
        }
    }
}

static int kind_of_type(uint32_t type) {
    switch (type) {
    case NS_OBJECT_TYPE_FILE:
    case NS_OBJECT_TYPE_HARD_LINK:
        return SHIM_FILE;
    case NS_OBJECT_TYPE_DIRECTORY:
    case NS_OBJECT_TYPE_FILESET_ROOT:
        return SHIM_DIRECTORY;
    case NS_OBJECT_TYPE_SYM_LINK:
        return SHIM_SYMLINK;
    default:
        return SHIM_OTHER;
    }
}

static uint32_t permission_bits(uint32_t permissions) {
    return (permissions & NS_PERMS_RD ? 4u : 0) | (permissions & NS_PERMS_WR ? 2u : 0) |
           (permissions & NS_PERMS_XS ? 1u : 0);
}

static void flatten_stat(const ns_ObjHandle_t *handle, const hpss_Attrs_t *from, shim_stat *stat) {
    stat->kind = kind_of_type(from->Type);
    stat->mode = permission_bits(from->UserPerms) << 6 | permission_bits(from->GroupPerms) << 3 |
                 permission_bits(from->OtherPerms);
    stat->uid = from->UID;
    stat->gid = from->GID;
    stat->links = from->LinkCount;
    stat->id = handle->FileId;
    stat->size = from->DataLength;
    /* A time that never came is 0; a directory is never "written". */
    int64_t modified = stat->kind == SHIM_DIRECTORY ? from->TimeModified : from->TimeLastWritten;
    stat->modified = modified != 0 ? modified : from->TimeCreated;
    stat->accessed = from->TimeLastRead != 0 ? from->TimeLastRead : from->TimeCreated;
    stat->changed = from->TimeModified;
}

static void flatten_volume(const bf_vv_attrib_t *from, shim_volume *volume) {
    volume->position = from->RelPosition;
    volume->offset = from->RelPositionOffset;
    volume->bytes = from->BytesOnVV;
    const pv_list_t *physical = from->PVList;
    if (physical == NULL || physical->List.List_len == 0 || physical->List.List_val == NULL)
        return;
    size_t room = sizeof physical->List.List_val[0].Name;
    room = room < sizeof volume->name ? room : sizeof volume->name - 1;
    memcpy(volume->name, physical->List.List_val[0].Name, strnlen(physical->List.List_val[0].Name, room));
}

static void flatten_level(const bf_sc_attrib_t *from, shim_level_state *level) {
    if (from->Flags & BFS_BFATTRS_LEVEL_IS_DISK)
        level->medium = SHIM_MEDIUM_DISK;
    else if (from->Flags & BFS_BFATTRS_LEVEL_IS_TAPE)
        level->medium = SHIM_MEDIUM_TAPE;
    level->has_data = (from->Flags & BFS_BFATTRS_DATAEXISTS_AT_LEVEL) != 0;
    level->bytes = from->BytesAtLevel;
    level->volume_count = volumes_reported(from);
    for (unsigned volume = 0; volume < level->volume_count; volume++)
        flatten_volume(&from->VVAttrib[volume], &level->volumes[volume]);
}

int shim_get_attributes(const char *path, shim_attributes *attributes) {
    hpss_xfileattr_t found;
    memset(&found, 0, sizeof found);
    int code = hpss_FileGetXAttributes((char *)path, API_GET_STATS_FOR_ALL_LEVELS | API_GET_XATTRS_NO_BLOCK, 0, &found);
    if (code >= 0) {
        memset(attributes, 0, sizeof *attributes);
        flatten_stat(&found.ObjectHandle, &found.Attrs, &attributes->stat);
        attributes->cos = found.Attrs.COSId;
        attributes->purge_locked = (found.Attrs.OptionFlags & CORE_OPTION_FLAG_DONT_PURGE) != 0;
#if SHIM_HAS_BITFILE_OBJECT
        memcpy(attributes->bitfile, &found.Attrs.BitfileObj, sizeof found.Attrs.BitfileObj);
#else
        memcpy(attributes->bitfile, &found.Attrs.BitfileId, sizeof found.Attrs.BitfileId);
#endif
        attributes->bitfile_size = sizeof(shim_bitfile);
        for (int level = 0; level < HPSS_MAX_STORAGE_LEVELS; level++)
            flatten_level(&found.SCAttrib[level], &attributes->levels[level]);
        code = 0;
    }
    free_volume_lists(&found);
    return code;
}
