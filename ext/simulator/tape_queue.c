/* Stage requests: from submission to the queue of a cartridge, and to their end. */
#include "tape_model.h"

#include <math.h>
#include <string.h>

/*
 * Which submissions vanish: of lose_requests >= 1 every n-th, of a fraction as many as it says, evenly spread.
 * Counted from the moment at which the setting was made other than 0, so that a test knows which ones.
 */
static bool is_lost(struct tape *tape) {
    double lose = tape->settings.lose_requests;
    if (lose <= 0) {
        tape_run(tape, "UPDATE library SET losing = 0 WHERE losing <> 0", "");
        return false;
    }
    tape_run(tape, "UPDATE library SET losing = losing + 1", "");
    sqlite3_int64 count = tape_integer(tape, 0, "SELECT losing FROM library", "");
    if (lose >= 1)
        return count % (sqlite3_int64)lose == 0;
    return floor((double)count * lose) > floor((double)(count - 1) * lose);
}

/* Bytes on disk are newer than those on tape, or the same: only what has more on tape needs staging. */
static bool is_resident(struct tape *tape, sqlite3_int64 object) {
    return tape_integer(tape, 0, "SELECT coalesce(max(bytes), 0) FROM segment WHERE object = ?", "i", object)
           <= tape_bytes_on_disk(tape, object);
}

int tape_ask(struct tape *tape, sqlite3_int64 object, const char *client_id, sqlite3_int64 batch, const char *callback,
             double at, sqlite3_int64 *request) {
    if (!tape_integer(tape, 0, "SELECT 1 FROM object WHERE id = ?", "i", object))
        return HPSS_ENOENT;
    if (!tape_has_disk_level(tape, object))
        return HPSS_EINVAL;
    bool duplicate = tape_is_asked_for(tape, object);
    bool lost = is_lost(tape), resident = !lost && is_resident(tape, object);
    tape_run(tape,
             "INSERT INTO request (client_id, batch, object, submitted, ready, callback, state)"
             " VALUES (?, ?, ?, ?, ?, ?, 'queued')",
             "siidds", client_id, batch, object, at, at + tape->settings.schedule_seconds, callback);
    *request = sqlite3_last_insert_rowid(tape->db);
    tape_run(tape, "UPDATE library SET submitted = submitted + 1, duplicates = duplicates + ?, lost = lost + ?", "ii",
             (sqlite3_int64)duplicate, (sqlite3_int64)lost);
    if (lost)
        tape_run(tape, "UPDATE request SET state = 'lost', finished = submitted, callback = NULL WHERE id = ?", "i",
                 *request);
    else if (resident)
        tape_finish(tape, *request, "done", 0, at);
    return 0;
}

int tape_submit(struct tape *tape, sqlite3_int64 object, const char *client_id, sqlite3_int64 batch,
                const char *callback, double now, sqlite3_int64 *request) {
    tape_begin(tape);
    tape_load_settings(tape);
    int code = tape_ask(tape, object, client_id, batch, callback, tape_not_before_played(tape, now), request);
    return tape->error ? tape->error : code;
}

int tape_status(struct tape *tape, const char *client_id, sqlite3_int64 object, enum tape_stage_status *status) {
    tape_begin(tape);
    sqlite3_int64 known = tape_integer(tape, 0,
                                       "SELECT 1 + max(state = 'active') FROM request"
                                       " WHERE client_id = ? AND object = ? AND finished IS NULL",
                                       "si", client_id, object);
    *status = known == 0 ? TAPE_STAGE_UNKNOWN : known == 1 ? TAPE_STAGE_QUEUED : TAPE_STAGE_ACTIVE;
    return tape->error;
}

int tape_request_state(struct tape *tape, sqlite3_int64 request, int *finished, int *code) {
    tape_begin(tape);
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT finished IS NOT NULL AND state <> 'lost', code FROM request WHERE id = ?", "i",
                                 request);
    if (!row)
        return tape->error ? tape->error : HPSS_ENOENT;
    *finished = sqlite3_column_int(row, 0);
    *code = sqlite3_column_int(row, 1);
    tape_done(row);
    return tape->error;
}

bool tape_is_asked_for(struct tape *tape, sqlite3_int64 object) {
    return tape_integer(tape, 0, "SELECT 1 FROM request WHERE object = ? AND finished IS NULL LIMIT 1", "i", object);
}

int tape_is_moving(struct tape *tape, sqlite3_int64 object) {
    tape_begin(tape);
    bool moving = tape_is_asked_for(tape, object);
    return tape->error ? tape->error : moving;
}

void tape_enqueue(struct tape *tape, sqlite3_int64 request, sqlite3_int64 object, double at) {
    char cartridge[TAPE_NAME_SIZE];
    sqlite3_stmt *copy = tape_row(tape,
                                  "SELECT s.cartridge, s.offset, s.bytes FROM segment s JOIN cartridge c"
                                  " ON c.name = s.cartridge AND c.state = 'ok' WHERE s.object = ?"
                                  " ORDER BY s.level LIMIT 1",
                                  "i", object);
    if (!copy) {
        tape_finish(tape, request, "failed", HPSS_EIO, at);
        return;
    }
    tape_copy_name(cartridge, copy, 0);
    sqlite3_int64 offset = sqlite3_column_int64(copy, 1), bytes = sqlite3_column_int64(copy, 2);
    tape_done(copy);
    tape_run(tape,
             "UPDATE request SET cartridge = ?, offset = ?, bytes = ?, state = 'queued', started = NULL,"
             " turn = CASE batch WHEN 0 THEN id ELSE (SELECT min(b.id) FROM request b WHERE b.batch = request.batch) END"
             " WHERE id = ?",
             "siii", cartridge, offset, bytes, request);
    tape_queue_changed(tape, cartridge);
}

bool tape_first_in_queue(struct tape *tape, const char *cartridge, sqlite3_int64 turn, struct tape_request *found) {
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT id, object, turn, offset, bytes FROM request WHERE state = 'queued'"
                                 " AND turn IS NOT NULL AND cartridge = ? ORDER BY turn, offset, id LIMIT 1",
                                 "s", cartridge);
    if (!row)
        return false;
    *found = (struct tape_request){
        .id = sqlite3_column_int64(row, 0),
        .object = sqlite3_column_int64(row, 1),
        .turn = sqlite3_column_int64(row, 2),
        .offset = sqlite3_column_int64(row, 3),
        .bytes = sqlite3_column_int64(row, 4),
    };
    tape_done(row);
    strncpy(found->cartridge, cartridge, TAPE_NAME_SIZE - 1);
    return turn == 0 || found->turn == turn;
}

void tape_queue_changed(struct tape *tape, const char *cartridge) {
    struct tape_request first;
    if (tape_first_in_queue(tape, cartridge, 0, &first))
        tape_run(tape,
                 "INSERT INTO waiting (cartridge, turn) VALUES (?, ?)"
                 " ON CONFLICT (cartridge) DO UPDATE SET turn = excluded.turn",
                 "si", cartridge, first.turn);
    else
        tape_run(tape, "DELETE FROM waiting WHERE cartridge = ?", "s", cartridge);
}

/* A drive that was serving the request goes on until its time, and finds then that nobody wants the file any more. */
void tape_finish(struct tape *tape, sqlite3_int64 request, const char *state, int code, double at) {
    char cartridge[TAPE_NAME_SIZE];
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT cartridge FROM request WHERE id = ? AND state = 'queued' AND turn IS NOT NULL",
                                 "i", request);
    bool queued = row != NULL;
    if (queued)
        tape_copy_name(cartridge, row, 0);
    tape_done(row);
    tape_run(tape, "UPDATE request SET state = ?, code = ?, finished = ? WHERE id = ?", "sidi", state,
             (sqlite3_int64)code, at, request);
    if (code < 0)
        tape_run(tape, "UPDATE library SET failed = failed + 1", "");
    if (queued)
        tape_queue_changed(tape, cartridge);
}

void tape_finish_all(struct tape *tape, sqlite3_int64 object, const char *state, int code, double at) {
    sqlite3_int64 request;
    while ((request = tape_integer(
                tape, 0, "SELECT id FROM request WHERE object = ? AND finished IS NULL ORDER BY id LIMIT 1", "i",
                object)))
        tape_finish(tape, request, state, code, at);
}
