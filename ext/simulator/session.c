/* Login, configuration and the breaking of connections: what holds for the whole process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

#define DEFAULT_RETRIES 4
#define DEFAULT_BUSY_RETRIES 3
#define DEFAULT_BUSY_DELAY 15

static pthread_mutex_t session_lock = PTHREAD_MUTEX_INITIALIZER;
static struct session session;
static api_config_t configuration;
static bool is_configured;
static _Atomic uint64_t number = 1;
static _Atomic uint64_t connections = 1;
static _Atomic uint64_t calls;
static _Atomic bool is_of_parent;
static char last_archive[HPSS_MAX_PATH_NAME + 1]; /* the directory of the login before */
static bool is_forked; /* this process was made by fork() and has opened no database yet */

uint64_t session_number(void) {
    return atomic_load(&number);
}

uint64_t session_connections(void) {
    return atomic_load(&connections);
}

uint64_t session_count_call(void) {
    return atomic_fetch_add(&calls, 1) + 1;
}

bool session_is_of_parent(void) {
    return atomic_load(&is_of_parent);
}

struct session session_now(uint64_t *at) {
    pthread_mutex_lock(&session_lock);
    struct session copy = session;
    if (copy.archive != NULL)
        archive_hold(copy.archive);
    *at = atomic_load(&number);
    pthread_mutex_unlock(&session_lock);
    return copy;
}

static void lock_for_fork(void) {
    pthread_mutex_lock(&session_lock);
    descriptor_fork(FORK_PREPARE);
    archive_fork(FORK_PREPARE);
}

static void unlock_in_parent(void) {
    archive_fork(FORK_PARENT);
    descriptor_fork(FORK_PARENT);
    pthread_mutex_unlock(&session_lock);
}

static void forget_in_child(void) {
    archive_fork(FORK_CHILD);
    descriptor_fork(FORK_CHILD);
    context_forget_in_child();
    atomic_store(&is_of_parent, session.archive != NULL);
    is_forked = session.archive != NULL || is_forked;
    session.archive = NULL;
    atomic_fetch_add(&number, 1);
    atomic_fetch_add(&connections, 1);
    pthread_mutex_unlock(&session_lock);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(lock_for_fork, unlock_in_parent, forget_in_child);
}

/* ---- configuration ---- */

static int number_from_environment(const char *name, int otherwise) {
    const char *text = hpss_Getenv(name);
    return text == NULL || *text == 0 ? otherwise : atoi(text);
}

static void configure_once(void) {
    if (is_configured)
        return;
    is_configured = true;
    configuration = (api_config_t){
        .NumRetries = number_from_environment("HPSS_API_RETRIES", DEFAULT_RETRIES),
        .BusyRetries = number_from_environment("HPSS_API_BUSY_RETRIES", DEFAULT_BUSY_RETRIES),
        .BusyDelay = number_from_environment("HPSS_API_BUSY_DELAY", DEFAULT_BUSY_DELAY),
        .MaxConnections = 150,
        .AuthnMech = hpss_authn_mech_unix,
        .RPCProtLevel = hpss_rpc_protect_connect,
        .XMLSize = HPSS_XML_SIZE,
    };
}

api_config_t session_configuration(void) {
    pthread_mutex_lock(&session_lock);
    configure_once();
    api_config_t copy = configuration;
    pthread_mutex_unlock(&session_lock);
    return copy;
}

int hpss_GetConfiguration(api_config_t *ConfigOut) {
    if (ConfigOut == NULL)
        return HPSS_EFAULT;
    *ConfigOut = session_configuration();
    return 0;
}

int hpss_SetConfiguration(const api_config_t *ConfigIn) {
    if (ConfigIn == NULL)
        return HPSS_EFAULT;
    if ((ConfigIn->Flags & API_USE_CONFIG) == 0)
        return 0; /* without the flag, the environment's values stay in force */
    pthread_mutex_lock(&session_lock);
    is_configured = true;
    configuration = *ConfigIn;
    pthread_mutex_unlock(&session_lock);
    return 0;
}

/* ---- login ---- */

struct keytab {
    char archive[HPSS_MAX_PATH_NAME + 1];
    char principal[HPSS_MAX_PRINCIPAL_NAME];
    char secret[256];
};

static void take_line(struct keytab *keytab, char *line) {
    line[strcspn(line, "\r\n")] = 0;
    char *value = strchr(line, '=');
    if (value == NULL)
        return;
    *value++ = 0;
    if (strcmp(line, "archive") == 0)
        snprintf(keytab->archive, sizeof keytab->archive, "%s", value);
    else if (strcmp(line, "principal") == 0)
        snprintf(keytab->principal, sizeof keytab->principal, "%s", value);
    else if (strcmp(line, "secret") == 0)
        snprintf(keytab->secret, sizeof keytab->secret, "%s", value);
}

static int read_keytab(const char *path, struct keytab *keytab) {
    memset(keytab, 0, sizeof *keytab);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return HPSS_SEC_EKEYTAB;
    char line[HPSS_MAX_PATH_NAME + 64];
    while (fgets(line, sizeof line, file) != NULL)
        take_line(keytab, line);
    fclose(file);
    return keytab->archive[0] == 0 || keytab->principal[0] == 0 ? HPSS_SEC_EKEYTAB : 0;
}

/* The archive knows its principal by its own key table: one with another secret in it was made for another archive. */
static int check_secret(const struct keytab *keytab) {
    char name[sizeof keytab->archive + 32];
    struct keytab own;
    snprintf(name, sizeof name, "%s/etc/hpss.unix.keytab", keytab->archive);
    if (read_keytab(name, &own) != 0)
        return HPSS_ECONN;
    if (strcmp(own.principal, keytab->principal) != 0)
        return HPSS_SEC_EBAD_PRINCIPAL;
    return strcmp(own.secret, keytab->secret) == 0 ? 0 : HPSS_SEC_EBAD_KEY;
}

static int check_login(const char *principal, hpss_authn_mech_t mechanism, hpss_rpc_auth_type_t type,
                       const char *authenticator, struct keytab *keytab) {
    if (principal == NULL || *principal == 0)
        return HPSS_SEC_EBAD_PRINCIPAL;
    if (mechanism != hpss_authn_mech_unix)
        return HPSS_SEC_EBAD_MECH;
    if (type != hpss_rpc_auth_type_keytab && type != hpss_rpc_auth_type_keyfile)
        return HPSS_EINVAL;
    if (authenticator == NULL)
        return HPSS_EFAULT;
    int code = read_keytab(authenticator, keytab);
    if (code == 0 && strcmp(keytab->principal, principal) != 0)
        code = HPSS_SEC_EBAD_PRINCIPAL;
    return code == 0 ? check_secret(keytab) : code;
}

/* Nobody logs in to a server that does not answer: the library's retries, the faults and the settings apply. */
static int try_server(struct archive *archive) {
    struct context context = {0};
    int code = context_connect(&context, archive);
    if (code != 0)
        return code;
    if (is_forked)
        code = database_after_fork(archive->directory);
    if (code == 0) {
        is_forked = false;
        struct call call;
        code = (int)call_end(&call, call_begin_in(&call, &context, FN_SetLoginCred, NULL, NULL));
    }
    context_disconnect(&context);
    return code;
}

int hpss_SetLoginCred(char *PrincipalName, hpss_authn_mech_t Mechanism, hpss_rpc_cred_type_t CredType,
                      hpss_rpc_auth_type_t AuthType, void *Authenticator) {
    if (CredType < hpss_rpc_cred_server || CredType > hpss_rpc_cred_both)
        return HPSS_EINVAL;
    struct keytab keytab;
    int code = check_login(PrincipalName, Mechanism, AuthType, Authenticator, &keytab);
    if (code != 0)
        return code;
    struct archive *archive;
    code = archive_open(keytab.archive, &archive);
    if (code != 0)
        return code;
    code = try_server(archive);
    if (code != 0) {
        archive_release(archive);
        return code;
    }
    pthread_mutex_lock(&session_lock);
    struct archive *before = session.archive;
    session.archive = archive;
    session.login_time = clock_real();
    session.credential_epoch = atomic_load(&archive->control->credential_epoch);
    snprintf(session.principal, sizeof session.principal, "%s", keytab.principal);
    atomic_store(&is_of_parent, false);
    atomic_store(&calls, 0);
    atomic_fetch_add(&number, 1);
    if (strcmp(last_archive, archive->directory) != 0)
        atomic_fetch_add(&connections, 1); /* descriptors of another archive mean nothing here */
    strcpy(last_archive, archive->directory);
    pthread_mutex_unlock(&session_lock);
    archive_release(before);
    return 0;
}

void hpss_PurgeLoginCred(void) {
    pthread_mutex_lock(&session_lock);
    struct archive *before = session.archive;
    if (before != NULL)
        call_count(before, FN_PurgeLoginCred);
    session.archive = NULL;
    atomic_fetch_add(&number, 1);
    pthread_mutex_unlock(&session_lock);
    archive_release(before);
}

void hpss_ClientAPIReset(void) {
    pthread_mutex_lock(&session_lock);
    if (session.archive != NULL)
        call_count(session.archive, FN_ClientAPIReset);
    atomic_fetch_add(&connections, 1);
    pthread_mutex_unlock(&session_lock);
}
