/* Reading directories: a page of names at a time, in the order of the names, so that a listing survives changes. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define PAGE_NAMES 256

static int load_page(struct context *context, struct descriptor *directory) {
    struct directory_page *page = &directory->page;
    if (page->names == NULL) {
        page->names = calloc(PAGE_NAMES, sizeof *page->names);
        page->objects = calloc(PAGE_NAMES, sizeof *page->objects);
        if (page->names == NULL || page->objects == NULL)
            return HPSS_ENOMEM;
    }
    sqlite3_stmt *row;
    page->count = 0;
    page->next = 0;
    int more = db_row(&context->database, &row,
                      "SELECT n.name, o.id, o.type, o.generation FROM name n JOIN object o ON o.id = n.object"
                      " WHERE n.parent = ? AND n.name > ? ORDER BY n.name LIMIT ?",
                      "isi", directory->object, page->after, (sqlite3_int64)PAGE_NAMES);
    for (; more == 1; more = db_next(row)) {
        strncpy(page->names[page->count], (const char *)sqlite3_column_text(row, 0), HPSS_MAX_FILE_NAME);
        page->objects[page->count++] = (struct object){.id = sqlite3_column_int64(row, 1),
                                                       .type = sqlite3_column_int(row, 2),
                                                       .generation = (unsigned32)sqlite3_column_int64(row, 3)};
    }
    if (more < 0)
        return more;
    page->is_last = page->count < PAGE_NAMES;
    if (page->count > 0)
        strcpy(page->after, page->names[page->count - 1]);
    return 0;
}

static void rewind_page(struct directory_page *page) {
    page->count = 0;
    page->next = 0;
    page->is_last = false;
    page->dots = 0;
    page->after[0] = 0;
}

static void give(struct descriptor *directory, const char *name, const struct object *object, hpss_dirent_t *out) {
    attributes_handle(object, &out->d_handle);
    out->d_namelen = (unsigned16)strlen(name);
    out->d_reclen = (unsigned16)sizeof *out;
    strcpy(out->d_name, name);
    out->d_offset = ++directory->offset;
}

static int read_entry(struct context *context, struct descriptor *directory, hpss_dirent_t *out) {
    static const char *const DOTS[] = {".", ".."};
    struct directory_page *page = &directory->page;
    memset(out, 0, sizeof *out);
    if (page->dots < 2) {
        give(directory, DOTS[page->dots++],
             &(struct object){.id = directory->object, .type = NS_OBJECT_TYPE_DIRECTORY}, out);
        return 0;
    }
    if (page->next == page->count && !page->is_last) {
        int code = load_page(context, directory);
        if (code != 0)
            return code;
    }
    if (page->next < page->count) {
        give(directory, page->names[page->next], &page->objects[page->next], out);
        page->next++;
    }
    return 0; /* at the end d_namelen stays 0 */
}

static int open_directory(struct call *call, const char *path) {
    struct context *context = call->context;
    struct object object;
    struct descriptor *descriptor;
    int code = db_read(&context->database);
    if (code == 0)
        code = namespace_object(context, path, FOLLOW, &object);
    if (code == 0)
        code = object.type != NS_OBJECT_TYPE_DIRECTORY ? HPSS_ENOTDIR : namespace_permits(context, &object, 4);
    code = db_end(&context->database, code);
    if (code == 0)
        code = descriptor_new(context, true, path, &descriptor);
    if (code != 0)
        return code;
    descriptor->object = object.id;
    int number = descriptor->number;
    descriptor_put(descriptor);
    return number;
}

static int close_directory(int number) {
    struct descriptor *descriptor;
    int code = descriptor_get(number, true, &descriptor);
    if (code != 0)
        return code;
    descriptor_remove(descriptor);
    descriptor_put(descriptor);
    return 0;
}

int hpss_Opendir(HPSS_SIM_CONST char *DirName) {
    struct call call;
    int number = call_begin(&call, FN_Opendir, DirName);
    if (number == 0)
        number = open_directory(&call, DirName);
    int answer = (int)call_end(&call, number);
    if (answer < 0 && number >= 0)
        close_directory(number); /* the caller never learned of it */
    return answer;
}

int hpss_Readdir(int DirDes, hpss_dirent_t *DirentPtr) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Readdir, descriptor_path(DirDes, path));
    if (code == 0)
        code = DirentPtr == NULL ? HPSS_EFAULT : descriptor_get(DirDes, true, &descriptor);
    if (code == 0) {
        code = descriptor_check(descriptor);
        if (code == 0)
            code = read_entry(call.context, descriptor, DirentPtr);
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

int hpss_Rewinddir(int DirDes) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Rewinddir, descriptor_path(DirDes, path));
    if (code == 0)
        code = descriptor_get(DirDes, true, &descriptor);
    if (code == 0) {
        descriptor->offset = 0;
        rewind_page(&descriptor->page);
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

int hpss_Closedir(int DirDes) {
    struct call call;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Closedir, descriptor_path(DirDes, path));
    int closed = call.context == NULL ? code : close_directory(DirDes); /* whatever the server answers, it is closed */
    return (int)call_end(&call, code == 0 ? closed : code);
}
