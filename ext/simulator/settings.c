/* The tables setting, fault and cos as one thread knows them: read again when the control page's generation moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define DEFAULT_MAX_OPEN_FILES 4096

static void take_setting(struct settings *settings, const char *name, sqlite3_stmt *row) {
    const char *text = (const char *)sqlite3_column_text(row, 1);
    double number = sqlite3_column_double(row, 1);
    if (text == NULL)
        text = "";
    if (strcmp(name, "server_state") == 0)
        settings->server_state = strcmp(text, "down") == 0   ? SERVER_DOWN
                                 : strcmp(text, "busy") == 0 ? SERVER_BUSY
                                                             : SERVER_UP;
    else if (strcmp(name, "errno_style") == 0)
        settings->linux_numbers = strcmp(text, "linux") == 0;
    else if (strcmp(name, "user_attributes") == 0)
        settings->user_attributes = strcmp(text, "off") != 0;
    else if (strcmp(name, "credential_lifetime") == 0)
        settings->credential_lifetime = number;
    else if (strcmp(name, "credential_calls") == 0)
        settings->credential_calls = (uint64_t)number;
    else if (strcmp(name, "ping_skew") == 0)
        settings->ping_skew = number;
    else if (strcmp(name, "ping_delay_ms") == 0)
        settings->ping_delay = number / 1000;
    else if (strcmp(name, "retry_delay_ms") == 0)
        settings->retry_delay = number / 1000;
    else if (strcmp(name, "callback_timeout_ms") == 0)
        settings->callback_timeout = number / 1000;
    else if (strcmp(name, "max_open_files") == 0)
        settings->max_open_files = (int)number;
    else if (strcmp(name, "principal_uid") == 0)
        settings->principal_uid = (unsigned32)number;
    else if (strcmp(name, "principal_gid") == 0)
        settings->principal_gid = (unsigned32)number;
    else if (strcmp(name, "default_cos") == 0)
        settings->default_cos = (unsigned32)number;
    else if (strcmp(name, "site") == 0)
        snprintf(settings->site, sizeof settings->site, "%s", text);
}

static int load_settings(struct database *database, struct settings *settings) {
    settings->user_attributes = true;
    settings->retry_delay = 0.1;
    settings->callback_timeout = 0.2;
    settings->max_open_files = DEFAULT_MAX_OPEN_FILES;
    settings->default_cos = 1;
    snprintf(settings->site, sizeof settings->site, "simulated");
    sqlite3_stmt *row;
    int more = db_row(database, &row, "SELECT name, value FROM setting", "");
    for (; more == 1; more = db_next(row))
        take_setting(settings, (const char *)sqlite3_column_text(row, 0), row);
    return more;
}

static enum fault_action action_of(const char *text) {
    static const char *const ACTIONS[] = {"error", "delay", "hang", "short", "disconnect"};
    for (size_t i = 0; i < sizeof ACTIONS / sizeof ACTIONS[0]; i++)
        if (strcmp(text, ACTIONS[i]) == 0)
            return (enum fault_action)i;
    return FAULT_ERROR;
}

static int load_faults(struct database *database, struct settings *settings) {
    sqlite3_stmt *row;
    int more = db_row(database, &row,
                      "SELECT id, function, path, first, count, action, value FROM fault ORDER BY id", "");
    for (; more == 1; more = db_next(row)) {
        struct fault *faults = realloc(settings->faults, (settings->fault_count + 1) * sizeof *faults);
        if (faults == NULL) {
            db_done(row);
            return HPSS_ENOMEM;
        }
        settings->faults = faults;
        struct fault *fault = &faults[settings->fault_count++];
        *fault = (struct fault){
            .id = sqlite3_column_int64(row, 0),
            .function = strdup((const char *)sqlite3_column_text(row, 1)),
            .path = strdup((const char *)sqlite3_column_text(row, 2)),
            .first = (uint64_t)sqlite3_column_int64(row, 3),
            .count = (uint64_t)sqlite3_column_int64(row, 4),
            .action = action_of((const char *)sqlite3_column_text(row, 5)),
            .value = sqlite3_column_int64(row, 6),
        };
        if (fault->function == NULL || fault->path == NULL) {
            db_done(row);
            return HPSS_ENOMEM;
        }
    }
    return more;
}

static unsigned32 stage_code_of(const char *text) {
    if (strcmp(text, "none") == 0)
        return COS_STAGE_NO_STAGE;
    if (strcmp(text, "open_asynch") == 0)
        return COS_STAGE_ON_OPEN_ASYNCH;
    if (strcmp(text, "open_background") == 0)
        return COS_STAGE_ON_OPEN_BACKGROUND;
    return COS_STAGE_ON_OPEN;
}

static void take_levels(struct service_class *class, const char *media) {
    class->levels = 0;
    for (; *media != 0 && class->levels < HPSS_MAX_STORAGE_LEVELS; media += *media == ',') {
        size_t length = strcspn(media, ",");
        class->is_disk[class->levels++] = length == 4 && strncmp(media, "disk", length) == 0;
        media += length;
    }
}

static int load_classes(struct database *database, struct settings *settings) {
    sqlite3_stmt *row;
    int more = db_row(database, &row,
                      "SELECT id, name, min_size, max_size, enforce_max, stage_code, levels FROM cos ORDER BY id", "");
    for (; more == 1; more = db_next(row)) {
        struct service_class *classes = realloc(settings->classes, (settings->class_count + 1) * sizeof *classes);
        if (classes == NULL) {
            db_done(row);
            return HPSS_ENOMEM;
        }
        settings->classes = classes;
        struct service_class *class = &classes[settings->class_count++];
        *class = (struct service_class){
            .id = (unsigned32)sqlite3_column_int64(row, 0),
            .min_size = (u_signed64)sqlite3_column_int64(row, 2),
            .max_size = (u_signed64)sqlite3_column_int64(row, 3),
            .enforce_max = sqlite3_column_int(row, 4) != 0,
            .stage_code = stage_code_of((const char *)sqlite3_column_text(row, 5)),
        };
        snprintf(class->name, sizeof class->name, "%s", (const char *)sqlite3_column_text(row, 1));
        take_levels(class, (const char *)sqlite3_column_text(row, 6));
    }
    return more;
}

int settings_load(struct database *database, struct settings *settings) {
    memset(settings, 0, sizeof *settings);
    int code = db_read(database);
    if (code == 0)
        code = load_settings(database, settings);
    if (code == 0)
        code = load_faults(database, settings);
    if (code == 0)
        code = load_classes(database, settings);
    code = db_end(database, code);
    if (code != 0)
        settings_free(settings);
    return code;
}

void settings_free(struct settings *settings) {
    for (size_t i = 0; i < settings->fault_count; i++) {
        free(settings->faults[i].function);
        free(settings->faults[i].path);
    }
    free(settings->faults);
    free(settings->classes);
    memset(settings, 0, sizeof *settings);
}

const struct service_class *settings_class(const struct settings *settings, sqlite3_int64 id) {
    for (size_t i = 0; i < settings->class_count; i++)
        if (settings->classes[i].id == id)
            return &settings->classes[i];
    return NULL;
}
