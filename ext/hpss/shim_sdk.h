/*
 * The SDK as the shim's own files see it.  shim_config.h is written by build.py from what its probes found.
 *
 * Up to 7.4 the SDK's prototypes take `char *` for strings that they only read.  A plain `(char *)` satisfies those and
 * the later `const char *` alike, so there is nothing to probe.
 */
#ifndef SHIM_SDK_H
#define SHIM_SDK_H

#include "shim_config.h"

#include <hpss_api.h>
#include <hpss_errno.h>
#include <hpss_limits.h>
#include <hpss_types.h>
#if __has_include(<hpss_stat.h>)
#include <hpss_stat.h>
#endif
#if __has_include(<hpss_String.h>)
#include <hpss_String.h>
#endif
#if __has_include(<hpss_version.h>)
#include <hpss_version.h>
#endif
#if __has_include(<hpss_xml.h>)
#include <hpss_xml.h>
#endif

#include "shim.h"

/* 64-bit values are used as the plain integers that they are on LP64; elsewhere this does not compile. */
_Static_assert((u_signed64)-1 == UINT64_MAX, "u_signed64 must be a 64-bit integer");

/* What names a bitfile to the stage calls. */
#if SHIM_HAS_BITFILE_OBJECT
typedef bfs_bitfile_obj_handle_t shim_bitfile;
#else
typedef hpssoid_t shim_bitfile;
#endif
_Static_assert(sizeof(shim_bitfile) <= SHIM_BITFILE_SIZE, "SHIM_BITFILE_SIZE is too small for this SDK");

/* A UUID as hpss_reqid_t, in whichever form this SDK has it; and the bytes of one. */
hpss_reqid_t shim_request_id(const unsigned char uuid[SHIM_REQUEST_SIZE]);

/* The bitfile that a caller kept as bytes; false when the bytes are none. */
int shim_load_bitfile(shim_bitfile *bitfile, const unsigned char *bytes, size_t size);

/* The library's word for the state of a stage, as one of SHIM_STAGE_*. */
int shim_stage_state(int status);

#endif
