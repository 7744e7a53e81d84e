/* Descriptors and bytes. */
#include "shim_sdk.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int shim_create(const char *path, int64_t size, uint32_t cos, uint32_t family) {
    hpss_cos_hints_t hints;
    hpss_cos_priorities_t priorities;
    memset(&hints, 0, sizeof hints);
    memset(&priorities, 0, sizeof priorities);
    if (cos != 0) {
        hints.COSId = cos;
        priorities.COSIdPriority = REQUIRED_PRIORITY;
    } else if (size >= 0) {
        hints.MinFileSize = (u_signed64)size;
        hints.MaxFileSize = (u_signed64)size;
        priorities.MinFileSizePriority = REQUIRED_PRIORITY;
        /* Required, a file larger than the largest class's maximum would be refused even where that class takes it. */
        priorities.MaxFileSizePriority = HIGHLY_DESIRED_PRIORITY;
    }
    if (family != 0) {
        hints.FamilyId = family;
        priorities.FamilyIdPriority = REQUIRED_PRIORITY;
    }
    return hpss_Open((char *)path, O_WRONLY | O_CREAT | O_EXCL, 0600, &hints, &priorities, NULL);
}

int shim_open(const char *path, int flags) {
    return hpss_Open((char *)path, flags, 0, NULL, NULL, NULL);
}

int shim_close(int descriptor) {
    return hpss_Close(descriptor);
}

int64_t shim_read(int descriptor, void *buffer, size_t size) {
    return hpss_Read(descriptor, buffer, size);
}

int64_t shim_write(int descriptor, const void *buffer, size_t size) {
    return hpss_Write(descriptor, (void *)buffer, size);
}

int64_t shim_seek(int descriptor, int64_t offset) {
    return hpss_Lseek(descriptor, offset, SEEK_SET);
}

int shim_fsync(int descriptor) {
#if SHIM_HAS_FSYNC
    return hpss_Fsync(descriptor);
#else
    (void)descriptor;
    return HPSS_EOPNOTSUPP;
#endif
}
