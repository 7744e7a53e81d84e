/* Where the next byte goes, and where the file ends. */
#include <unistd.h>

#include "sim.h"

static int base_of(struct call *call, const struct descriptor *descriptor, int whence, sqlite3_int64 *base) {
    switch (whence) {
    case SEEK_SET:
        *base = 0;
        return 0;
    case SEEK_CUR:
        *base = (sqlite3_int64)descriptor->offset;
        return 0;
    case SEEK_END:
        return db_integer(&call->context->database, base, 0, "SELECT size FROM object WHERE id = ?", "i",
                          descriptor->object);
    default:
        return HPSS_EINVAL;
    }
}

int data_seek(struct call *call, struct descriptor *descriptor, hpss_off_t offset, int whence, u_signed64 *result) {
    sqlite3_int64 base, target;
    int code = descriptor_check(descriptor);
    if (code == 0)
        code = base_of(call, descriptor, whence, &base);
    if (code == 0 && (__builtin_add_overflow(base, offset, &target) || target < 0))
        code = HPSS_EINVAL;
    if (code == 0) {
        descriptor->offset = (u_signed64)target;
        *result = descriptor->offset;
    }
    return code;
}

static int seek_descriptor(struct call *call, int number, hpss_off_t offset, int whence, u_signed64 *result) {
    struct descriptor *descriptor;
    int code = descriptor_get(number, false, &descriptor);
    if (code == 0) {
        code = data_seek(call, descriptor, offset, whence, result);
        descriptor_put(descriptor);
    }
    return code;
}

hpss_off_t hpss_Lseek(int Fildes, hpss_off_t Offset, int Whence) {
    struct call call;
    char path[HPSS_MAX_PATH_NAME + 1];
    u_signed64 result = 0;
    int code = call_begin(&call, FN_Lseek, descriptor_path(Fildes, path));
    if (code == 0)
        code = seek_descriptor(&call, Fildes, Offset, Whence, &result);
    return call_end(&call, code == 0 ? (hpss_off_t)result : code);
}

int hpss_SetFileOffset(int Fildes, u_signed64 OffsetIn, int Whence, int Direction, u_signed64 *OffsetOut) {
    struct call call;
    char path[HPSS_MAX_PATH_NAME + 1];
    u_signed64 result;
    int code = call_begin(&call, FN_SetFileOffset, descriptor_path(Fildes, path));
    if (code == 0 && OffsetOut == NULL)
        code = HPSS_EFAULT;
    bool is_backward = Direction == HPSS_SET_OFFSET_BACKWARD;
    if (code == 0 && (OffsetIn > INT64_MAX || !(is_backward || Direction == HPSS_SET_OFFSET_FORWARD)))
        code = HPSS_EINVAL;
    if (code == 0)
        code = seek_descriptor(&call, Fildes, (is_backward ? -1 : 1) * (hpss_off_t)OffsetIn, Whence, &result);
    if (code == 0)
        *OffsetOut = result;
    return (int)call_end(&call, code);
}

/* ---- cutting and stretching ---- */

int hpss_Ftruncate(int Fildes, u_signed64 Length) {
    struct call call;
    struct descriptor *descriptor;
    char path[HPSS_MAX_PATH_NAME + 1];
    int code = call_begin(&call, FN_Ftruncate, descriptor_path(Fildes, path));
    if (code == 0)
        code = descriptor_get(Fildes, false, &descriptor);
    if (code == 0) {
        code = data_resize(&call, descriptor, Length);
        descriptor_put(descriptor);
    }
    return (int)call_end(&call, code);
}

static int truncate_path(struct call *call, const char *path, u_signed64 length) {
    struct descriptor *descriptor;
    int number = data_open(call, path, O_WRONLY | O_NONBLOCK, 0, NULL, NULL, NULL);
    if (number < 0)
        return number;
    int code = descriptor_get(number, false, &descriptor);
    if (code == 0) {
        code = data_resize(call, descriptor, length);
        descriptor_put(descriptor);
    }
    int closed = data_close(call, 0, number);
    return code == 0 ? closed : code;
}

int hpss_Truncate(HPSS_SIM_CONST char *Path, u_signed64 Length) {
    struct call call;
    int code = call_begin(&call, FN_Truncate, Path);
    if (code == 0)
        code = truncate_path(&call, Path, Length);
    return (int)call_end(&call, code);
}
