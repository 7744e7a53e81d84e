/* Sizes of the client API.  Where no public source gives a number, it is the simulator's own. */
#ifndef HPSS_LIMITS_H
#define HPSS_LIMITS_H

#define HPSS_MAX_PATH_NAME 1023
#define HPSS_MAX_FILE_NAME 255
#define HPSS_MAX_OBJECT_NAME 64
#define HPSS_MAX_DESC_NAME 64
#define HPSS_MAX_USER_NAME 256
#define HPSS_MAX_REALM_NAME 256
#define HPSS_MAX_PRINCIPAL_NAME 256
#define HPSS_MAX_GROUP_NAME 256
#define HPSS_MAX_HOST_NAME 256
#define HPSS_MAX_COS_NAME 32
#define HPSS_MAX_COMMENT 256
#define HPSS_PV_NAME_SIZE 9
#define HPSS_NGROUPS_MAX 16
#define HPSS_NET_MAXBUF 64

#define HPSS_MAX_STORAGE_LEVELS 5
#define BFS_MAX_VV_TO_RETURN_AT_LEVEL 10

#endif
