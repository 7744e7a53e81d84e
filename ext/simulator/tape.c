/* The course of time in the tape library model: what is due is played, moment by moment. */
#include "tape_model.h"

#include <float.h>
#include <stddef.h>

/* So many moments share a transaction: others may write in between, and a long night does not lock them out. */
enum { MOMENTS_PER_TRANSACTION = 1000 };

/* The moment of the next event, DBL_MAX when there is none. */
static double next_moment(struct tape *tape) {
    double next = DBL_MAX;
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT (SELECT due FROM operation WHERE played IS NULL ORDER BY due LIMIT 1),"
                                 " (SELECT due FROM migration ORDER BY due LIMIT 1),"
                                 " (SELECT ready FROM request WHERE state = 'queued' AND turn IS NULL"
                                 "  ORDER BY ready LIMIT 1),"
                                 " (SELECT min(busy_until) FROM drive WHERE request IS NOT NULL)",
                                 "");
    for (int column = 0; row && column < 4; column++)
        if (sqlite3_column_type(row, column) != SQLITE_NULL && sqlite3_column_double(row, column) < next)
            next = sqlite3_column_double(row, column);
    tape_done(row);
    return next;
}

static bool play_operation(struct tape *tape, double at) {
    struct tape_operation operation;
    sqlite3_int64 bytes;
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT id, action, target, value FROM operation WHERE played IS NULL AND due <= ?"
                                 " ORDER BY due, id LIMIT 1",
                                 "d", at);
    if (!row)
        return false;
    sqlite3_int64 id = sqlite3_column_int64(row, 0);
    tape_copy_name(operation.action, row, 1);
    operation.number = sqlite3_column_int64(row, 2);
    tape_copy_name(operation.name, row, 2);
    operation.value = sqlite3_column_double(row, 3);
    tape_done(row);
    sqlite3_int64 code = tape_operate(tape, &operation, at, &bytes);
    tape_run(tape, "UPDATE operation SET played = ?, code = ?, bytes = ? WHERE id = ?", "diii", at, code, bytes,
             id);
    return true;
}

static bool play_migration(struct tape *tape, double at) {
    sqlite3_int64 object = tape_integer(
        tape, 0, "SELECT object FROM migration WHERE due <= ? ORDER BY due, object LIMIT 1", "d", at);
    if (!object)
        return false;
    tape_copy_to_tape(tape, object);
    return true;
}

static bool play_arrival(struct tape *tape, double at) {
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT id, object FROM request WHERE state = 'queued' AND turn IS NULL AND ready <= ?"
                                 " ORDER BY ready, id LIMIT 1",
                                 "d", at);
    if (!row)
        return false;
    sqlite3_int64 request = sqlite3_column_int64(row, 0), object = sqlite3_column_int64(row, 1);
    tape_done(row);
    tape_enqueue(tape, request, object, at);
    return true;
}

static bool play_completion(struct tape *tape, double at) {
    sqlite3_int64 drive = tape_integer(
        tape, -1, "SELECT id FROM drive WHERE request IS NOT NULL AND busy_until <= ? ORDER BY busy_until, id LIMIT 1",
        "d", at);
    if (drive < 0)
        return false;
    tape_complete(tape, drive, at);
    return true;
}

/* One moment: the order of what happens at the same time is part of the model. */
static void play(struct tape *tape, double at) {
    while (!tape->error && play_operation(tape, at))
        continue;
    while (!tape->error && play_migration(tape, at))
        continue;
    while (!tape->error && play_arrival(tape, at))
        continue;
    while (!tape->error && play_completion(tape, at))
        continue;
    tape_dispatch(tape, at);
}

/* Plays the moments up to `now`, or as many as one transaction takes; false when nothing more is due. */
static bool play_some(struct tape *tape, double now) {
    bool more = true;
    tape_run(tape, "BEGIN IMMEDIATE", "");
    if (tape->error)
        return false;
    tape_load_settings(tape);
    double played = tape_not_before_played(tape, -DBL_MAX);
    for (int count = 0; count < MOMENTS_PER_TRANSACTION && !tape->error; count++) {
        double next = next_moment(tape);
        more = next <= now;
        if (!more)
            break;
        if (next > played)
            played = next;
        play(tape, played);
    }
    tape_run(tape, "UPDATE library SET played = ? WHERE played < ?", "dd", played, played);
    tape_run(tape, "COMMIT", "");
    if (tape->error)
        sqlite3_exec(tape->db, "ROLLBACK", NULL, NULL, NULL);
    return more && !tape->error;
}

int tape_advance(struct tape *tape, double now) {
    tape_begin(tape);
    if (next_moment(tape) <= now)
        while (play_some(tape, now))
            continue;
    return tape->error;
}

int tape_next_event(struct tape *tape, double *when) {
    tape_begin(tape);
    double next = next_moment(tape);
    if (tape->error || next == DBL_MAX)
        return tape->error;
    *when = next;
    return 1;
}
