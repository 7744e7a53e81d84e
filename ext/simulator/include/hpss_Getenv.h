/* Variables: HPSS's own environment file first, then the process's environment. */
#ifndef HPSS_GETENV_H
#define HPSS_GETENV_H

char *hpss_Getenv(const char *Env);

#endif
