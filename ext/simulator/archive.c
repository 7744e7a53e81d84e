/* An archive is a directory; every process that uses it maps its control page. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

static const char *const NAMES[FUNCTION_COUNT] = {
#define SIM_FUNCTION_NAME(name) "hpss_" #name,
    SIM_FUNCTIONS(SIM_FUNCTION_NAME)
#undef SIM_FUNCTION_NAME
};

const char *function_name(enum function function) {
    return NAMES[function];
}

/* When a process was started, in the kernel's ticks: tells it from a later one with the same number.  0: it is gone. */
static uint64_t process_started(pid_t pid) {
    char name[64], text[1024];
    snprintf(name, sizeof name, "/proc/%ld/stat", (long)pid);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    if (size <= 0)
        return 0;
    text[size] = 0;
    /* The name of the program may hold anything: fields are counted from the last parenthesis. */
    char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field + 1, NULL, 10);
}

static bool process_lives(struct control_process *process, uint32_t pid) {
    return process_started((pid_t)pid) == atomic_load(&process->started);
}

static struct control_process *claim_process(struct archive *archive) {
    struct control_process *entries = archive->control->processes;
    uint32_t own = (uint32_t)getpid();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < SIM_CONTROL_PROCESSES; i++) {
            /* Entries of the dead are taken when none is free, but one of an earlier life of this number always. */
            uint32_t pid = atomic_load(&entries[i].pid);
            if (pid != 0 && (pid == own || round == 1) && !process_lives(&entries[i], pid))
                atomic_compare_exchange_strong(&entries[i].pid, &pid, 0);
            uint32_t nobody = 0;
            if (!atomic_compare_exchange_strong(&entries[i].pid, &nobody, own))
                continue;
            atomic_store(&entries[i].started, process_started((pid_t)own));
            atomic_store(&entries[i].contexts, 0);
            atomic_store(&entries[i].descriptors, 0);
            atomic_store(&entries[i].in_flight, 0);
            return &entries[i];
        }
    }
    return &archive->no_room;
}

static int map_control(struct archive *archive) {
    char name[sizeof archive->directory + 16];
    snprintf(name, sizeof name, "%s/control", archive->directory);
    int file = open(name, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return HPSS_ECONN;
    struct stat status;
    void *page = MAP_FAILED;
    if (fstat(file, &status) == 0 && status.st_size >= SIM_CONTROL_SIZE)
        page = mmap(NULL, SIM_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page == MAP_FAILED)
        return HPSS_ECONN;
    archive->control = page;
    if (memcmp(archive->control->magic, SIM_CONTROL_MAGIC, sizeof archive->control->magic) != 0 ||
        archive->control->version != SIM_CONTROL_VERSION)
        return HPSS_ECONN;
    for (size_t i = 0; i < FUNCTION_COUNT; i++)
        snprintf(archive->control->calls[i].name, sizeof archive->control->calls[i].name, "%s", NAMES[i]);
    return 0;
}

/* The archives that this process has open: one object for each, whoever logs in to it again. */
static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER;
static struct archive *opened;

static void archive_free(struct archive *archive) {
    if (archive->process != NULL && archive->process != &archive->no_room)
        atomic_store(&archive->process->pid, 0);
    if (archive->data >= 0)
        close(archive->data);
    if (archive->control != NULL)
        munmap(archive->control, SIM_CONTROL_SIZE);
    free(archive);
}

static int archive_new(const char *directory, struct archive **out) {
    struct archive *archive = calloc(1, sizeof *archive);
    if (archive == NULL)
        return HPSS_ENOMEM;
    archive->references = 1;
    archive->data = -1;
    int code = 0;
    if ((size_t)snprintf(archive->directory, sizeof archive->directory, "%s", directory) >= sizeof archive->directory)
        code = HPSS_ENAMETOOLONG;
    if (code == 0)
        code = map_control(archive);
    if (code == 0) {
        char name[sizeof archive->directory + 16];
        snprintf(name, sizeof name, "%s/data", directory);
        archive->data = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        code = archive->data < 0 ? HPSS_ECONN : 0;
    }
    if (code != 0) {
        archive_free(archive);
        return code;
    }
    archive->process = claim_process(archive);
    *out = archive;
    return 0;
}

int archive_open(const char *directory, struct archive **out) {
    pthread_mutex_lock(&opened_lock);
    int code = 0;
    struct archive *archive = opened;
    while (archive != NULL && strcmp(archive->directory, directory) != 0)
        archive = archive->next;
    if (archive != NULL) {
        archive->references++;
    } else {
        code = archive_new(directory, &archive);
        if (code == 0) {
            archive->next = opened;
            opened = archive;
        }
    }
    pthread_mutex_unlock(&opened_lock);
    *out = archive;
    return code;
}

struct archive *archive_hold(struct archive *archive) {
    pthread_mutex_lock(&opened_lock);
    archive->references++;
    pthread_mutex_unlock(&opened_lock);
    return archive;
}

void archive_release(struct archive *archive) {
    if (archive == NULL)
        return;
    pthread_mutex_lock(&opened_lock);
    if (--archive->references == 0) {
        struct archive **link = &opened;
        while (*link != NULL && *link != archive)
            link = &(*link)->next;
        if (*link != NULL)
            *link = archive->next;
        archive_free(archive);
    }
    pthread_mutex_unlock(&opened_lock);
}

void archive_fork(enum fork_step step) {
    if (step == FORK_PREPARE) {
        pthread_mutex_lock(&opened_lock);
        return;
    }
    if (step == FORK_CHILD) {
        for (struct archive *archive = opened; archive != NULL; archive = archive->next)
            archive->process = &archive->no_room;
        opened = NULL;
    }
    pthread_mutex_unlock(&opened_lock);
}
