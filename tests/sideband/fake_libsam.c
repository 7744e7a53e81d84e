/*
 * A library in the place of SAM's, for the tests.
 *
 * What it says of a file stands in the file PATH.state: "ATTRIBUTES FLAGS ERRNO" in hexadecimal; with an error number
 * all calls fail.  While PATH.hang exists they do not return.  What is asked for goes into PATH.asked, a line each.
 *
 * The structures are written down from the description of SAM's pub/stat.h, in the types that C has for them, and are
 * filled with all bits set before the state is put in: a field of the wrong size or place shows.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long whole;

struct sam_copy_s {
    whole position;
    time_t made;
    unsigned offset;
    unsigned short state;
    short volumes;
    char media_type[4], volume[32];
};

struct sam_stat {
    unsigned mode, ino;
    unsigned short device;
    unsigned links, user, group;
    whole size;
    time_t accessed, modified, changed;
    time_t attributes_changed, created, moved;
    struct sam_copy_s copies[4];
    unsigned attributes_of_old;
    unsigned char sum_kind, flags, stripe_width, stripe_group;
    unsigned generation, partial_size;
    unsigned short special_device;
    whole blocks;
    unsigned segment_size, segment_number, stage_ahead, administrator, allocate_ahead, object_depth;
    whole sum[2];
    time_t retained_from;
    unsigned retained_for;
    int project;
    whole attributes;
};

static int state_of(const char *path, whole *attributes, unsigned *flags)
{
    char name[4096];
    unsigned error = 0;
    FILE *file;

    snprintf(name, sizeof name, "%s.hang", path);
    for (int i = 0; i < 3000 && access(name, F_OK) == 0; i++)
        usleep(10000);
    snprintf(name, sizeof name, "%s.state", path);
    file = fopen(name, "r");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%llx %x %x", attributes, flags, &error) != 3)
        error = EINVAL;
    fclose(file);
    errno = (int)error;
    return error ? -1 : 0;
}

static int ask(const char *path, const char *what)
{
    char name[4096];
    whole attributes;
    unsigned flags;
    FILE *file;

    snprintf(name, sizeof name, "%s.asked", path);
    file = fopen(name, "a");
    if (file == NULL)
        return -1;
    fprintf(file, "%s\n", what);
    fclose(file);
    return state_of(path, &attributes, &flags);
}

int sam_stage(const char *path, const char *ops, ...)
{
    return ask(path, ops);
}

int sam_cancelstage(const char *path)
{
    return ask(path, "cancel");
}

int sam_stat(const char *path, struct sam_stat *found, size_t size)
{
    whole attributes;
    unsigned flags;

    if (size != sizeof *found) {
        errno = EINVAL;
        return -1;
    }
    if (state_of(path, &attributes, &flags) != 0)
        return -1;
    memset(found, 0xff, sizeof *found);
    found->attributes = attributes;
    found->flags = (unsigned char)flags;
    return 0;
}
