/* The frame of every public call: counting, login, the fault plan, the server's state, broken connections. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

/* Waits look again after these many seconds, the first time soon. */
#define PAUSE_SHORTEST 0.001
#define PAUSE_LONGEST 0.020

/* Functions that the library answers by itself. */
static bool is_local(enum function function) {
    switch (function) {
    case FN_Umask:
    case FN_GetLastHPSSErrno:
    case FN_ClearLastHPSSErrno:
    case FN_LoadDefaultThreadState:
    case FN_LoadThreadState:
    case FN_GetThreadUcred:
    case FN_Ftell:
    case FN_Fgetc:
    case FN_Fgets:
        return true;
    default:
        return false;
    }
}

void call_count(struct archive *archive, enum function function) {
    atomic_fetch_add(&archive->control->calls[function].count, 1);
}

double call_now(const struct call *call) {
    return clock_simulated(call->context->archive->control);
}

int call_pause(struct call *call, double *step) {
    if (session_connections() != call->connections)
        return HPSS_ECONN;
    *step = *step == 0 ? PAUSE_SHORTEST : *step * 2 < PAUSE_LONGEST ? *step * 2 : PAUSE_LONGEST;
    clock_sleep(*step);
    if (session_connections() != call->connections)
        return HPSS_ECONN;
    return context_refresh(call->context);
}

static int wait_seconds(struct call *call, double seconds) {
    double end = clock_real() + seconds;
    double step = 0;
    int code = 0;
    while (code == 0 && clock_real() + PAUSE_LONGEST < end)
        code = call_pause(call, &step);
    if (code == 0)
        clock_sleep(end - clock_real());
    return code;
}

/* ---- the fault plan ---- */

struct faults_met {
    int error;
    double delay;
    sqlite3_int64 hang; /* the fault's id */
};

static bool path_matches(const char *pattern, const char *path) {
    return strcmp(pattern, "*") == 0 || (path != NULL && fnmatch(pattern, path, 0) == 0);
}

static bool fires(const struct call *call, const struct fault *fault) {
    if (strcmp(fault->function, "*") != 0 && strcmp(fault->function, function_name(call->function)) != 0)
        return false;
    if (!path_matches(fault->path, call->path) && !path_matches(fault->path, call->second_path))
        return false;
    struct control_fault *counters =
        &call->context->archive->control->faults[(uint64_t)fault->id % SIM_CONTROL_FAULTS];
    uint64_t matched = atomic_fetch_add(&counters->matched, 1) + 1;
    if (matched < fault->first || (fault->count != 0 && matched >= fault->first + fault->count))
        return false;
    atomic_fetch_add(&counters->fired, 1);
    return true;
}

static struct faults_met meet_faults(struct call *call) {
    struct faults_met met = {0};
    const struct settings *settings = &call->context->settings;
    for (size_t i = 0; i < settings->fault_count; i++) {
        const struct fault *fault = &settings->faults[i];
        if (!fires(call, fault))
            continue;
        switch (fault->action) {
        case FAULT_ERROR:
            met.error = (int)fault->value;
            break;
        case FAULT_DELAY:
            met.delay += (double)fault->value / 1000;
            break;
        case FAULT_HANG:
            met.hang = fault->id;
            break;
        case FAULT_SHORT:
            call->is_short = true;
            call->limit = fault->value < 0 ? 0 : (size_t)fault->value;
            break;
        case FAULT_DISCONNECT:
            call->is_cut_off = true;
            break;
        }
    }
    return met;
}

static bool has_fault(const struct settings *settings, sqlite3_int64 id) {
    for (size_t i = 0; i < settings->fault_count; i++)
        if (settings->faults[i].id == id)
            return true;
    return false;
}

static int apply_faults(struct call *call) {
    struct faults_met met = meet_faults(call);
    int code = wait_seconds(call, met.delay);
    double step = 0;
    while (code == 0 && met.hang != 0 && has_fault(&call->context->settings, met.hang))
        code = call_pause(call, &step);
    if (code == 0 && met.error != 0) {
        call->is_verbatim = true;
        code = met.error;
    }
    return code;
}

/* ---- the core server ---- */

static int wait_for_server(struct call *call) {
    const struct settings *settings = &call->context->settings;
    if (settings->server_state == SERVER_UP)
        return 0;
    api_config_t configuration = session_configuration();
    double start = clock_real();
    for (int tries = 0;; tries++) {
        enum server_state state = settings->server_state;
        if (state == SERVER_UP)
            return 0;
        int retries = state == SERVER_DOWN ? configuration.NumRetries : configuration.BusyRetries;
        double delay = state == SERVER_DOWN ? settings->retry_delay : configuration.BusyDelay;
        bool is_late = configuration.TotalDelay > 0 && clock_real() - start >= configuration.TotalDelay;
        if ((retries >= 0 && tries >= retries) || is_late)
            return state == SERVER_DOWN ? HPSS_ECONN : HPSS_EBUSY;
        double end = clock_real() + delay;
        double step = 0;
        do {
            int code = call_pause(call, &step);
            if (code != 0)
                return code;
        } while (settings->server_state == state && clock_real() < end);
    }
}

static int check_credentials(const struct call *call) {
    const struct context *context = call->context;
    if (call->function == FN_SetLoginCred)
        return 0;
    uint64_t calls = session_count_call();
    if (context->settings.credential_calls > 0 && calls > context->settings.credential_calls)
        return HPSS_EACCES;
    if (context->credential_epoch != atomic_load(&context->archive->control->credential_epoch))
        return HPSS_EACCES;
    double lifetime = context->settings.credential_lifetime;
    return lifetime > 0 && clock_real() - context->login_time > lifetime ? HPSS_EACCES : 0;
}

/* ---- begin and end ---- */

int call_begin_in(struct call *call, struct context *context, enum function function, const char *path,
                  const char *second_path) {
    *call = (struct call){
        .context = context,
        .function = function,
        .path = path,
        .second_path = second_path,
        .connections = session_connections(),
    };
    call_count(context->archive, function);
    atomic_fetch_add(&context->archive->process->in_flight, 1);
    int code = context_refresh(context);
    if (code == 0)
        code = apply_faults(call);
    if (code == 0 && !is_local(function)) {
        code = wait_for_server(call);
        if (code == 0)
            code = check_credentials(call);
    }
    return code;
}

int call_begin_pair(struct call *call, enum function function, const char *path, const char *second_path) {
    struct context *context;
    int code = context_get(&context);
    if (code != 0) {
        *call = (struct call){.function = function};
        return code;
    }
    return call_begin_in(call, context, function, path, second_path);
}

int call_begin(struct call *call, enum function function, const char *path) {
    return call_begin_pair(call, function, path, NULL);
}

static void remember_error(struct call *call, int code) {
    hpss_errno_state_t *state = &call->context->last_error;
    state->hpss_errno = code;
    snprintf(state->func, sizeof state->func, "%s", function_name(call->function));
    state->requestId = request_id_new();
}

long long call_end(struct call *call, long long code) {
    struct context *context = call->context;
    if (context == NULL)
        return code; /* it never began */
    bool is_broken = call->is_cut_off || session_connections() != call->connections;
    if (code >= 0 && is_broken && !is_local(call->function))
        code = HPSS_ECONN;
    if (code < 0 && context->settings.linux_numbers && !call->is_verbatim)
        code = code_in_linux_numbers((int)code);
    if (code < 0)
        remember_error(call, (int)code);
    atomic_fetch_sub(&context->archive->process->in_flight, 1);
    return code;
}

int call_advance(struct call *call) {
    struct context *context = call->context;
    int code = tape_advance(context->database.tape, call_now(call));
    if (code == 0)
        code = callback_deliver(&context->database, context->archive->control, context->settings.callback_timeout);
    return code;
}
