/* Is a file on disk, and how does it get there. */
#include "sim.h"

int residency_of(struct context *context, object_id object, u_signed64 *size, enum residency *residency) {
    sqlite3_stmt *row;
    int found = db_row(&context->database, &row,
                       "SELECT size, EXISTS (SELECT 1 FROM level l WHERE l.object = o.id AND level = 0),"
                       " EXISTS (SELECT 1 FROM level l WHERE l.object = o.id AND level > 0) FROM object o WHERE id = ?",
                       "i", object);
    if (found != 1)
        return found < 0 ? found : HPSS_ENOENT;
    *size = (u_signed64)sqlite3_column_int64(row, 0);
    bool at_top = sqlite3_column_int(row, 1) != 0;
    bool below = sqlite3_column_int(row, 2) != 0;
    db_done(row);
    /* A file without bytes at any level is all hole, or empty: there is nothing to wait for. */
    *residency = at_top || !below || *size == 0 ? ON_DISK : NOT_ON_DISK;
    return 0;
}

int residency_ask(struct call *call, object_id object, sqlite3_int64 *request) {
    struct database *database = &call->context->database;
    int code = db_write(database);
    if (code == 0)
        code = tape_submit(database->tape, object, NULL, 0, NULL, call_now(call), request);
    return db_end(database, code);
}

int residency_wait_request(struct call *call, sqlite3_int64 request) {
    double step = 0;
    for (;;) {
        int is_finished = 0, result = 0;
        int code = call_advance(call);
        if (code == 0)
            code = tape_request_state(call->context->database.tape, request, &is_finished, &result);
        if (code != 0 || is_finished)
            return code != 0 ? code : result;
        code = call_pause(call, &step);
        if (code != 0)
            return code;
    }
}

int residency_wait(struct call *call, object_id object) {
    u_signed64 size;
    enum residency residency;
    double step = 0;
    for (;;) {
        int code = call_advance(call);
        if (code == 0)
            code = residency_of(call->context, object, &size, &residency);
        if (code != 0 || residency == ON_DISK)
            return code;
        int is_moving = tape_is_moving(call->context->database.tape, object);
        if (is_moving < 0)
            return is_moving;
        if (!is_moving) {
            sqlite3_int64 request;
            code = residency_ask(call, object, &request);
            if (code == 0)
                code = residency_wait_request(call, request);
        } else {
            code = call_pause(call, &step);
        }
        if (code != 0)
            return code;
    }
}
