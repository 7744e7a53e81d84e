/* Drives the shim without Python, so that valgrind or a sanitizer sees every byte of it.
 *
 *     drive_shim PRINCIPAL KEYTAB DIRECTORY COUNT
 *
 * logs in, makes a file in DIRECTORY, asks COUNT times for its status, and now and then for everything else that
 * allocates: missing files, attributes, listings, stages.  It ends with 0 when every call did what it should. */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char request[SHIM_REQUEST_SIZE] = "one request, 16";

static void expect(int holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "drive_shim: %s\n", what);
    exit(1);
}

static void make_file(const char *path) {
    int descriptor = shim_create(path, 10, 0, 0);
    expect(descriptor >= 0, "shim_create");
    expect(shim_write(descriptor, "0123456789", 10) == 10, "shim_write");
    expect(shim_close(descriptor) == 0, "shim_close");
    descriptor = shim_open(path, 02 /* O_RDWR */);
    expect(descriptor >= 0, "shim_open");
    expect(shim_migrate(descriptor) == 0, "shim_migrate");
    expect(shim_purge(descriptor) == 0, "shim_purge");
    expect(shim_close(descriptor) == 0, "shim_close");
}

static void ask_status(const char *path) {
    shim_attributes attributes;
    expect(shim_get_attributes(path, &attributes) == 0, "shim_get_attributes");
    expect(attributes.stat.size == 10, "size");
    expect(attributes.levels[1].volume_count == 1, "volumes");
}

static void ask_for_what_is_not_there(void) {
    shim_attributes attributes;
    shim_last_error error;
    expect(shim_get_attributes("/no such file", &attributes) < 0, "shim_get_attributes of nothing");
    shim_take_last_error(&error);
}

static void use_user_attributes(const char *path) {
    const char *keys[] = {"/hpss/user/cksum/algorithm", "/hpss/user/cksum/checksum"};
    const char *wrong[] = {"/hpss/user/cksum/algorithm", "/hpss/user/cksum/nothing"};
    const char *values[] = {"md5", "781e5e245d69b566979b86e28d23f2c7"};
    char found[2][64];
    expect(shim_set_user_attributes(path, 2, keys, values) >= 0, "shim_set_user_attributes");
    expect(shim_get_user_attributes(path, 2, keys, found[0], sizeof found[0]) >= 0, "shim_get_user_attributes");
    expect(strcmp(found[1], values[1]) == 0, "value");
    expect(shim_get_user_attributes(path, 2, keys, found[0], 8) < 0, "a value that is too long");
    expect(shim_get_user_attributes(path, 2, wrong, found[0], sizeof found[0]) < 0, "a key that is not there");
    expect(shim_delete_user_attributes(path, 2, keys) >= 0, "shim_delete_user_attributes");
}

static void list(const char *path) {
    static char names[64 * 1024];
    int descriptor = shim_opendir(path);
    expect(descriptor >= 0, "shim_opendir");
    while (shim_readdir(descriptor, names, sizeof names) > 0)
        ;
    expect(shim_closedir(descriptor) == 0, "shim_closedir");
}

static void stage(const char *path) {
    unsigned char bitfile[SHIM_BITFILE_SIZE], batch[SHIM_REQUEST_SIZE];
    uint32_t size;
    int state;
    expect(shim_submit_stage(path, request, bitfile, &size) == 0, "shim_submit_stage");
    expect(shim_stage_status(request, bitfile, size) >= 0, "shim_stage_status");
    expect(shim_stage_status(request, bitfile, size - 1) < 0, "a bitfile that is none");
    if (strstr(shim_features(), "batch_stage") != NULL) {
        expect(shim_submit_batch(request, bitfile, size, 1, batch) >= 0, "shim_submit_batch");
        expect(shim_batch_status(batch, bitfile, size, 1, &state) >= 0, "shim_batch_status");
        expect(shim_submit_batch(request, bitfile, size - 1, 1, batch) < 0, "a batch of none");
    }
}

int main(int count, char **words) {
    expect(count == 5, "usage: drive_shim PRINCIPAL KEYTAB DIRECTORY COUNT");
    char path[1024], level[64];
    snprintf(path, sizeof path, "%s/driven", words[3]);
    expect(shim_configure(1, 1, 1, 5) >= 0, "shim_configure");
    expect(shim_level(level, sizeof level) == 0, "shim_level");
    expect(shim_login(words[1], SHIM_MECHANISM_UNIX, words[2]) == 0, "shim_login");
    shim_thread_start();
    make_file(path);
    for (long left = atol(words[4]); left > 0; left--) {
        ask_status(path);
        if (left % 1000 == 0) {
            ask_for_what_is_not_there();
            use_user_attributes(path);
            list(words[3]);
        }
    }
    stage(path);
    expect(shim_unlink(path) == 0, "shim_unlink");
    shim_thread_end();
    shim_logout();
    return 0;
}
