/* Real time is the monotonic clock; simulated time is a straight line over it, which the control page describes. */
#include <errno.h>
#include <math.h>
#include <time.h>

#include "sim.h"

/* A writer of the clock that dies halfway leaves the sequence odd: after so many looks the values are taken as is. */
#define CLOCK_LOOKS 10000

double clock_real(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double clock_simulated(struct control *control) {
    double real_base, sim_base, scale;
    for (int look = 0;; look++) {
        uint32_t before = atomic_load(&control->clock_sequence);
        real_base = control->clock_real_base;
        sim_base = control->clock_sim_base;
        scale = control->clock_scale;
        atomic_thread_fence(memory_order_acquire);
        if (look == CLOCK_LOOKS || ((before & 1) == 0 && before == atomic_load(&control->clock_sequence)))
            break;
    }
    return sim_base + (clock_real() - real_base) * scale;
}

void clock_sleep(double seconds) {
    if (!(seconds > 0))
        return;
    struct timespec left = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(fmod(seconds, 1.0) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}
