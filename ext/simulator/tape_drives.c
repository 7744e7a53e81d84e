/* What drives do: mount, wind, read; and which request is served next. */
#include "tape_model.h"

#include <math.h>
#include <string.h>

struct drive {
    sqlite3_int64 id, head, capacity;
    double slowness;
    char cartridge[TAPE_NAME_SIZE];
};

static bool look_at_drive(struct tape *tape, sqlite3_int64 id, struct drive *drive) {
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT d.head, d.slowness, coalesce(c.capacity, 1), coalesce(d.cartridge, '')"
                                 " FROM drive d LEFT JOIN cartridge c ON c.name = d.cartridge WHERE d.id = ?",
                                 "i", id);
    if (!row)
        return false;
    *drive = (struct drive){
        .id = id,
        .head = sqlite3_column_int64(row, 0),
        .slowness = sqlite3_column_double(row, 1),
        .capacity = sqlite3_column_int64(row, 2),
    };
    tape_copy_name(drive->cartridge, row, 3);
    tape_done(row);
    return true;
}

static double winding(const struct tape *tape, const struct drive *drive, sqlite3_int64 to) {
    double distance = fabs((double)(to - drive->head)) / (double)drive->capacity;
    return tape->settings.seek_seconds_full * fmin(distance, 1);
}

/* Rewinds and takes out what is in the drive, and puts the other cartridge in; returns the seconds. */
static double exchange(struct tape *tape, struct drive *drive, const char *cartridge) {
    double seconds = tape->settings.mount_seconds;
    if (*drive->cartridge) {
        seconds += winding(tape, drive, 0) * drive->slowness + tape->settings.unmount_seconds;
        tape_run(tape, "UPDATE library SET unmounts = unmounts + 1", "");
    }
    tape_run(tape, "UPDATE library SET mounts = mounts + 1", "");
    tape_run(tape, "UPDATE drive SET mounts = mounts + 1, cartridge = ? WHERE id = ?", "si", cartridge, drive->id);
    tape_run(tape, "UPDATE cartridge SET mounts = mounts + 1 WHERE name = ?", "s", cartridge);
    look_at_drive(tape, drive->id, drive);
    drive->head = 0;
    return seconds;
}

/* What slows a drive down slows its winding and reading; the robot's arm is another machine. */
static void start(struct tape *tape, sqlite3_int64 id, const struct tape_request *request, double at) {
    struct drive drive;
    double robot = 0, own = 0;
    if (!look_at_drive(tape, id, &drive))
        return;
    if (strcmp(drive.cartridge, request->cartridge) != 0)
        robot = exchange(tape, &drive, request->cartridge);
    if (drive.head != request->offset) {
        own += tape->settings.position_seconds + winding(tape, &drive, request->offset);
        tape_run(tape, "UPDATE library SET locates = locates + 1", "");
    }
    own += (double)request->bytes / tape->settings.tape_rate;
    tape_run(tape, "UPDATE drive SET head = ?, request = ?, busy_until = ? WHERE id = ?", "iidi",
             request->offset + request->bytes, request->id, at + robot + own * drive.slowness, id);
    tape_run(tape, "UPDATE request SET state = 'active', started = ? WHERE id = ?", "di", at, request->id);
    tape_queue_changed(tape, request->cartridge);
}

/* Room is set aside when reading begins, so that it cannot be missing at the end. */
static bool started(struct tape *tape, sqlite3_int64 drive, const struct tape_request *request, double at) {
    if (tape_room_for(tape, request->bytes)) {
        start(tape, drive, request, at);
        return true;
    }
    tape_finish(tape, request->id, "failed", HPSS_ENOSPACE, at);
    return false;
}

void tape_complete(struct tape *tape, sqlite3_int64 drive, double at) {
    struct tape_request served, next;
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT r.id, r.object, r.turn, r.bytes, r.state = 'active', d.cartridge"
                                 " FROM drive d JOIN request r ON r.id = d.request WHERE d.id = ?",
                                 "i", drive);
    if (!row)
        return;
    served = (struct tape_request){
        .id = sqlite3_column_int64(row, 0),
        .object = sqlite3_column_int64(row, 1),
        .turn = sqlite3_column_int64(row, 2),
        .bytes = sqlite3_column_int64(row, 3),
    };
    bool wanted = sqlite3_column_int(row, 4);
    tape_copy_name(served.cartridge, row, 5);
    tape_done(row);
    tape_run(tape, "UPDATE drive SET request = NULL WHERE id = ?", "i", drive);
    if (wanted) {
        tape_run(tape,
                 "INSERT INTO level (object, level, bytes) VALUES (?, 0, ?)"
                 " ON CONFLICT (object, level) DO UPDATE SET bytes = excluded.bytes",
                 "ii", served.object, served.bytes);
        tape_run(tape, "UPDATE library SET staged = staged + 1, bytes_staged = bytes_staged + ?", "i", served.bytes);
        tape_finish_all(tape, served.object, "done", 0, at);
    }
    while (tape_first_in_queue(tape, served.cartridge, served.turn, &next) && !started(tape, drive, &next, at))
        continue;
}

/*
 * The request whose turn comes first, of those whose cartridge is in no busy drive: into the drive that has the
 * cartridge, else into an empty one, else into the one that has been idle for longest.
 */
void tape_dispatch(struct tape *tape, double at) {
    for (;;) {
        char cartridge[TAPE_NAME_SIZE];
        struct tape_request request;
        sqlite3_stmt *row = tape_row(tape,
                                     "SELECT w.cartridge, d.id FROM waiting w LEFT JOIN drive d"
                                     " ON d.cartridge = w.cartridge WHERE d.request IS NULL"
                                     " ORDER BY w.turn, w.cartridge LIMIT 1",
                                     "");
        if (!row)
            return;
        tape_copy_name(cartridge, row, 0);
        sqlite3_int64 drive = sqlite3_column_type(row, 1) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, 1);
        tape_done(row);
        if (drive < 0)
            drive = tape_integer(tape, -1,
                                 "SELECT id FROM drive WHERE state = 'ok' AND request IS NULL"
                                 " ORDER BY cartridge IS NOT NULL, busy_until, id LIMIT 1",
                                 "");
        if (drive < 0 || !tape_first_in_queue(tape, cartridge, 0, &request))
            return;
        started(tape, drive, &request, at);
    }
}
