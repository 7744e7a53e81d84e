/* Mechanisms and kinds of credentials. */
#ifndef HPSS_MECH_H
#define HPSS_MECH_H

#include "hpss_types.h"

typedef enum {
    hpss_authn_mech_invalid = 0,
    hpss_authn_mech_krb5 = 1,
    hpss_authn_mech_unix = 2,
    hpss_authn_mech_gsi = 3,
    hpss_authn_mech_spkm = 4
} hpss_authn_mech_t;

typedef enum { hpss_rpc_cred_server = 1, hpss_rpc_cred_client = 2, hpss_rpc_cred_both = 3 } hpss_rpc_cred_type_t;

typedef enum {
    hpss_rpc_auth_type_invalid = 0,
    hpss_rpc_auth_type_none = 1,
    hpss_rpc_auth_type_keytab = 2,
    hpss_rpc_auth_type_keyfile = 3,
    hpss_rpc_auth_type_key = 4,
    hpss_rpc_auth_type_passwd = 5
} hpss_rpc_auth_type_t;

typedef enum {
    hpss_rpc_protect_connect = 1,
    hpss_rpc_protect_pkt = 2,
    hpss_rpc_protect_pkt_integ = 3,
    hpss_rpc_protect_pkt_privacy = 4
} hpss_rpc_prot_level_t;

signed32 hpss_AuthnMechTypeFromString(const char *Name, hpss_authn_mech_t *Mechanism);

/* Splits "auth_keytab:<path>" and the like; *Authenticator is malloc'ed. */
signed32 hpss_ParseAuthString(char *Text, hpss_authn_mech_t *Mechanism, hpss_rpc_auth_type_t *AuthType,
                              void **Authenticator);

#endif
