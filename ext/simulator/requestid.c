/* Request ids: an integer up to 7.x, a UUID from 8.x; in the database text in hexadecimal. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "sim.h"

void request_id_text(const hpss_reqid_t *id, char text[REQUEST_ID_TEXT]) {
#if HPSS_SIM_LEVEL >= 830
    const byte *node = id->node;
    snprintf(text, REQUEST_ID_TEXT, "%08x%04x%04x%02x%02x%02x%02x%02x%02x%02x%02x", id->time_low, id->time_mid,
             id->time_hi_and_version, id->clock_seq_hi_and_reserved, id->clock_seq_low, node[0], node[1], node[2],
             node[3], node[4], node[5]);
#else
    snprintf(text, REQUEST_ID_TEXT, "%08x", (unsigned)*id);
#endif
}

bool request_id_is_zero(const hpss_reqid_t *id) {
    static const hpss_reqid_t ZERO;
    return memcmp(id, &ZERO, sizeof ZERO) == 0;
}

hpss_reqid_t request_id_new(void) {
    hpss_reqid_t id;
    if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        memset(&id, 1, sizeof id);
#if HPSS_SIM_LEVEL < 750
    id &= 0x7fffffff;
#endif
    return id;
}
