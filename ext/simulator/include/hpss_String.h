/* Names and texts of codes. */
#ifndef HPSS_STRING_H
#define HPSS_STRING_H

const char *hpss_ErrnoName(int Code);
char *hpss_ErrnoString(int Code);

#endif
