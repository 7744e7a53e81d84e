/* Streams: a buffer over a descriptor.  Unlike everything else they tell errors through errno. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

#define BUFFER_SIZE ((size_t)1 << 20)

struct hpss_file {
    int number;
    char *buffer;
    size_t filled; /* bytes read ahead, or waiting to be written */
    size_t used;   /* of those read ahead, given to the caller */
    bool is_writing;
};

static int mode_flags(const char *mode) {
    bool both = strchr(mode, '+') != NULL;
    switch (mode[0]) {
    case 'r':
        return both ? O_RDWR : O_RDONLY;
    case 'w':
        return (both ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
    case 'a':
        return (both ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
    default:
        return -1;
    }
}

/* The variable HPSS_COS names the class of service of files that streams create. */
static bool class_from_environment(hpss_cos_hints_t *hints, hpss_cos_priorities_t *priorities) {
    const char *text = hpss_Getenv("HPSS_COS");
    *hints = (hpss_cos_hints_t){.COSId = text == NULL ? 0 : (unsigned32)strtoul(text, NULL, 10)};
    *priorities = (hpss_cos_priorities_t){.COSIdPriority = REQUIRED_PRIORITY};
    return hints->COSId != 0;
}

HPSS_FILE *hpss_Fopen(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST char *Mode) {
    struct call call;
    hpss_cos_hints_t hints;
    hpss_cos_priorities_t priorities;
    HPSS_FILE *stream = calloc(1, sizeof *stream);
    char *buffer = malloc(BUFFER_SIZE);
    int flags = Mode == NULL ? -1 : mode_flags(Mode);
    int code = call_begin(&call, FN_Fopen, Path);
    if (code == 0)
        code = stream == NULL || buffer == NULL ? HPSS_ENOMEM : flags < 0 ? HPSS_EINVAL : 0;
    int number = -1;
    if (code == 0) {
        bool is_given = class_from_environment(&hints, &priorities);
        code = data_open(&call, Path, flags, 0666, is_given ? &hints : NULL, is_given ? &priorities : NULL, NULL);
        number = code;
    }
    code = (int)call_end(&call, code);
    if (code < 0) {
        data_drop(number);
        free(buffer);
        free(stream);
        errno = local_errno(code);
        return NULL;
    }
    *stream = (struct hpss_file){.number = number, .buffer = buffer};
    return stream;
}

/* ---- the buffer ---- */

static int write_out(struct call *call, HPSS_FILE *stream, struct descriptor *descriptor) {
    size_t done = 0;
    ssize_t count = 0;
    while (stream->is_writing && done < stream->filled && count >= 0) {
        count = data_write(call, descriptor, stream->buffer + done, stream->filled - done);
        if (count > 0)
            done += (size_t)count;
    }
    if (stream->is_writing) {
        memmove(stream->buffer, stream->buffer + done, stream->filled - done);
        stream->filled -= done;
    }
    return count < 0 ? (int)count : 0;
}

/* Makes the descriptor stand where the caller of the stream stands, with nothing in the buffer. */
static int settle(struct call *call, HPSS_FILE *stream, struct descriptor *descriptor) {
    int code = write_out(call, stream, descriptor);
    if (code == 0 && !stream->is_writing)
        descriptor->offset -= stream->filled - stream->used;
    if (code == 0) {
        stream->filled = stream->used = 0;
        stream->is_writing = false;
    }
    return code;
}

static int fill(struct call *call, HPSS_FILE *stream, struct descriptor *descriptor) {
    ssize_t count = data_read(call, descriptor, stream->buffer, BUFFER_SIZE, descriptor->offset);
    stream->used = 0;
    stream->filled = count > 0 ? (size_t)count : 0;
    descriptor->offset += stream->filled;
    return count < 0 ? (int)count : 0;
}

static int take(struct call *call, HPSS_FILE *stream, struct descriptor *descriptor, char *out, size_t size,
                size_t *taken) {
    int code = stream->is_writing ? settle(call, stream, descriptor) : 0;
    while (code == 0 && *taken < size) {
        if (stream->used == stream->filled) {
            code = fill(call, stream, descriptor);
            if (stream->filled == 0)
                break;
        }
        size_t part = stream->filled - stream->used;
        if (part > size - *taken)
            part = size - *taken;
        memcpy(out + *taken, stream->buffer + stream->used, part);
        stream->used += part;
        *taken += part;
    }
    return code;
}

static int put(struct call *call, HPSS_FILE *stream, struct descriptor *descriptor, const char *in, size_t size,
               size_t *given) {
    int code = stream->is_writing ? 0 : settle(call, stream, descriptor);
    stream->is_writing = true;
    while (code == 0 && *given < size) {
        if (stream->filled == BUFFER_SIZE)
            code = write_out(call, stream, descriptor);
        size_t part = BUFFER_SIZE - stream->filled;
        if (part > size - *given)
            part = size - *given;
        memcpy(stream->buffer + stream->filled, in + *given, part);
        stream->filled += part;
        *given += part;
    }
    return code;
}

/* ---- the public functions ---- */

struct stream_call {
    struct call call;
    struct descriptor *descriptor; /* NULL when the call does not run */
    char path[HPSS_MAX_PATH_NAME + 1];
};

static int begin(struct stream_call *at, enum function function, HPSS_FILE *stream) {
    at->descriptor = NULL;
    const char *path = stream == NULL ? NULL : descriptor_path(stream->number, at->path);
    int code = call_begin(&at->call, function, path);
    if (code == 0)
        code = stream == NULL ? HPSS_EBADF : descriptor_get(stream->number, false, &at->descriptor);
    return code;
}

static long long end(struct stream_call *at, long long code) {
    if (at->descriptor != NULL)
        descriptor_put(at->descriptor);
    return call_end(&at->call, code);
}

/* The items that went through.  An error shows in errno alone, which success leaves as it was. */
static size_t count_items(struct stream_call *at, int code, size_t bytes, size_t size) {
    if (code == 0 && at->call.is_short)
        code = HPSS_EIO; /* the fault: so many bytes, and then an error */
    code = (int)end(at, code);
    if (code < 0)
        errno = local_errno(code);
    return bytes / size;
}

static size_t wanted_bytes(const struct call *call, size_t size, size_t items) {
    size_t bytes;
    if (__builtin_mul_overflow(size, items, &bytes))
        bytes = SIZE_MAX;
    return call->is_short && call->limit < bytes ? call->limit : bytes;
}

size_t hpss_Fread(void *Ptr, size_t Size, size_t Num, HPSS_FILE *Stream) {
    struct stream_call at;
    size_t bytes = 0;
    if (Size == 0 || Num == 0)
        return 0;
    int code = begin(&at, FN_Fread, Stream);
    if (code == 0)
        code = take(&at.call, Stream, at.descriptor, Ptr, wanted_bytes(&at.call, Size, Num), &bytes);
    return count_items(&at, code, bytes, Size);
}

size_t hpss_Fwrite(const void *Ptr, size_t Size, size_t Num, HPSS_FILE *Stream) {
    struct stream_call at;
    size_t bytes = 0;
    if (Size == 0 || Num == 0)
        return 0;
    int code = begin(&at, FN_Fwrite, Stream);
    if (code == 0 && (at.descriptor->flags & O_ACCMODE) == O_RDONLY)
        code = HPSS_EBADF;
    if (code == 0)
        code = put(&at.call, Stream, at.descriptor, Ptr, wanted_bytes(&at.call, Size, Num), &bytes);
    return count_items(&at, code, bytes, Size);
}

int hpss_Fseek(HPSS_FILE *Stream, long Offset, int Whence) {
    struct stream_call at;
    u_signed64 result;
    int code = begin(&at, FN_Fseek, Stream);
    if (code == 0)
        code = settle(&at.call, Stream, at.descriptor);
    if (code == 0)
        code = data_seek(&at.call, at.descriptor, Offset, Whence, &result);
    return (int)end(&at, code);
}

long hpss_Ftell(HPSS_FILE *Stream) {
    struct stream_call at;
    long long position = begin(&at, FN_Ftell, Stream);
    if (position == 0) {
        size_t pending = Stream->is_writing ? Stream->filled : Stream->filled - Stream->used;
        position = (long long)at.descriptor->offset + (Stream->is_writing ? (long long)pending : -(long long)pending);
    }
    return (long)end(&at, position);
}

int hpss_Fflush(HPSS_FILE *Stream) {
    struct stream_call at;
    int code = begin(&at, FN_Fflush, Stream);
    if (code == 0)
        code = write_out(&at.call, Stream, at.descriptor);
    return (int)end(&at, code);
}

int hpss_Fclose(HPSS_FILE *Stream) {
    struct stream_call at;
    int code = begin(&at, FN_Fclose, Stream);
    if (Stream == NULL)
        return (int)end(&at, code);
    if (code == 0)
        code = write_out(&at.call, Stream, at.descriptor);
    if (at.descriptor != NULL) {
        descriptor_put(at.descriptor);
        at.descriptor = NULL;
    }
    int closed = data_close(&at.call, code, Stream->number);
    free(Stream->buffer);
    free(Stream);
    return (int)end(&at, code == 0 ? closed : code);
}

int hpss_Fgetc(HPSS_FILE *Stream) {
    struct stream_call at;
    unsigned char byte_read;
    size_t bytes = 0;
    int code = begin(&at, FN_Fgetc, Stream);
    if (code == 0)
        code = take(&at.call, Stream, at.descriptor, (char *)&byte_read, 1, &bytes);
    return count_items(&at, code, bytes, 1) == 1 ? byte_read : -1;
}

char *hpss_Fgets(char *Text, int Size, HPSS_FILE *Stream) {
    struct stream_call at;
    int length = 0;
    size_t bytes = 1;
    int code = begin(&at, FN_Fgets, Stream);
    if (code == 0 && (Text == NULL || Size < 1))
        code = HPSS_EINVAL;
    while (code == 0 && bytes == 1 && length < Size - 1 && (length == 0 || Text[length - 1] != '\n')) {
        bytes = 0;
        code = take(&at.call, Stream, at.descriptor, Text + length, 1, &bytes);
        length += (int)bytes;
    }
    if (code == 0)
        Text[length] = 0;
    return count_items(&at, code, (size_t)length, 1) > 0 ? Text : NULL;
}
