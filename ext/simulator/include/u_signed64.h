/* 64-bit integers in the client API's way.  On LP64 u_signed64 is a plain integer, and the simulator is built for no
   other machine. */
#ifndef U_SIGNED64_H
#define U_SIGNED64_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t u_signed64;

/* As in callers' usage: a 32-bit value goes in. */
#define cast64m(a) ((u_signed64)(a))
#define cast32m(a) ((uint32_t)(a))
#define bld64m(high, low) (((u_signed64)(uint32_t)(high) << 32) | (uint32_t)(low))
#define high32m(a) ((uint32_t)((a) >> 32))
#define low32m(a) ((uint32_t)((a)&0xffffffffu))
#define add64m(a, b) ((u_signed64)(a) + (u_signed64)(b))
#define sub64m(a, b) ((u_signed64)(a) - (u_signed64)(b))
#define mul64m(a, b) ((u_signed64)(a) * (uint32_t)(b))
#define div64m(a, b) ((u_signed64)(a) / (uint32_t)(b))
#define eqz64m(a) ((a) == 0)
#define neqz64m(a) ((a) != 0)
#define eq64m(a, b) ((a) == (b))
#define neq64m(a, b) ((a) != (b))
#define lt64m(a, b) ((a) < (b))
#define le64m(a, b) ((a) <= (b))
#define gt64m(a, b) ((a) > (b))
#define ge64m(a, b) ((a) >= (b))
#define gt64(a, b) ((a) > (b))
/* Sets of bits, numbered from 0. */
#define orbit64m(a, bit) ((u_signed64)(a) | ((u_signed64)1 << (bit)))
#define chkbit64m(a, bit) ((((u_signed64)(a)) >> (bit)) & 1)

#define CONVERT_U64_TO_LONGLONG(u64, ll) ((ll) = (long long)(u64))
#define CONVERT_LONGLONG_TO_U64(ll, u64) ((u64) = (u_signed64)(ll))
#define u64_to_decchar(u64, text) ((void)sprintf((text), "%" PRIu64, (uint64_t)(u64)))
#define u64tostr_r(u64, text) ((void)sprintf((text), "%" PRIu64, (uint64_t)(u64)))

#endif
