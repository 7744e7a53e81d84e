/* Names of codes, mechanisms and variables: what needs no server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- codes ---- */

#define CODES(X)                                                                                                  \
    X(HPSS_E_NOERROR, "no error") X(HPSS_EPERM, "operation not permitted") X(HPSS_ENOENT, "no such file or directory") \
    X(HPSS_EINTR, "interrupted") X(HPSS_EIO, "I/O error") X(HPSS_ENXIO, "no such device or address")              \
    X(HPSS_EBADF, "bad file descriptor") X(HPSS_ECHILD, "no child processes") X(HPSS_EAGAIN, "try again")         \
    X(HPSS_ENOMEM, "not enough memory") X(HPSS_EACCES, "permission denied") X(HPSS_EFAULT, "bad address")         \
    X(HPSS_EBUSY, "busy") X(HPSS_EEXIST, "file exists") X(HPSS_EXDEV, "in another fileset")                       \
    X(HPSS_ENODEV, "no such device") X(HPSS_ENOTDIR, "not a directory") X(HPSS_EISDIR, "is a directory")          \
    X(HPSS_EINVAL, "invalid argument") X(HPSS_ENFILE, "too many open files in the system")                        \
    X(HPSS_EMFILE, "too many open files") X(HPSS_EFBIG, "file too large") X(HPSS_ENOSPACE, "no space left")       \
    X(HPSS_EMLINK, "too many links") X(HPSS_EPIPE, "broken pipe") X(HPSS_EDOM, "out of domain")                   \
    X(HPSS_ERANGE, "out of range") X(HPSS_EDEADLK, "deadlock") X(HPSS_ENOLCK, "no locks")                         \
    X(HPSS_EWRPROTECT, "write protected") X(HPSS_ECONN, "communication failure") X(HPSS_ESTALE, "stale handle")   \
    X(HPSS_EINPROGRESS, "in progress") X(HPSS_EMSGSIZE, "message too long") X(HPSS_ENOSR, "out of streams")       \
    X(HPSS_EOPNOTSUPP, "not supported") X(HPSS_ENOLINK, "link severed") X(HPSS_EBADMSG, "bad message")            \
    X(HPSS_ETIMEDOUT, "timed out") X(HPSS_ELOOP, "too many symbolic links")                                       \
    X(HPSS_ENAMETOOLONG, "name too long") X(HPSS_ENOTEMPTY, "directory not empty")                                \
    X(HPSS_EDQUOT, "quota exceeded") X(HPSS_ENOTALLMOVED, "not all data has been moved")                          \
    X(HPSS_SEC_ENOT_AUTHORIZED, "not authorized") X(HPSS_SEC_EKEYTAB, "key table cannot be read")                 \
    X(HPSS_SEC_EBAD_KEY, "wrong key") X(HPSS_SEC_EBAD_PRINCIPAL, "unknown principal")                             \
    X(HPSS_SEC_EBAD_MECH, "mechanism not configured")

static const struct {
    int code;
    const char *name;
    const char *text;
} CODE_NAMES[] = {
#define CODE_ROW(code, text) {code, #code, text},
    CODES(CODE_ROW)
#undef CODE_ROW
};

const char *hpss_ErrnoName(int Code) {
    for (size_t i = 0; i < sizeof CODE_NAMES / sizeof CODE_NAMES[0]; i++)
        if (CODE_NAMES[i].code == Code)
            return CODE_NAMES[i].name;
    return "unknown error code";
}

char *hpss_ErrnoString(int Code) {
    for (size_t i = 0; i < sizeof CODE_NAMES / sizeof CODE_NAMES[0]; i++)
        if (CODE_NAMES[i].code == Code)
            return (char *)CODE_NAMES[i].text;
    return (char *)"unknown error code";
}

/* The numbers above 34, which differ. */
static const int NUMBERS[][2] = {
    {HPSS_EDEADLK, EDEADLK},           {HPSS_ENOLCK, ENOLCK},     {HPSS_ESTALE, ESTALE},
    {HPSS_EINPROGRESS, EINPROGRESS},   {HPSS_EMSGSIZE, EMSGSIZE}, {HPSS_EOPNOTSUPP, EOPNOTSUPP},
    {HPSS_EBADMSG, EBADMSG},           {HPSS_ETIMEDOUT, ETIMEDOUT}, {HPSS_ELOOP, ELOOP},
    {HPSS_ENAMETOOLONG, ENAMETOOLONG}, {HPSS_ENOTEMPTY, ENOTEMPTY}, {HPSS_EDQUOT, EDQUOT},
};

int code_in_linux_numbers(int code) {
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++)
        if (NUMBERS[i][0] == code)
            return -NUMBERS[i][1];
    return code;
}

int local_errno(int code) {
    int number = -code_in_linux_numbers(code);
    if (code == HPSS_ECONN)
        return ECONNRESET;
    return code <= HPSS_SEC_BASE ? EACCES : number;
}

char *hpss_BuildLevelString(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.0.0.0 (simulator)", HPSS_LEVEL / 100, HPSS_LEVEL / 10 % 10);
    return strdup(text);
}

/* ---- mechanisms ---- */

signed32 hpss_AuthnMechTypeFromString(const char *Name, hpss_authn_mech_t *Mechanism) {
    static const char *const NAMES[] = {NULL, "krb5", "unix", "gsi", "spkm"};
    if (Name == NULL || Mechanism == NULL)
        return HPSS_EFAULT;
    for (int i = 1; i < (int)(sizeof NAMES / sizeof NAMES[0]); i++) {
        if (strcmp(Name, NAMES[i]) == 0) {
            *Mechanism = (hpss_authn_mech_t)i;
            return 0;
        }
    }
    *Mechanism = hpss_authn_mech_invalid;
    return HPSS_EINVAL;
}

signed32 hpss_ParseAuthString(char *Text, hpss_authn_mech_t *Mechanism, hpss_rpc_auth_type_t *AuthType,
                              void **Authenticator) {
    static const char *const TYPES[] = {NULL, "auth_none", "auth_keytab", "auth_keyfile", "auth_key", "auth_passwd"};
    if (Text == NULL || AuthType == NULL || Authenticator == NULL)
        return HPSS_EFAULT;
    size_t length = strcspn(Text, ":");
    for (int i = 1; i < (int)(sizeof TYPES / sizeof TYPES[0]); i++) {
        if (strlen(TYPES[i]) != length || strncmp(Text, TYPES[i], length) != 0)
            continue;
        *AuthType = (hpss_rpc_auth_type_t)i;
        *Authenticator = strdup(Text[length] == 0 ? "" : Text + length + 1);
        if (Mechanism != NULL && *Mechanism == hpss_authn_mech_invalid)
            *Mechanism = hpss_authn_mech_unix;
        return *Authenticator == NULL ? HPSS_ENOMEM : 0;
    }
    return HPSS_EINVAL;
}

/* ---- variables ---- */

#define MAX_VARIABLES 128

static struct {
    char *name;
    char *value;
} variables[MAX_VARIABLES];
static size_t variable_count;
static pthread_once_t variables_once = PTHREAD_ONCE_INIT;

static void take_variable(char *line) {
    line[strcspn(line, "\r\n")] = 0;
    line += strspn(line, " \t");
    if (strncmp(line, "export ", 7) == 0)
        line += 7;
    char *value = strchr(line, '=');
    if (*line == '#' || value == NULL || variable_count == MAX_VARIABLES)
        return;
    *value++ = 0;
    char *name_copy = strdup(line), *value_copy = strdup(value);
    if (name_copy == NULL || value_copy == NULL) {
        free(name_copy);
        free(value_copy);
        return;
    }
    variables[variable_count].name = name_copy;
    variables[variable_count++].value = value_copy;
}

static void read_variables(void) {
    char path[HPSS_MAX_PATH_NAME + 16], line[2048];
    const char *directory = getenv("HPSS_PATH_ETC");
    snprintf(path, sizeof path, "%s/env.conf", directory == NULL ? "/var/hpss/etc" : directory);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL)
        take_variable(line);
    fclose(file);
}

char *hpss_Getenv(const char *Env) {
    if (Env == NULL)
        return NULL;
    pthread_once(&variables_once, read_variables);
    for (size_t i = 0; i < variable_count; i++)
        if (strcmp(variables[i].name, Env) == 0)
            return variables[i].value;
    return getenv(Env);
}
