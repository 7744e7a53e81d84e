/* Prepared statements of the tape library model, and its settings. */
#include "tape_model.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct tape *tape_open(sqlite3 *db) {
    struct tape *tape = calloc(1, sizeof *tape);
    if (tape)
        tape->db = db;
    return tape;
}

void tape_close(struct tape *tape) {
    if (!tape)
        return;
    for (int i = 0; i < TAPE_STATEMENTS; i++)
        sqlite3_finalize(tape->statements[i].prepared);
    free(tape);
}

void tape_begin(struct tape *tape) {
    tape->error = 0;
}

static void note_error(struct tape *tape, int sqlite_code) {
    switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        tape->error = HPSS_EAGAIN;
        break;
    case SQLITE_FULL:
        tape->error = HPSS_ENOSPACE;
        break;
    case SQLITE_NOMEM:
        tape->error = HPSS_ENOMEM;
        break;
    default:
        tape->error = HPSS_EIO;
    }
}

/* Compared by address, not by text: a literal has one address, and two equal literals merely take two places. */
static sqlite3_stmt *prepared(struct tape *tape, const char *sql) {
    size_t place = ((uintptr_t)sql >> 4) % TAPE_STATEMENTS;
    for (int tried = 0; tried < TAPE_STATEMENTS; tried++, place = (place + 1) % TAPE_STATEMENTS) {
        struct tape_statement *statement = &tape->statements[place];
        if (statement->sql == sql)
            return statement->prepared;
        if (statement->sql)
            continue;
        int code = sqlite3_prepare_v3(tape->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement->prepared, NULL);
        if (code != SQLITE_OK) {
            note_error(tape, code);
            return NULL;
        }
        statement->sql = sql;
        return statement->prepared;
    }
    tape->error = HPSS_ENOMEM;
    return NULL;
}

static sqlite3_stmt *bound(struct tape *tape, const char *sql, const char *types, va_list values) {
    sqlite3_stmt *statement = tape->error ? NULL : prepared(tape, sql);
    if (!statement)
        return NULL;
    for (int i = 0; types[i]; i++)
        switch (types[i]) {
        case 'i':
            sqlite3_bind_int64(statement, i + 1, va_arg(values, sqlite3_int64));
            break;
        case 'd':
            sqlite3_bind_double(statement, i + 1, va_arg(values, double));
            break;
        default:
            sqlite3_bind_text(statement, i + 1, va_arg(values, const char *), -1, SQLITE_STATIC);
        }
    return statement;
}

static sqlite3_stmt *stepped(struct tape *tape, sqlite3_stmt *statement) {
    if (!statement)
        return NULL;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return statement;
    if (code != SQLITE_DONE)
        note_error(tape, code);
    tape_done(statement);
    return NULL;
}

void tape_done(sqlite3_stmt *row) {
    if (!row)
        return;
    sqlite3_reset(row);
    sqlite3_clear_bindings(row);
}

void tape_run(struct tape *tape, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    tape_done(stepped(tape, bound(tape, sql, types, values)));
    va_end(values);
}

sqlite3_stmt *tape_row(struct tape *tape, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    sqlite3_stmt *row = stepped(tape, bound(tape, sql, types, values));
    va_end(values);
    return row;
}

sqlite3_int64 tape_integer(struct tape *tape, sqlite3_int64 otherwise, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    sqlite3_stmt *row = stepped(tape, bound(tape, sql, types, values));
    va_end(values);
    if (!row)
        return otherwise;
    sqlite3_int64 value = sqlite3_column_int64(row, 0);
    tape_done(row);
    return value;
}

void tape_copy_name(char name[TAPE_NAME_SIZE], sqlite3_stmt *row, int column) {
    const unsigned char *text = sqlite3_column_text(row, column);
    size_t length = text ? strlen((const char *)text) : 0;
    if (length >= TAPE_NAME_SIZE)
        length = TAPE_NAME_SIZE - 1;
    if (length)
        memcpy(name, text, length);
    name[length] = '\0';
}

void tape_load_settings(struct tape *tape) {
    struct tape_settings *settings = &tape->settings;
    const struct {
        const char *name;
        double *value;
    } known[] = {
        {"schedule_seconds", &settings->schedule_seconds},
        {"mount_seconds", &settings->mount_seconds},
        {"unmount_seconds", &settings->unmount_seconds},
        {"seek_seconds_full", &settings->seek_seconds_full},
        {"position_seconds", &settings->position_seconds},
        {"tape_rate", &settings->tape_rate},
        {"cartridge_capacity", &settings->cartridge_capacity},
        {"migration_delay", &settings->migration_delay},
        {"lose_requests", &settings->lose_requests},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        sqlite3_stmt *row = tape_row(tape, "SELECT value FROM setting WHERE name = ?", "s", known[i].name);
        *known[i].value = row ? sqlite3_column_double(row, 0) : 0;
        tape_done(row);
    }
    settings->fail_with_drive = tape_integer(
        tape, 0, "SELECT value = 'fail' FROM setting WHERE name = 'drive_failure'", "");
}

double tape_not_before_played(struct tape *tape, double now) {
    sqlite3_stmt *row = tape_row(tape, "SELECT max(played, ?) FROM library", "d", now);
    double when = row ? sqlite3_column_double(row, 0) : now;
    tape_done(row);
    return when;
}
