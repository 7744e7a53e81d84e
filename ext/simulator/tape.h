/*
 * The tape library model: drives, cartridges, the queue of stage requests, migration by policy and the room on disk.
 *
 * The model is a set of functions over the archive's database and a simulated time.  Nothing runs by itself: what
 * happens with time is played by tape_advance(), event by event and each at its own moment, so that the outcome is the
 * same whoever calls it and however often.  All decisions (which request goes to which drive) are taken at events.
 *
 * Rules for callers:
 *   - Call tape_advance() with the present time, outside a transaction, before anything that looks at or changes where
 *     data is.  The other functions run inside the caller's transaction where they write, and leave it to the caller.
 *   - Times are simulated seconds.  A time before the last played event counts as that event's time.
 *   - All functions return 0 (or what is said) or a negative HPSS code: -ENOENT no such object, -EIO the database
 *     failed, -EAGAIN it was locked for longer than the busy handler waits.
 *   - Never INSERT OR REPLACE into table "level": the sums of bytes on disk are kept by triggers, which REPLACE evades.
 *
 * A handle keeps the prepared statements of one connection, and like it belongs to one thread at a time.
 */
#ifndef HPSS_SIMULATOR_TAPE_H
#define HPSS_SIMULATOR_TAPE_H

#include <stdint.h>

#include <sqlite3.h>

struct tape;

/* What tape_status() tells; to be mapped to HPSS_STAGE_STATUS_*. */
enum tape_stage_status { TAPE_STAGE_UNKNOWN, TAPE_STAGE_QUEUED, TAPE_STAGE_ACTIVE };

/* NULL when there is no memory.  Prepares nothing yet. */
struct tape *tape_open(sqlite3 *db);

/* Finalises the statements; to be called before sqlite3_close().  NULL is allowed. */
void tape_close(struct tape *tape);

/* Plays all events due up to `now`.  Opens an IMMEDIATE transaction of its own, and only when something is due. */
int tape_advance(struct tape *tape, double now);

/* 1 and the time of the next event, 0 when nothing is going to happen. */
int tape_next_event(struct tape *tape, double *when);

/*
 * The bytes of a file have changed, and its row in "level" for level 0 says how many there are: copies on other levels
 * are dropped, askers for the old bytes are answered (they are on disk now), and migration is due after the setting
 * migration_delay.  For a class of service whose level 0 is tape, the bytes are appended to a cartridge at once.
 */
int tape_written(struct tape *tape, sqlite3_int64 object, double now);

/* The object is going away: drops its levels and segments; whoever waits for it gets -ENOENT.  Before its row goes. */
int tape_removed(struct tape *tape, sqlite3_int64 object, double now);

/* Copies a file from disk to every tape level that lacks it.  `bytes` (may be NULL) counts what was written. */
int tape_migrate(struct tape *tape, sqlite3_int64 object, uint64_t *bytes);

/* Drops the disk copy: -EBUSY under a purge lock, -EPERM without a whole tape copy, 0 bytes when none is on disk. */
int tape_purge(struct tape *tape, sqlite3_int64 object, uint64_t *bytes);

/* 1 when `bytes` more fit on the disk level (setting disk_capacity) beside what is there and being staged, else 0. */
int tape_disk_has_room(struct tape *tape, uint64_t bytes);

/*
 * Queues a stage to disk.  Every call makes a row in "request", also when the file is asked for already (counted as a
 * duplicate).  A file whose bytes are on disk, or that has none, is done at once.  -EINVAL: level 0 is no disk.
 * `batch` 0 is none; requests of one batch are served in tape order.  `client_id` and `callback` may be NULL.
 * The setting lose_requests makes some vanish: accepted, but never to be heard of again.
 */
int tape_submit(struct tape *tape, sqlite3_int64 object, const char *client_id, sqlite3_int64 batch,
                const char *callback, double now, sqlite3_int64 *request);

/* How the client's request for the object stands; what is done, failed, lost or was never made is UNKNOWN. */
int tape_status(struct tape *tape, const char *client_id, sqlite3_int64 object, enum tape_stage_status *status);

/* `finished` 1 and the code (0 or negative) of an ended request.  A lost request never ends.  -ENOENT: no such one. */
int tape_request_state(struct tape *tape, sqlite3_int64 request, int *finished, int *code);

/* 1 when a stage is queued or active for the object, else 0. */
int tape_is_moving(struct tape *tape, sqlite3_int64 object);

#endif
