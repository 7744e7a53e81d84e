/*
 * What the parts of the tape library model share.
 *
 * Errors are sticky: once a statement has failed, the following ones do nothing and find no rows, so that functions can
 * be read as if nothing failed.  Every function of tape.h begins with tape_begin() and ends with `return tape->error`;
 * the caller (or tape_advance) then rolls back what was half done.
 */
#ifndef HPSS_SIMULATOR_TAPE_MODEL_H
#define HPSS_SIMULATOR_TAPE_MODEL_H

#include <stdbool.h>

#include "hpss_errno.h"
#include "tape.h"

enum { TAPE_STATEMENTS = 128, TAPE_NAME_SIZE = 32 };

struct tape_statement {
    const char *sql;
    sqlite3_stmt *prepared;
};

/* Read anew from table "setting" by tape_load_settings(). */
struct tape_settings {
    double schedule_seconds;
    double mount_seconds;
    double unmount_seconds;
    double seek_seconds_full;
    double position_seconds;
    double tape_rate;
    double cartridge_capacity;
    double migration_delay;
    double lose_requests;
    bool fail_with_drive;
};

struct tape {
    sqlite3 *db;
    int error;
    struct tape_settings settings;
    struct tape_statement statements[TAPE_STATEMENTS];
};

/* ---- tape_sql.c: statements are known by their text, which must be a literal ---- */

void tape_begin(struct tape *tape);

/* Types: 'i' sqlite3_int64, 'd' double, 's' const char * (NULL allowed; must live until the row is done). */
void tape_run(struct tape *tape, const char *sql, const char *types, ...);

/* The first row, to be ended with tape_done(); NULL when there is none. */
sqlite3_stmt *tape_row(struct tape *tape, const char *sql, const char *types, ...);
void tape_done(sqlite3_stmt *row);

/* The first column of the first row, or `otherwise`. */
sqlite3_int64 tape_integer(struct tape *tape, sqlite3_int64 otherwise, const char *sql, const char *types, ...);

void tape_copy_name(char name[TAPE_NAME_SIZE], sqlite3_stmt *row, int column);
void tape_load_settings(struct tape *tape);

/* `now`, or the last played event where that is later: the past stays as it was played. */
double tape_not_before_played(struct tape *tape, double now);

/* ---- tape_copies.c: which bytes are where ---- */

/* tape_written(), tape_migrate() and tape_purge() within an event; the settings must have been loaded. */
void tape_bytes_changed(struct tape *tape, sqlite3_int64 object, double at);
sqlite3_int64 tape_copy_to_tape(struct tape *tape, sqlite3_int64 object);
int tape_drop_from_disk(struct tape *tape, sqlite3_int64 object, sqlite3_int64 *bytes);

sqlite3_int64 tape_bytes_on_disk(struct tape *tape, sqlite3_int64 object);
/* Whether the disk level takes so many bytes more, beside what is there and what is being staged. */
bool tape_room_for(struct tape *tape, sqlite3_int64 bytes);
bool tape_has_disk_level(struct tape *tape, sqlite3_int64 object);

/* ---- tape_queue.c: requests ---- */

struct tape_request {
    sqlite3_int64 id, object, turn, offset, bytes;
    char cartridge[TAPE_NAME_SIZE];
};

/* tape_submit() within an event. */
int tape_ask(struct tape *tape, sqlite3_int64 object, const char *client_id, sqlite3_int64 batch, const char *callback,
             double at, sqlite3_int64 *request);
bool tape_is_asked_for(struct tape *tape, sqlite3_int64 object);

/* Chooses the copy to read and enters the request into its cartridge's queue, or fails it when all copies are lost. */
void tape_enqueue(struct tape *tape, sqlite3_int64 request, sqlite3_int64 object, double at);

/* The next queued request for a cartridge; of one turn only, unless `turn` is 0. */
bool tape_first_in_queue(struct tape *tape, const char *cartridge, sqlite3_int64 turn, struct tape_request *found);

/* Keeps table "waiting" true after a request has left or entered the queue of a cartridge. */
void tape_queue_changed(struct tape *tape, const char *cartridge);

void tape_finish(struct tape *tape, sqlite3_int64 request, const char *state, int code, double at);

/* Everyone who waits for this object. */
void tape_finish_all(struct tape *tape, sqlite3_int64 object, const char *state, int code, double at);

/* ---- tape_drives.c: what drives do ---- */

/* Ends what the drive was doing; it goes on with the same batch where that has more on the mounted cartridge. */
void tape_complete(struct tape *tape, sqlite3_int64 drive, double at);

/* Gives queued requests to idle drives. */
void tape_dispatch(struct tape *tape, double at);

/* ---- tape_operations.c: what the operator does ---- */

struct tape_operation {
    char action[TAPE_NAME_SIZE];
    char name[TAPE_NAME_SIZE];
    sqlite3_int64 number; /* the name, where it is one */
    double value;
};

/* Returns 0 or a negative code for who ordered it, which is no error of the model. */
int tape_operate(struct tape *tape, const struct tape_operation *operation, double at, sqlite3_int64 *bytes);

#endif
