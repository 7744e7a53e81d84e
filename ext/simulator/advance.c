/* The simulator's own way in, for tools that change an archive from outside. */
#include "sim.h"

int hpss_sim_advance(const char *ArchiveDirectory) {
    struct context context = {0};
    struct archive *archive;
    if (ArchiveDirectory == NULL)
        return HPSS_EFAULT;
    int code = archive_open(ArchiveDirectory, &archive);
    if (code != 0)
        return code;
    code = context_connect(&context, archive);
    if (code == 0)
        code = call_advance(&(struct call){.context = &context});
    context_disconnect(&context);
    archive_release(archive);
    return code;
}
