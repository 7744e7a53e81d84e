/* Which bytes are where: the disk level and its room, segments on cartridges, migration and purge. */
#include "tape_model.h"

#include <stdio.h>
#include <string.h>

/* The medium of each level, 'd' or 't', from the class of service; "" for what is no file. */
static void levels_of(struct tape *tape, sqlite3_int64 object, char media[8]) {
    size_t count = 0;
    sqlite3_stmt *row = tape_row(tape, "SELECT c.levels FROM object o JOIN cos c ON c.id = o.cos WHERE o.id = ?", "i",
                                 object);
    const char *levels = row ? (const char *)sqlite3_column_text(row, 0) : NULL;
    while (levels && *levels && count < 7) {
        media[count++] = *levels;
        levels = strchr(levels, ',');
        levels += levels ? strspn(levels, ", ") : 0;
    }
    media[count] = '\0';
    tape_done(row);
}

bool tape_has_disk_level(struct tape *tape, sqlite3_int64 object) {
    char media[8];
    levels_of(tape, object, media);
    return media[0] == 'd';
}

sqlite3_int64 tape_bytes_on_disk(struct tape *tape, sqlite3_int64 object) {
    return tape_integer(tape, 0, "SELECT bytes FROM level WHERE object = ? AND level = 0", "i", object);
}

/* 1 for first copies: cartridges A0000100..., 2 for second ones: B0000100... */
static void new_cartridge(struct tape *tape, sqlite3_int64 copy, sqlite3_int64 family, char name[TAPE_NAME_SIZE]) {
    sqlite3_int64 number = 1 + tape_integer(tape, 0, "SELECT count(*) FROM cartridge WHERE copy = ?", "i", copy);
    snprintf(name, TAPE_NAME_SIZE, "%c%05lld00", (char)('A' + copy - 1), (long long)number);
    tape_run(tape, "INSERT INTO cartridge (name, copy, family, capacity) VALUES (?, ?, ?, ?)", "siii", name, copy,
             family, (sqlite3_int64)tape->settings.cartridge_capacity);
}

/* Appends to the cartridge being filled; a new one is taken when it is full or lost. */
static void append(struct tape *tape, sqlite3_int64 object, int level, sqlite3_int64 copy, sqlite3_int64 bytes) {
    char name[TAPE_NAME_SIZE];
    sqlite3_int64 family = tape_integer(tape, 0, "SELECT family FROM object WHERE id = ?", "i", object);
    sqlite3_int64 used = 0, position = 0;
    sqlite3_stmt *row = tape_row(tape,
                                 "SELECT name, used, next_position, state = 'ok' AND (used = 0 OR used + ? <= capacity)"
                                 " FROM cartridge WHERE copy = ? AND family = ? ORDER BY name DESC LIMIT 1",
                                 "iii", bytes, copy, family);
    bool fits = row && sqlite3_column_int(row, 3);
    if (fits) {
        tape_copy_name(name, row, 0);
        used = sqlite3_column_int64(row, 1);
        position = sqlite3_column_int64(row, 2);
    }
    tape_done(row);
    if (!fits)
        new_cartridge(tape, copy, family, name);
    tape_run(tape, "INSERT INTO segment (object, level, cartridge, position, offset, bytes) VALUES (?, ?, ?, ?, ?, ?)",
             "iisiii", object, (sqlite3_int64)level, name, position, used, bytes);
    tape_run(tape, "UPDATE cartridge SET used = used + ?, next_position = next_position + 1 WHERE name = ?", "is",
             bytes, name);
    tape_run(tape,
             "INSERT INTO level (object, level, bytes) VALUES (?, ?, ?)"
             " ON CONFLICT (object, level) DO UPDATE SET bytes = excluded.bytes",
             "iii", object, (sqlite3_int64)level, bytes);
}

/* Writing to tape takes no simulated time: only recalls compete for drives. */
static sqlite3_int64 append_copies(struct tape *tape, sqlite3_int64 object, const char *media, sqlite3_int64 bytes) {
    sqlite3_int64 copy = 0, written = 0;
    for (int level = 0; media[level]; level++) {
        if (media[level] != 't')
            continue;
        copy++;
        if (tape_integer(tape, 0, "SELECT 1 FROM segment WHERE object = ? AND level = ?", "ii", object,
                         (sqlite3_int64)level))
            continue;
        append(tape, object, level, copy, bytes);
        written += bytes;
    }
    tape_run(tape, "UPDATE library SET bytes_migrated = bytes_migrated + ?", "i", written);
    return written;
}

sqlite3_int64 tape_copy_to_tape(struct tape *tape, sqlite3_int64 object) {
    char media[8];
    levels_of(tape, object, media);
    sqlite3_int64 bytes = media[0] == 'd' ? tape_bytes_on_disk(tape, object) : 0;
    tape_run(tape, "DELETE FROM migration WHERE object = ?", "i", object);
    return bytes > 0 ? append_copies(tape, object, media, bytes) : 0;
}

int tape_drop_from_disk(struct tape *tape, sqlite3_int64 object, sqlite3_int64 *bytes) {
    *bytes = 0;
    sqlite3_int64 on_disk = tape_bytes_on_disk(tape, object);
    if (on_disk == 0 || !tape_has_disk_level(tape, object))
        return 0;
    if (tape_integer(tape, 0, "SELECT purge_lock FROM object WHERE id = ?", "i", object))
        return HPSS_EBUSY;
    if (!tape_integer(tape, 0, "SELECT 1 FROM level WHERE object = ? AND level > 0 AND bytes >= ?", "ii", object,
                      on_disk))
        return HPSS_EPERM;
    tape_run(tape, "DELETE FROM level WHERE object = ? AND level = 0", "i", object);
    *bytes = on_disk;
    return 0;
}

/* The askers for the old bytes are answered: what they want is on disk, newer. */
void tape_bytes_changed(struct tape *tape, sqlite3_int64 object, double at) {
    char media[8];
    sqlite3_int64 bytes = tape_bytes_on_disk(tape, object);
    levels_of(tape, object, media);
    tape_finish_all(tape, object, "done", 0, at);
    tape_run(tape, "DELETE FROM segment WHERE object = ?", "i", object);
    tape_run(tape, "DELETE FROM level WHERE object = ? AND level > 0", "i", object);
    if (media[0] == 't') {
        if (bytes > 0)
            append_copies(tape, object, media, bytes);
    } else if (bytes > 0 && strchr(media, 't') && tape->settings.migration_delay >= 0) {
        tape_run(tape,
                 "INSERT INTO migration (object, due) VALUES (?, ?)"
                 " ON CONFLICT (object) DO UPDATE SET due = excluded.due",
                 "id", object, at + tape->settings.migration_delay);
    } else {
        tape_run(tape, "DELETE FROM migration WHERE object = ?", "i", object);
    }
}

int tape_written(struct tape *tape, sqlite3_int64 object, double now) {
    tape_begin(tape);
    tape_load_settings(tape);
    tape_bytes_changed(tape, object, tape_not_before_played(tape, now));
    return tape->error;
}

int tape_removed(struct tape *tape, sqlite3_int64 object, double now) {
    tape_begin(tape);
    tape_finish_all(tape, object, "cancelled", HPSS_ENOENT, tape_not_before_played(tape, now));
    tape_run(tape, "DELETE FROM segment WHERE object = ?", "i", object);
    tape_run(tape, "DELETE FROM level WHERE object = ?", "i", object);
    tape_run(tape, "DELETE FROM migration WHERE object = ?", "i", object);
    return tape->error;
}

int tape_migrate(struct tape *tape, sqlite3_int64 object, uint64_t *bytes) {
    tape_begin(tape);
    tape_load_settings(tape);
    sqlite3_int64 written = tape_copy_to_tape(tape, object);
    if (bytes)
        *bytes = (uint64_t)written;
    return tape->error;
}

int tape_purge(struct tape *tape, sqlite3_int64 object, uint64_t *bytes) {
    tape_begin(tape);
    sqlite3_int64 dropped;
    int code = tape_drop_from_disk(tape, object, &dropped);
    if (bytes)
        *bytes = (uint64_t)dropped;
    return tape->error ? tape->error : code;
}

bool tape_room_for(struct tape *tape, sqlite3_int64 bytes) {
    return bytes <= tape_integer(tape, 0,
                                 "SELECT (SELECT value FROM setting WHERE name = 'disk_capacity') - disk_used"
                                 " - (SELECT coalesce(sum(r.bytes), 0)"
                                 "    FROM drive d CROSS JOIN request r ON r.id = d.request AND r.state = 'active')"
                                 " FROM library",
                                 "");
}

int tape_disk_has_room(struct tape *tape, uint64_t bytes) {
    tape_begin(tape);
    bool room = tape_room_for(tape, bytes > INT64_MAX ? INT64_MAX : (sqlite3_int64)bytes);
    return tape->error ? tape->error : room;
}
