/* The client API as far as public callers show it.  Written from scratch for the simulator in this folder's parent:
   the names are the real ones, the values of flags and enumerations are not.  Compile against names only. */
#ifndef HPSS_API_H
#define HPSS_API_H

#include <fcntl.h>
#include <sys/types.h>
#include <utime.h>

#include "hpss_Getenv.h"
#include "hpss_String.h"
#include "hpss_errno.h"
#include "hpss_limits.h"
#include "hpss_mech.h"
#include "hpss_stat.h"
#include "hpss_types.h"
#include "hpss_version.h"
#include "hpss_xml.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Paths and the like became const with 7.5. */
#if HPSS_SIM_LEVEL >= 750
#define HPSS_SIM_CONST const
#else
#define HPSS_SIM_CONST
#endif

/* ---- session, configuration, threads ---- */

#define API_ENABLE_LOGGING 0x1
#define API_DISABLE_CROSS_REALM 0x2
#define API_DISABLE_JUNCTIONS 0x4
#define API_USE_CONFIG 0x8
#define API_USE_SAN3P 0x10

#define API_TRANSFER_TCP 0
#define API_TRANSFER_MVRSELECT 1

#define API_DEBUG_ERROR 1
#define API_DEBUG_REQUEST 2
#define API_DEBUG_TRACE 4

typedef struct api_config {
    unsigned32 Flags;
    int DebugValue;
    int TransferType;
    int NumRetries;
    int BusyDelay;
    int BusyRetries;
    int TotalDelay;
    int LimitedRetries;
    int MaxConnections;
    int ReuseDataConnections;
    int UsePortRange;
    int RetryStageInp;
    int DMAPWriteUpdates;
    hpss_authn_mech_t AuthnMech;
    hpss_rpc_prot_level_t RPCProtLevel;
    char DescName[HPSS_MAX_DESC_NAME];
    char DebugPath[HPSS_MAX_PATH_NAME + 1];
    char HostName[HPSS_MAX_HOST_NAME];
    signed32 XMLSize;
} api_config_t;

typedef struct hpss_errno_state {
    int hpss_errno;
    char func[64];
    hpss_reqid_t requestId;
} hpss_errno_state_t;

int hpss_SetLoginCred(char *PrincipalName, hpss_authn_mech_t Mechanism, hpss_rpc_cred_type_t CredType,
                      hpss_rpc_auth_type_t AuthType, void *Authenticator);
void hpss_PurgeLoginCred(void);
void hpss_ClientAPIReset(void);
int hpss_GetConfiguration(api_config_t *ConfigOut);
int hpss_SetConfiguration(const api_config_t *ConfigIn);
int hpss_LoadDefaultThreadState(uid_t UserID, mode_t Umask, char *ClientFullName);
int hpss_LoadThreadState(uid_t UserID, mode_t Umask, char *ClientFullName);
int hpss_GetThreadUcred(sec_cred_t *RetUcred);
mode_t hpss_Umask(mode_t CMask);
char *hpss_BuildLevelString(void);
hpss_errno_state_t hpss_GetLastHPSSErrno(void);
void hpss_ClearLastHPSSErrno(void);
#if HPSS_SIM_LEVEL >= 750
/* No public caller shows this one: the shape is a guess. */
void hpss_ThreadCleanUp(void);
int hpss_LookupRootCS(char *SiteOrRealm, hpss_srvr_id_t *CoreServerID);
int hpss_PingCore(hpss_srvr_id_t *CoreServerID, unsigned32 *RecvSecs, unsigned32 *RecvUSecs);
#else
int hpss_LookupRootCS(char *SiteOrRealm, hpss_uuid_t *CoreServerID);
int hpss_PingCore(hpss_uuid_t *CoreServerID, unsigned32 *RecvSecs, unsigned32 *RecvUSecs);
#endif

/* ---- metadata ---- */

#define CORE_OPTION_FLAG_DONT_PURGE 0x1

/* Numbers of the attributes, for selections made with orbit64m. */
enum {
    CORE_ATTR_ACCOUNT = 0,
    CORE_ATTR_COMMENT,
    CORE_ATTR_COS_ID,
    CORE_ATTR_DATA_LENGTH,
    CORE_ATTR_FAMILY_ID,
    CORE_ATTR_GID,
    CORE_ATTR_MODE_PERMS,
    CORE_ATTR_TIME_CREATED,
    CORE_ATTR_TIME_LAST_READ,
    CORE_ATTR_TIME_LAST_WRITTEN,
    CORE_ATTR_TIME_MODIFIED,
    CORE_ATTR_UID,
    CORE_ATTR_USER_PERMS,
    CORE_ATTR_GROUP_PERMS,
    CORE_ATTR_OTHER_PERMS
};

typedef u_signed64 hpss_fileattrbits_t;

typedef struct hpss_Attrs {
    acct_rec_t Account;
#if HPSS_SIM_LEVEL >= 750
    bfs_bitfile_obj_handle_t BitfileObj;
#else
    hpssoid_t BitfileId;
#endif
    char Comment[HPSS_MAX_COMMENT];
    byte CompositePerms;
    unsigned32 COSId;
    u_signed64 DataLength;
    unsigned32 EntryCount;
    byte ExtendedACLs;
    unsigned32 FamilyId;
    ns_ObjHandle_t FilesetHandle;
    u_signed64 FilesetId;
#if HPSS_SIM_LEVEL >= 750
    u_signed64 FilesetRootObjectId;
#else
    u_signed64 FilesetRootId;
#endif
    unsigned32 FilesetStateFlags;
    unsigned32 FilesetType;
    unsigned32 GID;
    byte GroupPerms;
    unsigned32 LinkCount;
    byte ModePerms;
    unsigned32 OpenCount;
    unsigned32 OptionFlags;
    byte OtherPerms;
    unsigned32 ReadCount;
    unsigned32 RealmId;
    u_signed64 RegisterBitMap;
    unsigned32 SubSystemId;
    timestamp_sec_t TimeCreated;
    timestamp_sec_t TimeLastRead;
    timestamp_sec_t TimeLastWritten;
    timestamp_sec_t TimeModified;
    unsigned32 Type;
    unsigned32 UID;
    byte UserPerms;
    unsigned32 WriteCount;
} hpss_Attrs_t;

typedef struct hpss_fileattr {
    ns_ObjHandle_t ObjectHandle;
    hpss_Attrs_t Attrs;
} hpss_fileattr_t;

typedef struct pv_list_element {
    char Name[HPSS_PV_NAME_SIZE];
    unsigned32 Flags;
} pv_list_element_t;

/* One block of memory: free() the pv_list_t itself, and nothing inside it. */
typedef struct pv_list {
    struct {
        unsigned32 List_len;
        pv_list_element_t *List_val;
    } List;
} pv_list_t;

typedef struct bf_vv_attrib {
    hpssoid_t VVID;
    signed32 RelPosition;
    u_signed64 RelPositionOffset;
    u_signed64 BytesOnVV;
    pv_list_t *PVList;
} bf_vv_attrib_t;

#define BFS_BFATTRS_LEVEL_IS_DISK 0x1
#define BFS_BFATTRS_LEVEL_IS_TAPE 0x2
#define BFS_BFATTRS_DATAEXISTS_AT_LEVEL 0x4

typedef struct bf_sc_attrib {
    bf_vv_attrib_t VVAttrib[BFS_MAX_VV_TO_RETURN_AT_LEVEL];
    unsigned32 NumberOfVVs;
    u_signed64 BytesAtLevel;
    unsigned32 OptimumAccessSize;
    unsigned32 StripeWidth;
    u_signed64 StripeLength;
    unsigned32 Flags;
} bf_sc_attrib_t;

typedef struct hpss_xfileattr {
    ns_ObjHandle_t ObjectHandle;
    hpss_Attrs_t Attrs;
    bf_sc_attrib_t SCAttrib[HPSS_MAX_STORAGE_LEVELS];
} hpss_xfileattr_t;

#define API_GET_STATS_FOR_LEVEL 0x1
#define API_GET_STATS_FOR_1STLEVEL 0x2
#define API_GET_STATS_OPTIMIZE 0x4
#define API_GET_STATS_FOR_ALL_LEVELS 0x8
#define API_GET_XATTRS_NO_BLOCK 0x10

typedef struct hpss_dirent {
    u_signed64 d_offset;
    ns_ObjHandle_t d_handle;
    unsigned16 d_reclen;
    unsigned16 d_namelen;
    char d_name[HPSS_MAX_FILE_NAME + 1];
} hpss_dirent_t;

int hpss_Stat(HPSS_SIM_CONST char *Path, hpss_stat_t *Buf);
int hpss_Lstat(HPSS_SIM_CONST char *Path, hpss_stat_t *Buf);
int hpss_Fstat(int Fildes, hpss_stat_t *Buf);
int hpss_Access(HPSS_SIM_CONST char *Path, int Amode);
int hpss_Chmod(HPSS_SIM_CONST char *Path, mode_t Mode);
int hpss_Chown(HPSS_SIM_CONST char *Path, uid_t Owner, gid_t Group);
int hpss_Utime(HPSS_SIM_CONST char *Path, const struct utimbuf *Times);
int hpss_Truncate(HPSS_SIM_CONST char *Path, u_signed64 Length);
int hpss_Ftruncate(int Fildes, u_signed64 Length);
int hpss_Rename(HPSS_SIM_CONST char *Old, HPSS_SIM_CONST char *New);
int hpss_Unlink(HPSS_SIM_CONST char *Path);
int hpss_Link(HPSS_SIM_CONST char *Existing, HPSS_SIM_CONST char *New);
int hpss_Symlink(HPSS_SIM_CONST char *Contents, HPSS_SIM_CONST char *Path);
int hpss_Readlink(HPSS_SIM_CONST char *Path, char *Contents, size_t BufferSize);
int hpss_Mkdir(HPSS_SIM_CONST char *Path, mode_t Mode);
int hpss_Rmdir(HPSS_SIM_CONST char *Path);
int hpss_Statfs(unsigned32 CosId, hpss_statfs_t *StatfsBuffer);
int hpss_FileGetAttributes(HPSS_SIM_CONST char *Path, hpss_fileattr_t *AttrOut);
int hpss_FileSetAttributes(HPSS_SIM_CONST char *Path, hpss_fileattrbits_t SelFlags, hpss_fileattr_t *AttrIn,
                           hpss_fileattr_t *AttrOut);
int hpss_FileGetXAttributes(HPSS_SIM_CONST char *Path, unsigned32 Flags, unsigned32 StorageLevel,
                            hpss_xfileattr_t *AttrOut);
int hpss_GetListAttrs(HPSS_SIM_CONST char *Path, hpss_Attrs_t *Attrs);
int hpss_FileSetCOS(HPSS_SIM_CONST char *Path, unsigned32 COSId, unsigned32 StreamId);
void API_ConvertTimeToPosixTime(hpss_Attrs_t *Attrs, timestamp_sec_t *Atime, timestamp_sec_t *Mtime,
                                timestamp_sec_t *Ctime);

int hpss_Opendir(HPSS_SIM_CONST char *DirName);
int hpss_Readdir(int DirDes, hpss_dirent_t *DirentPtr);
int hpss_Rewinddir(int DirDes);
int hpss_Closedir(int DirDes);

/* ---- data ---- */

typedef enum {
    NO_PRIORITY = 0,
    LOWEST_PRIORITY,
    LOW_PRIORITY,
    DESIRED_PRIORITY,
    HIGHLY_DESIRED_PRIORITY,
    REQUIRED_PRIORITY
} hpss_hint_priority_t;

typedef enum { FREQ_NONE = 0, FREQ_HOURLY, FREQ_DAILY, FREQ_WEEKLY, FREQ_MONTHLY, FREQ_ARCHIVE } hpss_frequency_t;

#define HINTS_FORCE_MAX_SSEG 0x1
#define HINTS_NOTRUNC_FINAL_SEG 0x2

#define COS_STAGE_NO_STAGE 0
#define COS_STAGE_ON_OPEN 1
#define COS_STAGE_ON_OPEN_ASYNCH 2
#define COS_STAGE_ON_OPEN_BACKGROUND 3

typedef struct hpss_cos_hints {
    unsigned32 COSId;
    char COSName[HPSS_MAX_COS_NAME];
    unsigned32 Flags;
    u_signed64 OptimumAccessSize;
    u_signed64 MinFileSize;
    u_signed64 MaxFileSize;
    unsigned32 AccessFrequency;
    unsigned32 TransferRate;
    unsigned32 AvgLatency;
    unsigned32 WriteOps;
    unsigned32 ReadOps;
    unsigned32 StageCode;
    unsigned32 StripeWidth;
    u_signed64 StripeLength;
    unsigned32 FamilyId;
} hpss_cos_hints_t;

typedef struct hpss_cos_priorities {
    unsigned32 COSIdPriority;
    unsigned32 COSNamePriority;
    unsigned32 FlagsPriority;
    unsigned32 OptimumAccessSizePriority;
    unsigned32 MinFileSizePriority;
    unsigned32 MaxFileSizePriority;
    unsigned32 AccessFrequencyPriority;
    unsigned32 TransferRatePriority;
    unsigned32 AvgLatencyPriority;
    unsigned32 WriteOpsPriority;
    unsigned32 ReadOpsPriority;
    unsigned32 StageCodePriority;
    unsigned32 StripeWidthPriority;
    unsigned32 StripeLengthPriority;
    unsigned32 FamilyIdPriority;
} hpss_cos_priorities_t;

typedef struct hpss_cos_md {
    unsigned32 COSId;
    char COSName[HPSS_MAX_COS_NAME];
    u_signed64 MinFileSize;
    u_signed64 MaxFileSize;
    unsigned32 EnforceMaxFileSize;
    unsigned32 StageCode;
} hpss_cos_md_t;

#define HPSS_SET_OFFSET_FORWARD 1
#define HPSS_SET_OFFSET_BACKWARD 2

int hpss_Open(HPSS_SIM_CONST char *Path, int Oflag, mode_t Mode, HPSS_SIM_CONST hpss_cos_hints_t *HintsIn,
              HPSS_SIM_CONST hpss_cos_priorities_t *HintsPri, hpss_cos_hints_t *HintsOut);
int hpss_Close(int Fildes);
ssize_t hpss_Read(int Fildes, void *Buf, size_t Nbyte);
ssize_t hpss_Write(int Fildes, const void *Buf, size_t Nbyte);
hpss_off_t hpss_Lseek(int Fildes, hpss_off_t Offset, int Whence);
int hpss_SetFileOffset(int Fildes, u_signed64 OffsetIn, int Whence, int Direction, u_signed64 *OffsetOut);
int hpss_Fsync(int Fildes);
int hpss_Fpreallocate(int Fildes, u_signed64 Length);
int hpss_CopyFile(int SrcFildes, int DestFildes);
int hpss_SetCOSByHints(int Fildes, unsigned32 Flags, const hpss_cos_hints_t *HintsPtr,
                       const hpss_cos_priorities_t *PrioPtr, hpss_cos_md_t *COSPtr);

typedef struct hpss_file HPSS_FILE;

HPSS_FILE *hpss_Fopen(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST char *Mode);
size_t hpss_Fread(void *Ptr, size_t Size, size_t Num, HPSS_FILE *Stream);
size_t hpss_Fwrite(const void *Ptr, size_t Size, size_t Num, HPSS_FILE *Stream);
int hpss_Fseek(HPSS_FILE *Stream, long Offset, int Whence);
long hpss_Ftell(HPSS_FILE *Stream);
int hpss_Fflush(HPSS_FILE *Stream);
int hpss_Fclose(HPSS_FILE *Stream);
int hpss_Fgetc(HPSS_FILE *Stream);
char *hpss_Fgets(char *Text, int Size, HPSS_FILE *Stream);

/* ---- stage, migrate, purge ---- */

#define BFS_STAGE_ALL 0x1
#define BFS_ASYNCH_CALL 0x2
#define BFS_PURGE_ALL 0x4

#define HPSS_MIGRATE_FORCE 0x1
#define HPSS_MIGRATE_PURGE_DATA 0x2
#define HPSS_MIGRATE_NO_COPY 0x4

typedef enum { PURGE_LOCK = 0, PURGE_UNLOCK = 1 } purgelock_flag_t;

#define HPSS_STAGE_STATUS_UNKNOWN 0
#define HPSS_STAGE_STATUS_QUEUED 1
#define HPSS_STAGE_STATUS_ACTIVE 2

typedef struct bfs_callback_addr {
    hpss_sockaddr_t sockaddr;
    hpss_reqid_t id;
} bfs_callback_addr_t;

int hpss_Stage(int Fildes, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel, unsigned32 Flags);
int hpss_Migrate(int Fildes, unsigned32 SrcLevel, unsigned32 Flags, u_signed64 *RetBytesMigrated);
int hpss_Purge(int Fildes, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel, unsigned32 Flags,
               u_signed64 *RetBytesPurged);
int hpss_PurgeLock(int Fildes, purgelock_flag_t Flag);
#if HPSS_SIM_LEVEL >= 750
int hpss_StageCallBack(const char *Path, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel,
                       bfs_callback_addr_t *CallBackPtr, unsigned32 Flags, hpss_reqid_t *ReqID,
                       bfs_bitfile_obj_handle_t *BitfileObj);
int hpss_GetAsyncStatus(hpss_reqid_t CallBackId, bfs_bitfile_obj_handle_t *BitfileObj, int32_t *Status);
#else
int hpss_StageCallBack(char *Path, u_signed64 Offset, u_signed64 Length, unsigned32 StorageLevel,
                       bfs_callback_addr_t *CallBackPtr, unsigned32 Flags, hpss_reqid_t *ReqID,
                       hpssoid_t *BitfileId);
int hpss_GetAsynchStatus(signed32 CallBackId, hpssoid_t *BitfileId, signed32 *Status);
#endif

#if HPSS_SIM_LEVEL >= 830
/* Batches came with 9.3.  The newest tree of the simulator has them so that they can be tried. */
typedef struct hpss_stage_batch_entry {
    bfs_bitfile_obj_handle_t BFObj;
    int FromLevel;
    int ToLevel;
    u_signed64 Offset;
    u_signed64 Length;
    unsigned32 Flags;
    int Used;
} hpss_stage_batch_entry_t;

typedef struct hpss_stage_batch {
    int Len;
    hpss_stage_batch_entry_t *Entries;
} hpss_stage_batch_t;

/* The caller frees BFList_val. */
typedef struct hpss_stage_bitfile_list {
    struct {
        unsigned32 BFList_len;
        bfs_bitfile_obj_handle_t *BFList_val;
    } BFList;
} hpss_stage_bitfile_list_t;

typedef struct hpss_stage_file_status {
    bfs_bitfile_obj_handle_t BFObj;
    int StageStatus;
} hpss_stage_file_status_t;

typedef struct hpss_stage_batch_status {
    struct {
        unsigned32 StatusList_len;
        hpss_stage_file_status_t *StatusList_val;
    } StatusList;
} hpss_stage_batch_status_t;

typedef enum {
    HPSS_STAGE_STATUS_BFS = 1,
    HPSS_STAGE_STATUS_SS = 2,
    HPSS_STAGE_STATUS_BFS_SS = 3
} hpss_stage_status_type_t;

int API_StageBatchInit(hpss_stage_batch_t *Batch, int Len);
int API_StageBatchInsertBFObj(hpss_stage_batch_t *Batch, int Index, const bfs_bitfile_obj_handle_t *BFObj,
                              int FromLevel, int ToLevel, u_signed64 Offset, u_signed64 Length, unsigned32 Flags);
void API_StageBatchFree(hpss_stage_batch_t *Batch);
void API_StageStatusFree(hpss_stage_batch_status_t *Status);
int hpss_StageBatchCallBack(hpss_stage_batch_t *Batch, bfs_callback_addr_t *CallBackPtr, hpss_reqid_t *ReqID,
                            hpss_stage_bitfile_list_t *BFIDs, hpss_stage_batch_status_t *Status);
int hpss_GetBatchAsynchStatus(hpss_reqid_t CallBackId, hpss_stage_bitfile_list_t *BFIDs, hpss_stage_status_type_t Type,
                              hpss_stage_batch_status_t *Status);
#endif

/* ---- user-defined attributes ---- */

typedef struct hpss_userattr {
    char *Key;
    char *Value;
} hpss_userattr_t;

typedef struct hpss_userattr_list {
    int len;
    hpss_userattr_t *Pair;
} hpss_userattr_list_t;

int hpss_UserAttrSetAttrs(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST hpss_userattr_list_t *Attrs,
                          HPSS_SIM_CONST char *Schema);
int hpss_UserAttrDeleteAttrs(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST hpss_userattr_list_t *Attrs,
                             HPSS_SIM_CONST char *Schema);
#if HPSS_SIM_LEVEL >= 750
int hpss_UserAttrGetAttrs(const char *Path, hpss_userattr_list_t *Attrs, int XMLFlag, int XMLSize);
int hpss_UserAttrListAttrs(const char *Path, hpss_userattr_list_t *Attrs, int Flags, int XMLSize);
#else
int hpss_UserAttrGetAttrs(char *Path, hpss_userattr_list_t *Attrs, int XMLFlag);
int hpss_UserAttrListAttrs(char *Path, hpss_userattr_list_t *Attrs, int Flags);
#endif
/* malloc'ed text without the XML declaration, which goes to Header unless that is NULL; NULL when no text is left. */
char *hpss_ChompXMLHeader(char *XML, char *Header);

/* ---- the simulator's own ---- */

/* Plays what is due in the archive up to its simulated time, as any call does that looks at residency. */
int hpss_sim_advance(const char *ArchiveDirectory);

#ifdef __cplusplus
}
#endif

#endif
