/* Batch staging, from HPSS 9.3 on: the server orders the files of a batch by tape and position. */
#include "shim_sdk.h"

#include <stdlib.h>
#include <string.h>

#if SHIM_HAS_BATCH_STAGE

_Static_assert(sizeof(hpss_reqid_t) <= SHIM_REQUEST_SIZE, "SHIM_REQUEST_SIZE is too small for this SDK");

static void free_status(hpss_stage_batch_status_t *status) {
    if (status->StatusList.StatusList_val != NULL)
        API_StageStatusFree(status);
}

/* A new array of `count` bitfiles from bytes; NULL when they are none or memory is short. */
static shim_bitfile *load_bitfiles(const unsigned char *bytes, size_t size, int count) {
    shim_bitfile *bitfiles = calloc((size_t)count, sizeof *bitfiles);
    for (int i = 0; bitfiles != NULL && i < count; i++) {
        if (!shim_load_bitfile(&bitfiles[i], bytes + (size_t)i * size, size)) {
            free(bitfiles);
            return NULL;
        }
    }
    return bitfiles;
}

static int fill_batch(hpss_stage_batch_t *batch, const shim_bitfile *bitfiles, int count) {
    int code = 0;
    for (int i = 0; code >= 0 && i < count; i++)
        code = API_StageBatchInsertBFObj(batch, i, &bitfiles[i], 0, 0, 0, 0, BFS_STAGE_ALL);
    return code;
}

static int submit(hpss_stage_batch_t *batch, const unsigned char request[SHIM_REQUEST_SIZE], hpss_reqid_t *given) {
    bfs_callback_addr_t callback; /* an address of zeros: nobody wants to be called */
    memset(&callback, 0, sizeof callback);
    callback.id = shim_request_id(request);
    *given = callback.id;
    hpss_stage_bitfile_list_t accepted;
    hpss_stage_batch_status_t status;
    memset(&accepted, 0, sizeof accepted);
    memset(&status, 0, sizeof status);
    int code = hpss_StageBatchCallBack(batch, &callback, given, &accepted, &status);
    free(accepted.BFList.BFList_val);
    free_status(&status);
    return code;
}

int shim_submit_batch(const unsigned char request[SHIM_REQUEST_SIZE], const unsigned char *bitfiles,
                      size_t bitfile_size, int count, unsigned char batch[SHIM_REQUEST_SIZE]) {
    shim_bitfile *asked = load_bitfiles(bitfiles, bitfile_size, count);
    if (asked == NULL)
        return HPSS_EINVAL;
    hpss_stage_batch_t list;
    memset(&list, 0, sizeof list);
    /* The server refuses a list with slots that are not filled. */
    int code = API_StageBatchInit(&list, count);
    if (code >= 0) {
        hpss_reqid_t given;
        code = fill_batch(&list, asked, count);
        if (code >= 0)
            code = submit(&list, request, &given);
        if (code >= 0)
            memcpy(batch, &given, sizeof given);
        API_StageBatchFree(&list);
    }
    free(asked);
    return code;
}

int shim_batch_status(const unsigned char batch[SHIM_REQUEST_SIZE], const unsigned char *bitfiles, size_t bitfile_size,
                      int count, int *states) {
    shim_bitfile *asked = load_bitfiles(bitfiles, bitfile_size, count);
    if (asked == NULL)
        return HPSS_EINVAL;
    hpss_reqid_t id;
    memcpy(&id, batch, sizeof id);
    hpss_stage_bitfile_list_t list;
    memset(&list, 0, sizeof list);
    list.BFList.BFList_len = (unsigned32)count;
    list.BFList.BFList_val = asked;
    hpss_stage_batch_status_t status;
    memset(&status, 0, sizeof status);
    int code = hpss_GetBatchAsynchStatus(id, &list, HPSS_STAGE_STATUS_BFS_SS, &status);
    for (int i = 0; code >= 0 && i < count; i++) {
        int known = (unsigned32)i < status.StatusList.StatusList_len;
        states[i] = known ? shim_stage_state(status.StatusList.StatusList_val[i].StageStatus) : SHIM_STAGE_UNKNOWN;
    }
    free_status(&status);
    free(asked);
    return code;
}

#else

int shim_submit_batch(const unsigned char request[SHIM_REQUEST_SIZE], const unsigned char *bitfiles,
                      size_t bitfile_size, int count, unsigned char batch[SHIM_REQUEST_SIZE]) {
    (void)request, (void)bitfiles, (void)bitfile_size, (void)count, (void)batch;
    return HPSS_EOPNOTSUPP;
}

int shim_batch_status(const unsigned char batch[SHIM_REQUEST_SIZE], const unsigned char *bitfiles, size_t bitfile_size,
                      int count, int *states) {
    (void)batch, (void)bitfiles, (void)bitfile_size, (void)count, (void)states;
    return HPSS_EOPNOTSUPP;
}

#endif
