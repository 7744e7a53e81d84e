/* The control page: ARCHIVE/control, mapped by every process that uses the archive and by the control package.

   It holds what is read or counted on every call, so that counting and asking for faults cost no database write.
   Whoever creates the archive writes a file of SIM_CONTROL_SIZE zero bytes with the magic, the version and the clock.
   Little-endian, every field aligned to its size, counters changed by atomic addition only:

        offset  type        field
             0  char[8]     magic             "HPSSSIM" and a zero byte
             8  u32         version           SIM_CONTROL_VERSION
            12  u32         size              SIM_CONTROL_SIZE
            16  u64         generation        bump after a change of setting, fault or cos: the tables are read anew
            24  u64         credential_epoch  bump to expire every login at once
            32  u32         clock_sequence    odd while the next three fields are being changed
            40  f64         clock_real_base   CLOCK_MONOTONIC, seconds
            48  f64         clock_sim_base    simulated seconds since 1970 at that moment
            56  f64         clock_scale       simulated seconds in a real one; 0 = frozen
            64  u64         alarms            callbacks that could not be delivered (they light the operator's console)
            72  u64         callbacks         callbacks delivered
           128  256 x 48    calls             {char name[40]; u64 count}, named by the library, unused ones empty
         12416  512 x 16    faults            {u64 matched; u64 fired} at fault id % 512, zeroed by who adds a fault
         20608  256 x 32    processes         {u32 pid (0 = free); u32 contexts; u64 started (/proc/PID/stat, field 22);
                                               u32 descriptors; u32 calls in flight; u64 reserved}
         28800              end (padded to SIM_CONTROL_SIZE)

   simulated time = clock_sim_base + (CLOCK_MONOTONIC - clock_real_base) * clock_scale
   A process entry counts only while a process with that pid and start lives; dead ones are freed when room is short. */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_CONTROL_MAGIC "HPSSSIM"
#define SIM_CONTROL_VERSION 1
#define SIM_CONTROL_SIZE 32768
#define SIM_CONTROL_CALLS 256
#define SIM_CONTROL_FAULTS 512
#define SIM_CONTROL_PROCESSES 256

struct control_calls {
    char name[40];
    _Atomic uint64_t count;
};

struct control_fault {
    _Atomic uint64_t matched;
    _Atomic uint64_t fired;
};

struct control_process {
    _Atomic uint32_t pid;
    _Atomic uint32_t contexts;
    _Atomic uint64_t started;
    _Atomic uint32_t descriptors;
    _Atomic uint32_t in_flight;
    uint64_t reserved;
};

struct control {
    char magic[8];
    uint32_t version;
    uint32_t size;
    _Atomic uint64_t generation;
    _Atomic uint64_t credential_epoch;
    _Atomic uint32_t clock_sequence;
    uint32_t padding;
    double clock_real_base;
    double clock_sim_base;
    double clock_scale;
    _Atomic uint64_t alarms;
    _Atomic uint64_t callbacks;
    uint64_t unused[6];
    struct control_calls calls[SIM_CONTROL_CALLS];
    struct control_fault faults[SIM_CONTROL_FAULTS];
    struct control_process processes[SIM_CONTROL_PROCESSES];
};

_Static_assert(offsetof(struct control, calls) == 128, "layout");
_Static_assert(offsetof(struct control, faults) == 12416, "layout");
_Static_assert(offsetof(struct control, processes) == 20608, "layout");
_Static_assert(sizeof(struct control) == 28800, "layout");

#endif
