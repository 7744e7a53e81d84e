/* Between the levels: stage, migrate and purge, blocking on a descriptor or asked for by path. */
#include "shim_sdk.h"

#include <string.h>

int shim_stage(int descriptor) {
    return hpss_Stage(descriptor, 0, 0, 0, BFS_STAGE_ALL);
}

int shim_migrate(int descriptor) {
    u_signed64 moved = 0;
    return hpss_Migrate(descriptor, 0, HPSS_MIGRATE_FORCE, &moved);
}

int shim_purge(int descriptor) {
    u_signed64 purged = 0;
    return hpss_Purge(descriptor, 0, 0, 0, BFS_PURGE_ALL, &purged);
}

#if SHIM_HAS_UUID_REQUEST
hpss_reqid_t shim_request_id(const unsigned char uuid[SHIM_REQUEST_SIZE]) {
    hpss_reqid_t id;
    memset(&id, 0, sizeof id);
    id.time_low = (uint32_t)uuid[0] << 24 | (uint32_t)uuid[1] << 16 | (uint32_t)uuid[2] << 8 | uuid[3];
    id.time_mid = (uint16_t)(uuid[4] << 8 | uuid[5]);
    id.time_hi_and_version = (uint16_t)(uuid[6] << 8 | uuid[7]);
    id.clock_seq_hi_and_reserved = uuid[8];
    id.clock_seq_low = uuid[9];
    for (int i = 0; i < 6; i++)
        id.node[i] = uuid[10 + i];
    return id;
}
#else
/* The FNV-1a hash: every bit counts, also where a UUID repeats itself.  Positive, since 0 and negative numbers look
 * like no id. */
hpss_reqid_t shim_request_id(const unsigned char uuid[SHIM_REQUEST_SIZE]) {
    uint32_t hash = 2166136261u;
    for (int i = 0; i < SHIM_REQUEST_SIZE; i++)
        hash = (hash ^ uuid[i]) * 16777619u;
    hash &= INT32_MAX;
    return (hpss_reqid_t)(hash != 0 ? hash : 1);
}
#endif

int shim_load_bitfile(shim_bitfile *bitfile, const unsigned char *bytes, size_t size) {
    if (size != sizeof *bitfile)
        return 0;
    memcpy(bitfile, bytes, size);
    return 1;
}

int shim_stage_state(int status) {
    switch (status) {
    case HPSS_STAGE_STATUS_ACTIVE:
        return SHIM_STAGE_ACTIVE;
    case HPSS_STAGE_STATUS_QUEUED:
        return SHIM_STAGE_QUEUED;
    case HPSS_STAGE_STATUS_UNKNOWN:
        return SHIM_STAGE_UNKNOWN;
    default:
        /* A state that came with a later release is still a request that the server knows: asking again for what it
         * has already would pile up there. */
        return status > 0 ? SHIM_STAGE_ACTIVE : SHIM_STAGE_UNKNOWN;
    }
}

int shim_submit_stage(const char *path, const unsigned char request[SHIM_REQUEST_SIZE],
                      unsigned char bitfile[SHIM_BITFILE_SIZE], uint32_t *bitfile_size) {
    bfs_callback_addr_t callback; /* an address of zeros: nobody wants to be called */
    memset(&callback, 0, sizeof callback);
    callback.id = shim_request_id(request);
    hpss_reqid_t given = callback.id;
    shim_bitfile found;
    memset(&found, 0, sizeof found);
    int code = hpss_StageCallBack((char *)path, 0, 0, 0, &callback, BFS_STAGE_ALL, &given, &found);
    if (code < 0)
        return code;
    memcpy(bitfile, &found, sizeof found);
    *bitfile_size = sizeof found;
    return 0;
}

int shim_stage_status(const unsigned char request[SHIM_REQUEST_SIZE], const unsigned char *bitfile,
                      size_t bitfile_size) {
    shim_bitfile asked;
    if (!shim_load_bitfile(&asked, bitfile, bitfile_size))
        return HPSS_EINVAL;
    int32_t status = HPSS_STAGE_STATUS_UNKNOWN;
#if SHIM_HAS_ASYNC_STATUS
    int code = hpss_GetAsyncStatus(shim_request_id(request), &asked, &status);
#else
    int code = hpss_GetAsynchStatus(shim_request_id(request), &asked, &status);
#endif
    return code < 0 ? code : shim_stage_state(status);
}
