/* Connections to hpss.db: one for each thread, never shared, and none survives a fork. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

/* A writer's transaction takes well under a millisecond: short waits, and an end to them. */
#define BUSY_SHORTEST 0.0002
#define BUSY_LONGEST 0.002
#define BUSY_TRIES 10000

static int wait_for_lock(void *unused, int tries) {
    (void)unused;
    double pause = BUSY_SHORTEST * (tries + 1);
    clock_sleep(pause < BUSY_LONGEST ? pause : BUSY_LONGEST);
    return tries < BUSY_TRIES;
}

int database_open(struct database *database, const char *directory) {
    char name[HPSS_MAX_PATH_NAME + 16];
    snprintf(name, sizeof name, "%s/hpss.db", directory);
    memset(database, 0, sizeof *database);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    int code = 0;
    if (sqlite3_open_v2(name, &database->connection, flags, NULL) != SQLITE_OK)
        code = HPSS_ECONN;
    if (code == 0) {
        sqlite3_busy_handler(database->connection, wait_for_lock, NULL);
        if (sqlite3_exec(database->connection, "PRAGMA synchronous = OFF; SELECT 1 FROM library", NULL, NULL, NULL) !=
            SQLITE_OK)
            code = HPSS_ECONN;
    }
    if (code == 0) {
        database->tape = tape_open(database->connection);
        code = database->tape == NULL ? HPSS_ENOMEM : 0;
    }
    if (code != 0)
        database_close(database);
    return code;
}

void database_close(struct database *database) {
    tape_close(database->tape);
    for (size_t i = 0; i < DATABASE_STATEMENTS; i++)
        sqlite3_finalize(database->statements[i].statement);
    sqlite3_close(database->connection);
    memset(database, 0, sizeof *database);
}

/* SQLite keeps one account of locks for each file in a process, and a child inherits the parent's: it believes to hold
   the shared locks that say "this database is in use", while the kernel gave them to the parent alone.  Here the child
   takes them for itself.  The bytes are those of SQLite's file formats: the shared range of a database file, and the
   dead man's switch of a WAL index. */
int database_after_fork(const char *directory) {
    static const struct {
        const char *suffix;
        off_t start;
        off_t length;
    } LOCKS[] = {{"", 0x40000002, 510}, {"-shm", 128, 1}};
    for (size_t i = 0; i < sizeof LOCKS / sizeof LOCKS[0]; i++) {
        char name[HPSS_MAX_PATH_NAME + 16];
        snprintf(name, sizeof name, "%s/hpss.db%s", directory, LOCKS[i].suffix);
        /* Stays open as long as the process: closing it would drop every lock of the process on the file. */
        int file = open(name, O_RDWR | O_CLOEXEC);
        struct flock lock = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = LOCKS[i].start, .l_len = LOCKS[i].length};
        if (file < 0 || fcntl(file, F_SETLKW, &lock) != 0)
            return HPSS_ECONN;
    }
    return 0;
}

int db_code(int result) {
    switch (result & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return HPSS_EAGAIN;
    case SQLITE_NOMEM:
        return HPSS_ENOMEM;
    case SQLITE_FULL:
        return HPSS_ENOSPACE;
    default:
        return HPSS_EIO;
    }
}

/* The statement for this text, prepared once.  Texts are literals, so their addresses tell them apart. */
static int statement_for(struct database *database, const char *sql, sqlite3_stmt **out) {
    size_t start = ((uintptr_t)sql >> 3) % DATABASE_STATEMENTS;
    for (size_t i = 0; i < DATABASE_STATEMENTS; i++) {
        size_t at = (start + i) % DATABASE_STATEMENTS;
        if (database->statements[at].sql == sql) {
            *out = database->statements[at].statement;
            return 0;
        }
        if (database->statements[at].sql == NULL) {
            int result = sqlite3_prepare_v3(database->connection, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
            if (result != SQLITE_OK)
                return db_code(result);
            database->statements[at].sql = sql;
            database->statements[at].statement = *out;
            return 0;
        }
    }
    return HPSS_ENOMEM;
}

static int bind_arguments(sqlite3_stmt *statement, const char *types, va_list arguments) {
    int result = SQLITE_OK;
    for (int i = 0; types[i] != 0 && result == SQLITE_OK; i++) {
        if (types[i] == 'i')
            result = sqlite3_bind_int64(statement, i + 1, va_arg(arguments, sqlite3_int64));
        else if (types[i] == 'd')
            result = sqlite3_bind_double(statement, i + 1, va_arg(arguments, double));
        else
            /* The texts outlive the stepping, or are copied where rows are read. */
            result = sqlite3_bind_text(statement, i + 1, va_arg(arguments, const char *), -1, SQLITE_TRANSIENT);
    }
    return result;
}

static int start(struct database *database, sqlite3_stmt **row, const char *sql, const char *types, va_list arguments) {
    int code = statement_for(database, sql, row);
    if (code != 0)
        return code;
    int result = bind_arguments(*row, types, arguments);
    if (result != SQLITE_OK) {
        db_done(*row);
        return db_code(result);
    }
    return db_next(*row);
}

int db_next(sqlite3_stmt *row) {
    int result = sqlite3_step(row);
    if (result == SQLITE_ROW)
        return 1;
    db_done(row);
    return db_code(result);
}

void db_done(sqlite3_stmt *row) {
    sqlite3_reset(row);
}

int db_row(struct database *database, sqlite3_stmt **row, const char *sql, const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    int code = start(database, row, sql, types, arguments);
    va_end(arguments);
    return code;
}

int db_run(struct database *database, const char *sql, const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    sqlite3_stmt *row;
    int code = start(database, &row, sql, types, arguments);
    va_end(arguments);
    if (code == 1)
        db_done(row);
    return code < 0 ? code : 0;
}

int db_integer(struct database *database, sqlite3_int64 *value, sqlite3_int64 otherwise, const char *sql,
               const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    sqlite3_stmt *row;
    int code = start(database, &row, sql, types, arguments);
    va_end(arguments);
    *value = otherwise;
    if (code != 1)
        return code;
    *value = sqlite3_column_int64(row, 0);
    db_done(row);
    return 0;
}

int db_read(struct database *database) {
    return db_run(database, "BEGIN", "");
}

int db_write(struct database *database) {
    return db_run(database, "BEGIN IMMEDIATE", "");
}

int db_end(struct database *database, int code) {
    if (sqlite3_get_autocommit(database->connection))
        return code; /* the beginning failed, or SQLite has rolled back already */
    if (code >= 0) {
        int committed = db_run(database, "COMMIT", "");
        if (committed == 0)
            return code;
        code = committed;
    }
    db_run(database, "ROLLBACK", "");
    return code;
}
