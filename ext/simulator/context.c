/* What the library keeps for a thread: its connection, its user and umask, its last error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define DEFAULT_UMASK 022
#define LOGIN_POLL 0.005

static _Thread_local struct context *current;
static pthread_key_t at_thread_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;

int context_connect(struct context *context, struct archive *archive) {
    uint64_t generation = atomic_load(&archive->control->generation);
    int code = database_open(&context->database, archive->directory);
    if (code != 0)
        return code;
    code = settings_load(&context->database, &context->settings);
    if (code != 0) {
        database_close(&context->database);
        return code;
    }
    context->generation = generation;
    context->archive = archive_hold(archive);
    atomic_fetch_add(&archive->process->contexts, 1);
    if (!context->is_assumed) {
        context->uid = context->settings.principal_uid;
        context->gid = context->settings.principal_gid;
    }
    return 0;
}

void context_disconnect(struct context *context) {
    if (context->archive == NULL)
        return;
    settings_free(&context->settings);
    database_close(&context->database);
    atomic_fetch_sub(&context->archive->process->contexts, 1);
    archive_release(context->archive);
    context->archive = NULL;
    context->session = 0;
}

int context_refresh(struct context *context) {
    uint64_t generation = atomic_load(&context->archive->control->generation);
    if (generation == context->generation)
        return 0;
    struct settings settings;
    int code = settings_load(&context->database, &settings);
    if (code != 0)
        return code;
    settings_free(&context->settings);
    context->settings = settings;
    context->generation = generation;
    if (!context->is_assumed) {
        context->uid = settings.principal_uid;
        context->gid = settings.principal_gid;
    }
    return 0;
}

static void context_free(void *pointer) {
    struct context *context = pointer;
    context_disconnect(context);
    free(context);
    current = NULL;
}

static void make_key(void) {
    pthread_key_create(&at_thread_end, context_free);
}

/* The thread that ends the process has no other end. */
__attribute__((destructor)) static void free_last(void) {
    if (current != NULL)
        context_free(current);
}

static struct context *context_of_thread(void) {
    if (current == NULL) {
        pthread_once(&once, make_key);
        current = calloc(1, sizeof *current);
        if (current == NULL)
            return NULL;
        current->umask = DEFAULT_UMASK;
        pthread_setspecific(at_thread_end, current);
    }
    return current;
}

/* For ever by default: a call before the login hangs, as in the real library. */
static double login_timeout(void) {
    const char *text = getenv("HPSS_SIMULATOR_LOGIN_TIMEOUT");
    return text == NULL || *text == 0 ? -1 : atof(text);
}

/* The archive of the present login, with a reference; waits until there is one. */
static int wait_for_login(struct session *session, uint64_t *number) {
    uint64_t connections = session_connections();
    double timeout = login_timeout();
    double start = clock_real();
    for (;;) {
        *session = session_now(number);
        if (session->archive != NULL)
            return 0;
        if (session_is_of_parent() || session_connections() != connections)
            return HPSS_ECONN;
        if (timeout >= 0 && clock_real() - start >= timeout)
            return HPSS_ETIMEDOUT;
        clock_sleep(LOGIN_POLL);
    }
}

int context_get(struct context **out) {
    struct context *context = context_of_thread();
    if (context == NULL)
        return HPSS_ENOMEM;
    *out = context;
    if (context->archive != NULL && context->session == session_number())
        return 0;
    struct session session;
    uint64_t number;
    int code = wait_for_login(&session, &number);
    if (code != 0)
        return code;
    if (context->archive != session.archive) {
        context_disconnect(context);
        code = context_connect(context, session.archive);
    }
    if (code == 0) {
        context->session = number;
        context->login_time = session.login_time;
        context->credential_epoch = session.credential_epoch;
        if (!context->is_assumed)
            snprintf(context->user, sizeof context->user, "%s", session.principal);
    }
    archive_release(session.archive);
    return code;
}

void context_forget_in_child(void) {
    if (current == NULL)
        return;
    pthread_setspecific(at_thread_end, NULL);
    current = NULL;
}

/* ---- the public functions ---- */

static int assume_user(enum function function, uid_t user, mode_t mask, const char *name) {
    struct call call;
    int code = call_begin(&call, function, NULL);
    struct context *context = call.context;
    if (code == 0 && context->settings.principal_uid != 0 && user != context->settings.principal_uid)
        code = HPSS_EPERM;
    if (code == 0) {
        context->is_assumed = true;
        context->uid = user;
        context->gid = context->settings.principal_gid;
        context->umask = mask & 0777;
        if (name != NULL && *name != 0)
            snprintf(context->user, sizeof context->user, "%s", name);
    }
    return (int)call_end(&call, code);
}

int hpss_LoadDefaultThreadState(uid_t UserID, mode_t Umask, char *ClientFullName) {
    return assume_user(FN_LoadDefaultThreadState, UserID, Umask, ClientFullName);
}

int hpss_LoadThreadState(uid_t UserID, mode_t Umask, char *ClientFullName) {
    return assume_user(FN_LoadThreadState, UserID, Umask, ClientFullName);
}

int hpss_GetThreadUcred(sec_cred_t *RetUcred) {
    struct call call;
    int code = call_begin(&call, FN_GetThreadUcred, NULL);
    if (code == 0 && RetUcred == NULL)
        code = HPSS_EFAULT;
    if (code == 0) {
        *RetUcred = (sec_cred_t){.Uid = call.context->uid, .Gid = call.context->gid};
        snprintf(RetUcred->Name, sizeof RetUcred->Name, "%s", call.context->user);
    }
    return (int)call_end(&call, code);
}

mode_t hpss_Umask(mode_t CMask) {
    struct call call;
    mode_t before = 0;
    int code = call_begin(&call, FN_Umask, NULL);
    if (code == 0) {
        before = call.context->umask;
        call.context->umask = CMask & 0777;
    }
    call_end(&call, code);
    return before;
}

hpss_errno_state_t hpss_GetLastHPSSErrno(void) {
    struct call call;
    hpss_errno_state_t state = {0};
    int code = call_begin(&call, FN_GetLastHPSSErrno, NULL);
    if (code == 0)
        state = call.context->last_error;
    call_end(&call, 0);
    return state;
}

void hpss_ClearLastHPSSErrno(void) {
    struct call call;
    if (call_begin(&call, FN_ClearLastHPSSErrno, NULL) == 0)
        memset(&call.context->last_error, 0, sizeof call.context->last_error);
    call_end(&call, 0);
}

#if HPSS_SIM_LEVEL >= 750
void hpss_ThreadCleanUp(void) {
    if (current == NULL)
        return;
    if (current->archive != NULL)
        call_count(current->archive, FN_ThreadCleanUp);
    pthread_setspecific(at_thread_end, NULL);
    context_free(current);
}
#endif
