/* Login, configuration, threads and the core server. */
#include "shim_sdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_OF(macro) TEXT(macro)
#define TEXT(token) #token

const char *shim_features(void) {
    return ""
#if SHIM_HAS_BATCH_STAGE
           "batch_stage "
#endif
#if SHIM_HAS_FSYNC
           "fsync "
#endif
#if SHIM_HAS_LAST_ERROR
           "last_error "
#endif
#if SHIM_HAS_THREAD_CLEANUP
           "thread_cleanup "
#endif
#if SHIM_HAS_UUID_REQUEST
           "uuid_request "
#endif
        ;
}

const char *shim_built_for(void) {
#if defined HPSS_MAJOR_VERSION && defined HPSS_MINOR_VERSION
    /* As text, since some SDKs write 08, which is no number in C. */
    return TEXT_OF(HPSS_MAJOR_VERSION) "." TEXT_OF(HPSS_MINOR_VERSION);
#else
    return "";
#endif
}

int shim_max_levels(void) {
    return HPSS_MAX_STORAGE_LEVELS;
}

int shim_level(char *text, size_t size) {
    char *level = hpss_BuildLevelString();
    if (level == NULL)
        return HPSS_ENOMEM;
    snprintf(text, size, "%s", level);
    free(level);
    return 0;
}

void shim_take_last_error(shim_last_error *error) {
    memset(error, 0, sizeof *error);
#if SHIM_HAS_LAST_ERROR
    hpss_errno_state_t state = hpss_GetLastHPSSErrno();
    hpss_ClearLastHPSSErrno();
    error->code = state.hpss_errno;
    snprintf(error->function, sizeof error->function, "%.*s", (int)strnlen(state.func, sizeof state.func), state.func);
#endif
}

const char *shim_error_name(int code) {
    return hpss_ErrnoName(code);
}

int shim_configure(int retries, int busy_retries, int busy_delay, int total_delay) {
    api_config_t configuration;
    memset(&configuration, 0, sizeof configuration);
    int code = hpss_GetConfiguration(&configuration);
    if (code < 0)
        return code;
    configuration.Flags |= API_USE_CONFIG;
    configuration.NumRetries = retries;
    configuration.BusyRetries = busy_retries;
    configuration.BusyDelay = busy_delay;
    configuration.TotalDelay = total_delay;
    return hpss_SetConfiguration(&configuration);
}

int shim_login(const char *principal, int mechanism, const char *keytab) {
    hpss_authn_mech_t chosen;
    switch (mechanism) {
    case SHIM_MECHANISM_UNIX:
        chosen = hpss_authn_mech_unix;
        break;
    case SHIM_MECHANISM_KRB5:
        chosen = hpss_authn_mech_krb5;
        break;
    default:
        return HPSS_EINVAL;
    }
    return hpss_SetLoginCred((char *)principal, chosen, hpss_rpc_cred_client, hpss_rpc_auth_type_keytab,
                             (char *)keytab);
}

void shim_reset(void) {
    hpss_ClientAPIReset();
}

void shim_logout(void) {
    hpss_ClientAPIReset();
    hpss_PurgeLoginCred();
}

void shim_thread_start(void) {
    hpss_Umask(0);
}

void shim_thread_end(void) {
#if SHIM_HAS_THREAD_CLEANUP
    hpss_ThreadCleanUp();
#endif
}

/* Up to 7.4 a server is named by a UUID, later by a number. */
#if SHIM_HAS_SERVER_NUMBER
typedef hpss_srvr_id_t server_id;
#else
typedef hpss_uuid_t server_id;
#endif
_Static_assert(sizeof(server_id) <= SHIM_SERVER_SIZE, "SHIM_SERVER_SIZE is too small for this SDK");

int shim_lookup_core_server(const char *site, unsigned char server[SHIM_SERVER_SIZE]) {
    server_id id;
    memset(&id, 0, sizeof id);
    int code = hpss_LookupRootCS((char *)site, &id);
    if (code >= 0)
        memcpy(server, &id, sizeof id);
    return code;
}

int shim_ping(const unsigned char server[SHIM_SERVER_SIZE]) {
    server_id id;
    memcpy(&id, server, sizeof id);
    unsigned32 seconds = 0, microseconds = 0;
    return hpss_PingCore(&id, &seconds, &microseconds);
}
