/* The table of open files and directories: one for both, numbers from 0, the lowest free one first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

#define TABLE_SIZE 16384

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct descriptor *table[TABLE_SIZE];
static int open_entries;
static int lowest_free; /* no entry below it is free */

static int insert(struct descriptor *descriptor, int limit) {
    int code = HPSS_EMFILE;
    pthread_mutex_lock(&table_lock);
    if (open_entries < limit && open_entries < TABLE_SIZE) {
        while (table[lowest_free] != NULL)
            lowest_free++;
        descriptor->number = lowest_free;
        table[lowest_free] = descriptor;
        open_entries++;
        code = 0;
    }
    pthread_mutex_unlock(&table_lock);
    return code;
}

int descriptor_new(struct context *context, bool is_directory, const char *path, struct descriptor **out) {
    struct descriptor *descriptor = calloc(1, sizeof *descriptor);
    if (descriptor == NULL)
        return HPSS_ENOMEM;
    atomic_init(&descriptor->references, 2);
    pthread_mutex_init(&descriptor->lock, NULL);
    pthread_mutex_lock(&descriptor->lock);
    descriptor->is_directory = is_directory;
    descriptor->data = -1;
    descriptor->connections = session_connections();
    snprintf(descriptor->path, sizeof descriptor->path, "%s", path);
    int code = insert(descriptor, context->settings.max_open_files);
    if (code != 0) {
        pthread_mutex_unlock(&descriptor->lock);
        pthread_mutex_destroy(&descriptor->lock);
        free(descriptor);
        return code;
    }
    descriptor->archive = archive_hold(context->archive);
    atomic_fetch_add(&context->archive->process->descriptors, 1);
    *out = descriptor;
    return 0;
}

static void let_go(struct descriptor *descriptor) {
    if (atomic_fetch_sub(&descriptor->references, 1) != 1)
        return;
    if (descriptor->data >= 0)
        close(descriptor->data);
    if (descriptor->view != NULL)
        munmap((void *)descriptor->view, (size_t)descriptor->view_size);
    free(descriptor->page.names);
    free(descriptor->page.objects);
    archive_release(descriptor->archive);
    pthread_mutex_destroy(&descriptor->lock);
    free(descriptor);
}

static struct descriptor *hold(int number) {
    struct descriptor *descriptor = NULL;
    pthread_mutex_lock(&table_lock);
    if (number >= 0 && number < TABLE_SIZE && table[number] != NULL) {
        descriptor = table[number];
        atomic_fetch_add(&descriptor->references, 1);
    }
    pthread_mutex_unlock(&table_lock);
    return descriptor;
}

int descriptor_get(int number, bool is_directory, struct descriptor **out) {
    struct descriptor *descriptor = hold(number);
    if (descriptor == NULL)
        return HPSS_EBADF;
    if (descriptor->is_directory != is_directory) {
        let_go(descriptor);
        return HPSS_EBADF;
    }
    pthread_mutex_lock(&descriptor->lock);
    *out = descriptor;
    return 0;
}

void descriptor_put(struct descriptor *descriptor) {
    pthread_mutex_unlock(&descriptor->lock);
    let_go(descriptor);
}

void descriptor_remove(struct descriptor *descriptor) {
    bool was_in = false;
    pthread_mutex_lock(&table_lock);
    if (table[descriptor->number] == descriptor) {
        table[descriptor->number] = NULL;
        open_entries--;
        if (descriptor->number < lowest_free)
            lowest_free = descriptor->number;
        was_in = true;
    }
    pthread_mutex_unlock(&table_lock);
    if (was_in) {
        atomic_fetch_sub(&descriptor->archive->process->descriptors, 1);
        let_go(descriptor);
    }
}

const char *descriptor_path(int number, char *buffer) {
    struct descriptor *descriptor = hold(number);
    if (descriptor == NULL)
        return NULL;
    strcpy(buffer, descriptor->path);
    let_go(descriptor);
    return buffer;
}

int descriptor_check(const struct descriptor *descriptor) {
    return descriptor->is_cut_off || descriptor->connections != session_connections() ? HPSS_ECONN : 0;
}

void descriptor_fork(enum fork_step step) {
    if (step == FORK_PREPARE) {
        pthread_mutex_lock(&table_lock);
        return;
    }
    if (step == FORK_CHILD) {
        memset(table, 0, sizeof table);
        open_entries = 0;
        lowest_free = 0;
    }
    pthread_mutex_unlock(&table_lock);
}
