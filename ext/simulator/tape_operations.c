/* What the operator does to the library: breaks and repairs, and migration and purge by hand. */
#include "tape_model.h"

#include <string.h>

/* Whatever was in the drive goes back to its shelf. */
static void fail_drive(struct tape *tape, sqlite3_int64 drive, double at) {
    sqlite3_int64 request = tape_integer(
        tape, 0, "SELECT r.id FROM drive d JOIN request r ON r.id = d.request AND r.state = 'active' WHERE d.id = ?",
        "i", drive);
    tape_run(tape,
             "UPDATE drive SET state = 'failed', cartridge = NULL, head = 0, request = NULL, busy_until = ?"
             " WHERE id = ?",
             "di", at, drive);
    if (!request)
        return;
    if (tape->settings.fail_with_drive)
        tape_finish(tape, request, "failed", HPSS_EIO, at);
    else
        tape_enqueue(tape, request, tape_integer(tape, 0, "SELECT object FROM request WHERE id = ?", "i", request), at);
}

/* Requests for the cartridge are served from another copy, or fail where there is none. */
static void lose_cartridge(struct tape *tape, const char *name, double at) {
    struct tape_request request;
    tape_run(tape, "UPDATE cartridge SET state = 'lost' WHERE name = ?", "s", name);
    tape_run(tape,
             "UPDATE request SET state = 'queued' WHERE state = 'active'"
             " AND id = (SELECT request FROM drive WHERE cartridge = ?)",
             "s", name);
    tape_run(tape,
             "UPDATE drive SET cartridge = NULL, head = 0, request = NULL, busy_until = min(busy_until, ?)"
             " WHERE cartridge = ?",
             "ds", at, name);
    while (tape_first_in_queue(tape, name, 0, &request))
        tape_enqueue(tape, request.id, request.object, at);
    tape_queue_changed(tape, name);
}

/* As when the core server is started anew: who waits in a call hears of a broken connection, the others nothing. */
static void forget_requests(struct tape *tape, double at) {
    tape_run(tape,
             "UPDATE request SET state = 'failed', code = ?, finished = ?, callback = NULL WHERE finished IS NULL", "id",
             (sqlite3_int64)HPSS_ECONN, at);
    tape_run(tape, "DELETE FROM waiting", "");
    tape_run(tape, "UPDATE drive SET request = NULL, busy_until = min(busy_until, ?) WHERE request IS NOT NULL", "d",
             at);
}

static int on_file(struct tape *tape, const struct tape_operation *operation, double at, sqlite3_int64 *bytes) {
    sqlite3_int64 request;
    if (!tape_integer(tape, 0, "SELECT 1 FROM object WHERE id = ?", "i", operation->number))
        return HPSS_ENOENT;
    if (strcmp(operation->action, "purge") == 0)
        return tape_drop_from_disk(tape, operation->number, bytes);
    if (strcmp(operation->action, "stage") == 0)
        return tape_ask(tape, operation->number, NULL, (sqlite3_int64)operation->value, NULL, at, &request);
    if (strcmp(operation->action, "written") == 0)
        tape_bytes_changed(tape, operation->number, at);
    else
        *bytes = tape_copy_to_tape(tape, operation->number);
    return 0;
}

static int on_drive(struct tape *tape, const struct tape_operation *operation, double at) {
    if (!tape_integer(tape, 0, "SELECT 1 FROM drive WHERE id = ?", "i", operation->number))
        return HPSS_ENOENT;
    if (strcmp(operation->action, "fail_drive") == 0)
        fail_drive(tape, operation->number, at);
    else if (strcmp(operation->action, "repair_drive") == 0)
        tape_run(tape, "UPDATE drive SET state = 'ok', slowness = 1 WHERE id = ?", "i", operation->number);
    else
        tape_run(tape, "UPDATE drive SET slowness = ? WHERE id = ?", "di", operation->value, operation->number);
    return 0;
}

static int on_cartridge(struct tape *tape, const struct tape_operation *operation, double at) {
    if (!tape_integer(tape, 0, "SELECT 1 FROM cartridge WHERE name = ?", "s", operation->name))
        return HPSS_ENOENT;
    if (strcmp(operation->action, "lose_cartridge") == 0)
        lose_cartridge(tape, operation->name, at);
    else
        tape_run(tape, "UPDATE cartridge SET state = 'ok' WHERE name = ?", "s", operation->name);
    return 0;
}

int tape_operate(struct tape *tape, const struct tape_operation *operation, double at, sqlite3_int64 *bytes) {
    *bytes = 0;
    if (strstr(operation->action, "_drive"))
        return on_drive(tape, operation, at);
    if (strstr(operation->action, "_cartridge"))
        return on_cartridge(tape, operation, at);
    if (strcmp(operation->action, "forget_requests") != 0)
        return on_file(tape, operation, at, bytes);
    forget_requests(tape, at);
    return 0;
}
