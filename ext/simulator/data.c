/* Reading and writing.  The bytes are a plain sparse file; the database says how many there are, and at which level. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "sim.h"

#define COPY_SIZE ((size_t)4 << 20)
#define MAX_OFFSET ((u_signed64)INT64_MAX)

static int local_error(void) {
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
        return HPSS_ENOSPACE;
    case EFBIG:
        return HPSS_EFBIG;
    case EFAULT:
        return HPSS_EFAULT;
    default:
        return HPSS_EIO;
    }
}

u_signed64 data_bytes(int data, u_signed64 size) {
    u_signed64 bytes = 0;
    off_t at = 0;
    while ((u_signed64)at < size) {
        off_t start = lseek(data, at, SEEK_DATA);
        if (start < 0 || (u_signed64)start >= size)
            break;
        off_t end = lseek(data, start, SEEK_HOLE);
        if (end < 0 || (u_signed64)end > size)
            end = (off_t)size;
        bytes += (u_signed64)(end - start);
        at = end;
    }
    return bytes;
}

/* ---- reading ---- */

int data_size(const struct descriptor *descriptor, u_signed64 *size) {
    struct stat status;
    if (descriptor->data < 0) {
        *size = descriptor->view_size;
        return 0;
    }
    if (fstat(descriptor->data, &status) != 0)
        return HPSS_EIO;
    *size = (u_signed64)status.st_size;
    return 0;
}

/* The size of the file once its bytes can be read. */
static int wait_readable(struct call *call, struct descriptor *descriptor, u_signed64 *size) {
    enum residency residency;
    int code = residency_of(call->context, descriptor->object, size, &residency);
    if (code == HPSS_ENOENT)
        return data_size(descriptor, size);
    if (code == 0 && residency == NOT_ON_DISK) {
        code = residency_wait(call, descriptor->object);
        if (code == 0)
            code = residency_of(call->context, descriptor->object, size, &residency);
    }
    return code;
}

static ssize_t read_all(int data, void *buffer, size_t size, u_signed64 offset) {
    ssize_t count;
    do
        count = pread(data, buffer, size, (off_t)offset);
    while (count < 0 && errno == EINTR);
    return count < 0 ? local_error() : count;
}

/* Bytes that were written after the view was taken are read by name. */
static ssize_t read_bytes(const struct descriptor *descriptor, void *buffer, size_t size, u_signed64 offset) {
    if (descriptor->data >= 0)
        return read_all(descriptor->data, buffer, size, offset);
    if (offset + size <= descriptor->view_size) {
        memcpy(buffer, (const char *)descriptor->view + offset, size);
        return (ssize_t)size;
    }
    char name[32];
    data_name(descriptor->object, name);
    int data = openat(descriptor->archive->data, name, O_RDONLY | O_CLOEXEC);
    if (data < 0)
        return HPSS_EIO;
    ssize_t count = read_all(data, buffer, size, offset);
    close(data);
    return count;
}

ssize_t data_read(struct call *call, struct descriptor *descriptor, void *buffer, size_t size, u_signed64 offset) {
    u_signed64 end;
    int code = descriptor_check(descriptor);
    if (code == 0 && (descriptor->flags & O_ACCMODE) == O_WRONLY)
        code = HPSS_EBADF;
    if (code == 0)
        code = wait_readable(call, descriptor, &end);
    if (code != 0)
        return code;
    descriptor->has_read = true;
    if (offset >= end || size == 0)
        return 0;
    if (size > end - offset)
        size = (size_t)(end - offset);
    return read_bytes(descriptor, buffer, size, offset);
}

ssize_t hpss_Read(int Fildes, void *Buf, size_t Nbyte) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    ssize_t count = call_begin(&call, FN_Read, descriptor_path(Fildes, path));
    if (count == 0)
        count = Buf == NULL && Nbyte > 0 ? HPSS_EFAULT : descriptor_get(Fildes, false, &descriptor);
    if (count == 0) {
        size_t size = call.is_short && call.limit < Nbyte ? call.limit : Nbyte;
        count = data_read(&call, descriptor, Buf, size, descriptor->offset);
        if (count > 0)
            descriptor->offset += (u_signed64)count;
        descriptor->is_cut_off |= call.is_cut_off;
        descriptor_put(descriptor);
    }
    return (ssize_t)call_end(&call, count);
}

/* ---- writing ---- */

static int check_writable(struct call *call, struct descriptor *descriptor) {
    u_signed64 size;
    int code = descriptor_check(descriptor);
    if (code == 0 && (descriptor->flags & O_ACCMODE) == O_RDONLY)
        code = HPSS_EBADF;
    /* What is not replaced has to be there: a purged file is brought first. */
    return code == 0 ? wait_readable(call, descriptor, &size) : code;
}

static int check_room(struct call *call, const struct object *object, u_signed64 end, u_signed64 more) {
    const struct service_class *class = settings_class(&call->context->settings, object->cos);
    if (end > MAX_OFFSET || (class != NULL && class->enforce_max && end > class->max_size))
        return HPSS_EFBIG;
    if (class == NULL || !class->is_disk[0])
        return 0;
    int has_room = tape_disk_has_room(call->context->database.tape, more);
    return has_room < 0 ? has_room : has_room ? 0 : HPSS_ENOSPACE;
}

/* The file now has this size and these bytes at level 0; copies elsewhere are out of date. */
static int account(struct call *call, const struct object *object, u_signed64 size, u_signed64 bytes) {
    struct database *database = &call->context->database;
    const struct service_class *class = settings_class(&call->context->settings, object->cos);
    sqlite3_int64 now = (sqlite3_int64)call_now(call);
    int code = db_run(database, "UPDATE object SET size = ?, written = ?, changed = ? WHERE id = ?", "iiii",
                      (sqlite3_int64)size, now, now, object->id);
    if (code == 0)
        code = db_run(database,
                      "INSERT INTO level (object, level, bytes) VALUES (?, 0, ?)"
                      " ON CONFLICT (object, level) DO UPDATE SET bytes = excluded.bytes",
                      "ii", object->id, (sqlite3_int64)bytes);
    /* On tape only, the bytes are laid down when all of them are there. */
    bool is_on_disk = class != NULL && class->is_disk[0];
    return code == 0 && is_on_disk ? tape_written(database->tape, object->id, call_now(call)) : code;
}

static int bytes_at_top(struct context *context, object_id object, u_signed64 *bytes) {
    sqlite3_int64 value;
    int code = db_integer(&context->database, &value, 0, "SELECT bytes FROM level WHERE object = ? AND level = 0", "i",
                          object);
    *bytes = (u_signed64)value;
    return code;
}

/* Accounts for `count` bytes that have been written at `offset`. */
static int account_write(struct call *call, struct descriptor *descriptor, u_signed64 offset, u_signed64 count) {
    struct context *context = call->context;
    struct object object;
    u_signed64 bytes = 0;
    int code = db_write(&context->database);
    int found = code == 0 ? object_load(context, descriptor->object, &object) : code;
    if (found == 1) {
        u_signed64 end = offset + count > object.size ? offset + count : object.size;
        code = bytes_at_top(context, object.id, &bytes);
        /* Behind the end, all of it is new; before it, some may fill a hole, and the file is asked. */
        bytes = offset >= object.size ? bytes + count : data_bytes(descriptor->data, end);
        if (code == 0)
            code = account(call, &object, end, bytes < end ? bytes : end);
    } else if (found < 0) {
        code = found;
    }
    return db_end(&context->database, code);
}

ssize_t data_write(struct call *call, struct descriptor *descriptor, const void *buffer, size_t size) {
    struct object object;
    int code = check_writable(call, descriptor);
    int found = code == 0 ? object_load(call->context, descriptor->object, &object) : code;
    if (found < 0)
        return found;
    if (found == 1 && (descriptor->flags & O_APPEND) != 0)
        descriptor->offset = object.size;
    u_signed64 offset = descriptor->offset;
    if (found == 1)
        code = check_room(call, &object, offset + size, offset + size > object.size ? size : 0);
    if (code != 0 || size == 0)
        return code;
    ssize_t count;
    do
        count = pwrite(descriptor->data, buffer, size, (off_t)offset);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return local_error();
    descriptor->has_written = true;
    if (found == 1)
        code = account_write(call, descriptor, offset, (u_signed64)count);
    if (code != 0)
        return code;
    descriptor->offset = offset + (u_signed64)count;
    return count;
}

ssize_t hpss_Write(int Fildes, const void *Buf, size_t Nbyte) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    ssize_t count = call_begin(&call, FN_Write, descriptor_path(Fildes, path));
    if (count == 0)
        count = Buf == NULL && Nbyte > 0 ? HPSS_EFAULT : descriptor_get(Fildes, false, &descriptor);
    if (count == 0) {
        size_t size = call.is_short && call.limit < Nbyte ? call.limit : Nbyte;
        count = data_write(&call, descriptor, Buf, size);
        descriptor->is_cut_off |= call.is_cut_off;
        descriptor_put(descriptor);
    }
    return (ssize_t)call_end(&call, count);
}

int data_settle(struct call *call, struct descriptor *descriptor) {
    struct context *context = call->context;
    struct object object;
    int code = db_write(&context->database);
    int found = code == 0 ? object_load(context, descriptor->object, &object) : 0;
    if (found == 1) {
        const struct service_class *class = settings_class(&context->settings, object.cos);
        if (class != NULL && !class->is_disk[0])
            code = tape_written(context->database.tape, object.id, call_now(call));
    }
    descriptor->has_written = false;
    return db_end(&context->database, found < 0 ? found : code);
}

int data_resize(struct call *call, struct descriptor *descriptor, u_signed64 length) {
    struct context *context = call->context;
    struct object object;
    int code = length > MAX_OFFSET ? HPSS_EFBIG : check_writable(call, descriptor);
    if (code == 0)
        code = db_write(&context->database);
    int found = code == 0 ? object_load(context, descriptor->object, &object) : code;
    if (found == 1)
        code = check_room(call, &object, length, 0);
    if (found >= 0 && code == 0 && ftruncate(descriptor->data, (off_t)length) != 0)
        code = local_error();
    if (found == 1 && code == 0) {
        u_signed64 bytes;
        code = bytes_at_top(context, object.id, &bytes);
        if (length < object.size)
            bytes = data_bytes(descriptor->data, length);
        if (code == 0)
            code = account(call, &object, length, bytes);
    }
    if (code == 0)
        descriptor->has_written = true;
    return db_end(&context->database, found < 0 ? found : code);
}

int hpss_Fsync(int Fildes) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Fsync, descriptor_path(Fildes, path));
    if (code == 0)
        code = descriptor_get(Fildes, false, &descriptor);
    if (code == 0) {
        code = descriptor_check(descriptor);
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

int hpss_Fpreallocate(int Fildes, u_signed64 Length) {
    struct call call;
    struct descriptor *descriptor;
    struct object object;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Fpreallocate, descriptor_path(Fildes, path));
    if (code == 0)
        code = descriptor_get(Fildes, false, &descriptor);
    if (code == 0) {
        code = check_writable(&call, descriptor);
        int found = code == 0 ? object_load(call.context, descriptor->object, &object) : code;
        if (found == 1)
            code = check_room(&call, &object, Length, Length > object.size ? Length - object.size : 0);
        else if (found < 0)
            code = found;
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

static int copy_bytes(struct call *call, struct descriptor *from, struct descriptor *to, void *buffer) {
    for (;;) {
        ssize_t count = data_read(call, from, buffer, COPY_SIZE, from->offset);
        if (count <= 0)
            return (int)count;
        from->offset += (u_signed64)count;
        ssize_t written = data_write(call, to, buffer, (size_t)count);
        if (written != count)
            return written < 0 ? (int)written : HPSS_EIO;
    }
}

int hpss_CopyFile(int SrcFildes, int DestFildes) {
    struct call call;
    struct descriptor *from, *to;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_CopyFile, descriptor_path(SrcFildes, path));
    void *buffer = code == 0 ? malloc(COPY_SIZE) : NULL;
    if (code == 0)
        code = buffer == NULL ? HPSS_ENOMEM : SrcFildes == DestFildes ? HPSS_EINVAL : 0;
    if (code == 0)
        code = descriptor_get(SrcFildes, false, &from);
    if (code == 0) {
        code = descriptor_get(DestFildes, false, &to);
        if (code == 0) {
            code = copy_bytes(&call, from, to, buffer);
            descriptor_put(to);
        }
        descriptor_put(from);
    }
    free(buffer);
    return (int)call_end(&call, code);
}
