/* Finding the core server, and asking whether it is there. */
#include <math.h>
#include <string.h>

#include "sim.h"

#if HPSS_SIM_LEVEL >= 750
typedef hpss_srvr_id_t server_id_t;
static const server_id_t ROOT_SERVER = 1001;
#else
typedef hpss_uuid_t server_id_t;
static const server_id_t ROOT_SERVER = {.time_low = 1001, .node = {'s', 'i', 'm'}};
#endif

int hpss_LookupRootCS(char *SiteOrRealm, server_id_t *CoreServerID) {
    struct call call;
    int code = call_begin(&call, FN_LookupRootCS, NULL);
    if (code == 0)
        code = SiteOrRealm == NULL || CoreServerID == NULL                  ? HPSS_EFAULT
               : strcmp(SiteOrRealm, call.context->settings.site) != 0 ? HPSS_ENOENT
                                                                            : 0;
    if (code == 0)
        *CoreServerID = ROOT_SERVER;
    return (int)call_end(&call, code);
}

static int wait_out(struct call *call, double seconds) {
    double end = clock_real() + seconds;
    double step = 0;
    int code = 0;
    while (code == 0 && clock_real() < end)
        code = call_pause(call, &step);
    return code;
}

int hpss_PingCore(server_id_t *CoreServerID, unsigned32 *RecvSecs, unsigned32 *RecvUSecs) {
    struct call call;
    int code = call_begin(&call, FN_PingCore, NULL);
    if (code == 0)
        code = CoreServerID == NULL || RecvSecs == NULL || RecvUSecs == NULL         ? HPSS_EFAULT
               : memcmp(CoreServerID, &ROOT_SERVER, sizeof ROOT_SERVER) != 0 ? HPSS_EINVAL
                                                                                     : 0;
    if (code == 0)
        code = wait_out(&call, call.context->settings.ping_delay);
    if (code == 0) {
        double now = call_now(&call) + call.context->settings.ping_skew;
        *RecvSecs = (unsigned32)now;
        *RecvUSecs = (unsigned32)(fmod(now, 1.0) * 1e6);
    }
    return (int)call_end(&call, code);
}
