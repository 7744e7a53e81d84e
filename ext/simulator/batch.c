/* Batches of stages: one call for many files, which the library then reads in the order of the tape.

   A callback is made for each file, not for the batch. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#if HPSS_SIM_LEVEL >= 830

/* What the real server has been seen to answer for a batch with unused slots: Linux's number, not HPSS's. */
#define UNUSED_SLOTS (-95)

int API_StageBatchInit(hpss_stage_batch_t *Batch, int Len) {
    if (Batch == NULL)
        return HPSS_EFAULT;
    if (Len <= 0)
        return HPSS_EINVAL;
    Batch->Entries = calloc((size_t)Len, sizeof *Batch->Entries);
    Batch->Len = Batch->Entries == NULL ? 0 : Len;
    return Batch->Entries == NULL ? HPSS_ENOMEM : 0;
}

int API_StageBatchInsertBFObj(hpss_stage_batch_t *Batch, int Index, const bfs_bitfile_obj_handle_t *BFObj,
                              int FromLevel, int ToLevel, u_signed64 Offset, u_signed64 Length, unsigned32 Flags) {
    if (Batch == NULL || BFObj == NULL)
        return HPSS_EFAULT;
    if (Index < 0 || Index >= Batch->Len || ToLevel != 0)
        return HPSS_EINVAL;
    Batch->Entries[Index] = (hpss_stage_batch_entry_t){*BFObj, FromLevel, ToLevel, Offset, Length, Flags, 1};
    return 0;
}

void API_StageBatchFree(hpss_stage_batch_t *Batch) {
    if (Batch == NULL)
        return;
    free(Batch->Entries);
    Batch->Entries = NULL;
    Batch->Len = 0;
}

void API_StageStatusFree(hpss_stage_batch_status_t *Status) {
    if (Status == NULL)
        return;
    free(Status->StatusList.StatusList_val);
    Status->StatusList.StatusList_val = NULL;
    Status->StatusList.StatusList_len = 0;
}

static int new_status(unsigned32 length, hpss_stage_batch_status_t *out) {
    out->StatusList.StatusList_val = calloc(length, sizeof *out->StatusList.StatusList_val);
    out->StatusList.StatusList_len = out->StatusList.StatusList_val == NULL ? 0 : length;
    return out->StatusList.StatusList_val == NULL ? HPSS_ENOMEM : 0;
}

static int check_batch(const hpss_stage_batch_t *batch) {
    if (batch == NULL || batch->Entries == NULL)
        return HPSS_EFAULT;
    for (int i = 0; i < batch->Len; i++)
        if (!batch->Entries[i].Used)
            return UNUSED_SLOTS;
    return 0;
}

static int submit(struct call *call, const hpss_stage_batch_t *batch, const bfs_callback_addr_t *callback,
                  const hpss_reqid_t *id) {
    struct database *database = &call->context->database;
    char id_text[REQUEST_ID_TEXT], callback_line[CALLBACK_TEXT];
    sqlite3_int64 number, request;
    request_id_text(id, id_text);
    callback_text(callback, callback_line, sizeof callback_line);
    int code = db_write(database);
    if (code == 0)
        code = db_integer(database, &number, 1, "SELECT coalesce(max(batch), 0) + 1 FROM request WHERE batch <> 0", "");
    for (int i = 0; code == 0 && i < batch->Len; i++) {
        object_id object = attributes_object(&batch->Entries[i].BFObj);
        code = tape_submit(database->tape, object, id_text, number, callback_line, call_now(call), &request);
    }
    return db_end(database, code);
}

/* The lists that the caller gets: each file, and that it has not been moved yet. */
static int fill_answer(const hpss_stage_batch_t *batch, hpss_stage_bitfile_list_t *files,
                       hpss_stage_batch_status_t *status) {
    unsigned32 length = (unsigned32)batch->Len;
    files->BFList.BFList_val = calloc(length, sizeof *files->BFList.BFList_val);
    files->BFList.BFList_len = length;
    int code = files->BFList.BFList_val == NULL ? HPSS_ENOMEM : new_status(length, status);
    if (code != 0) {
        free(files->BFList.BFList_val);
        memset(files, 0, sizeof *files);
        return code;
    }
    for (unsigned32 i = 0; i < length; i++) {
        files->BFList.BFList_val[i] = batch->Entries[i].BFObj;
        status->StatusList.StatusList_val[i] =
            (hpss_stage_file_status_t){.BFObj = batch->Entries[i].BFObj, .StageStatus = HPSS_ENOTALLMOVED};
    }
    return 0;
}

int hpss_StageBatchCallBack(hpss_stage_batch_t *Batch, bfs_callback_addr_t *CallBackPtr, hpss_reqid_t *ReqID,
                            hpss_stage_bitfile_list_t *BFIDs, hpss_stage_batch_status_t *Status) {
    struct call call;
    hpss_reqid_t id;
    int code = call_begin(&call, FN_StageBatchCallBack, NULL);
    if (code == 0)
        code = CallBackPtr == NULL || ReqID == NULL || BFIDs == NULL || Status == NULL ? HPSS_EFAULT
                                                                                      : check_batch(Batch);
    if (code == 0)
        code = call_advance(&call);
    if (code == 0) {
        id = request_id_is_zero(&CallBackPtr->id) ? request_id_new() : CallBackPtr->id;
        code = submit(&call, Batch, CallBackPtr, &id);
    }
    code = (int)call_end(&call, code);
    if (code == 0)
        code = fill_answer(Batch, BFIDs, Status);
    if (code == 0)
        *ReqID = id;
    return code;
}

int hpss_GetBatchAsynchStatus(hpss_reqid_t CallBackId, hpss_stage_bitfile_list_t *BFIDs, hpss_stage_status_type_t Type,
                              hpss_stage_batch_status_t *Status) {
    (void)Type;
    struct call call;
    int code = call_begin(&call, FN_GetBatchAsynchStatus, NULL);
    bool is_made = false;
    if (code == 0)
        code = BFIDs == NULL || Status == NULL ? HPSS_EFAULT : BFIDs->BFList.BFList_len == 0 ? HPSS_EINVAL : 0;
    if (code == 0)
        code = call_advance(&call);
    if (code == 0) {
        code = new_status(BFIDs->BFList.BFList_len, Status);
        is_made = code == 0;
    }
    for (unsigned32 i = 0; code == 0 && i < BFIDs->BFList.BFList_len; i++) {
        hpss_stage_file_status_t *file = &Status->StatusList.StatusList_val[i];
        file->BFObj = BFIDs->BFList.BFList_val[i];
        code = staging_status(&call, &CallBackId, &file->BFObj, &file->StageStatus);
    }
    code = (int)call_end(&call, code);
    if (code != 0 && is_made)
        API_StageStatusFree(Status);
    return code;
}

#endif
