/* Every call of the client API once, and some of them wrongly, to be run under the sanitizers: calls KEYTAB */
#include <hpss_api.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

static char CONTENT[] = "content";
#define LENGTH ((size_t)7)

static void session(char *keytab) {
    api_config_t configuration;
    sec_cred_t user;
    hpss_authn_mech_t mechanism = hpss_authn_mech_invalid;
    hpss_rpc_auth_type_t type;
    char text[2048];
    char principal[] = "hpss", nobody[] = "nobody";
    void *authenticator;
    snprintf(text, sizeof text, "auth_keytab:%s", keytab);
    CHECK(hpss_ParseAuthString(text, &mechanism, &type, &authenticator) == 0);
    CHECK(hpss_GetConfiguration(&configuration) == 0);
    configuration.Flags |= API_USE_CONFIG;
    configuration.NumRetries = 0;
    CHECK(hpss_SetConfiguration(&configuration) == 0);
    CHECK(hpss_SetLoginCred(nobody, mechanism, hpss_rpc_cred_client, type, authenticator) < 0);
    CHECK(hpss_SetLoginCred(principal, mechanism, hpss_rpc_cred_client, type, authenticator) == 0);
    free(authenticator);
    CHECK(hpss_AuthnMechTypeFromString("unix", &mechanism) == 0 && mechanism == hpss_authn_mech_unix);
    CHECK(hpss_AuthnMechTypeFromString("none", &mechanism) < 0);
    CHECK(hpss_LoadThreadState(0, 0, NULL) == 0);
    CHECK(hpss_LoadDefaultThreadState(0, hpss_Umask(0), NULL) == 0);
    CHECK(hpss_GetThreadUcred(&user) == 0 && user.Uid == 0);
    CHECK(hpss_Getenv("HPSS_NO_SUCH_VARIABLE") == NULL);
    char *level = hpss_BuildLevelString();
    CHECK(level != NULL);
    free(level);
}

static void server(void) {
#if HPSS_SIM_LEVEL >= 750
    hpss_srvr_id_t id;
#else
    hpss_uuid_t id;
#endif
    unsigned32 seconds, micros;
    char site[] = "simulated", other[] = "other";
    hpss_statfs_t statfs;
    CHECK(hpss_LookupRootCS(other, &id) < 0);
    CHECK(hpss_LookupRootCS(site, &id) == 0);
    CHECK(hpss_PingCore(&id, &seconds, &micros) == 0 && seconds > 0);
    CHECK(hpss_Statfs(1, &statfs) == 0);
    CHECK(hpss_Statfs(99, &statfs) < 0);
}

static void names(void) {
    hpss_stat_t status;
    hpss_dirent_t entry;
    hpss_fileattr_t attributes;
    hpss_Attrs_t listed;
    timestamp_sec_t access, write, change;
    struct utimbuf times = {1, 2};
    char text[100];
    CHECK(hpss_Mkdir("/d", 0755) == 0 && hpss_Mkdir("/d", 0755) == HPSS_EEXIST);
    CHECK(hpss_Symlink("d", "/link") == 0);
    CHECK(hpss_Readlink("/link", text, sizeof text) == 1 && hpss_Readlink("/link", text, 0) == HPSS_ERANGE);
    int file = hpss_Open("/link/f", O_RDWR | O_CREAT, 0600, NULL, NULL, NULL);
    CHECK(file == 0 && hpss_Close(file) == 0);
    CHECK(hpss_Link("/d/f", "/hard") == 0 && hpss_Rename("/hard", "/d/g") == 0);
    CHECK(hpss_Chmod("/d/f", 0644) == 0 && hpss_Chown("/d/f", 0, 0) == 0 && hpss_Utime("/d/f", &times) == 0);
    CHECK(hpss_Utime("/d/f", NULL) == 0 && hpss_Truncate("/d/f", 10) == 0 && hpss_Access("/d/f", R_OK) == 0);
    CHECK(hpss_Stat("/d/g", &status) == 0 && status.st_size == 10 && status.st_nlink == 2);
    CHECK(hpss_Lstat("/link", &status) == 0 && S_ISLNK(status.st_mode));
    CHECK(hpss_FileGetAttributes("/d/f", &attributes) == 0 && hpss_GetListAttrs("/link", &listed) == 0);
    API_ConvertTimeToPosixTime(&attributes.Attrs, &access, &write, &change);
    CHECK(hpss_FileSetAttributes("/d/f", orbit64m(0, CORE_ATTR_COMMENT), &attributes, &attributes) == 0);
    int directory = hpss_Opendir("/d");
    int entries = 0;
    while (hpss_Readdir(directory, &entry) == 0 && entry.d_namelen != 0)
        entries++;
    CHECK(entries == 4 && hpss_Rewinddir(directory) == 0 && hpss_Readdir(directory, NULL) == HPSS_EFAULT);
    CHECK(hpss_Closedir(directory) == 0 && hpss_Closedir(directory) == HPSS_EBADF);
    CHECK(hpss_Rmdir("/d") == HPSS_ENOTEMPTY);
    CHECK(hpss_Unlink("/d/f") == 0 && hpss_Unlink("/d/g") == 0 && hpss_Unlink("/link") == 0 && hpss_Rmdir("/d") == 0);
}

static void data(void) {
    hpss_cos_hints_t hints = {.MinFileSize = LENGTH, .MaxFileSize = LENGTH}, given;
    hpss_cos_priorities_t priorities = {.MinFileSizePriority = REQUIRED_PRIORITY};
    hpss_cos_md_t class;
    hpss_stat_t status;
    u_signed64 offset;
    char buffer[100];
    int file = hpss_Open("/f", O_RDWR | O_CREAT | O_EXCL, 0600, &hints, &priorities, &given);
    CHECK(file == 0 && hpss_SetCOSByHints(file, 0, &hints, &priorities, &class) == 0);
    CHECK(hpss_FileSetCOS("/f", 1, 0) == 0 && hpss_Fpreallocate(file, LENGTH) == 0);
    CHECK(hpss_Write(file, CONTENT, LENGTH) == (ssize_t)LENGTH && hpss_Fsync(file) == 0);
    CHECK(hpss_Lseek(file, 0, SEEK_SET) == 0 && hpss_Read(file, buffer, sizeof buffer) == (ssize_t)LENGTH);
    CHECK(hpss_SetFileOffset(file, 3, SEEK_END, HPSS_SET_OFFSET_BACKWARD, &offset) == 0 && offset == LENGTH - 3);
    CHECK(hpss_Fstat(file, &status) == 0 && status.st_size == LENGTH && hpss_Fstat(99, &status) == HPSS_EBADF);
    int copy = hpss_Open("/copy", O_WRONLY | O_CREAT, 0600, NULL, NULL, NULL);
    CHECK(hpss_Lseek(file, 0, SEEK_SET) == 0 && hpss_CopyFile(file, copy) == 0 && hpss_Ftruncate(copy, 3) == 0);
    CHECK(hpss_Unlink("/copy") == 0 && hpss_Fstat(copy, &status) == 0 && hpss_Write(copy, "x", 1) == 1);
    CHECK(hpss_Close(copy) == 0 && hpss_Close(file) == 0 && hpss_Read(file, buffer, 1) == HPSS_EBADF);
}

static void streams(void) {
    char buffer[100];
    CHECK(hpss_Fopen("/missing", "r") == NULL && errno == ENOENT);
    HPSS_FILE *stream = hpss_Fopen("/stream", "w+");
    CHECK(stream != NULL && hpss_Fwrite("a\nb", 1, 3, stream) == 3 && hpss_Fflush(stream) == 0);
    CHECK(hpss_Fseek(stream, 0, SEEK_SET) == 0 && hpss_Fgets(buffer, sizeof buffer, stream) == buffer);
    CHECK(hpss_Ftell(stream) == 2 && hpss_Fgetc(stream) == 'b' && hpss_Fread(buffer, 1, 10, stream) == 0);
    CHECK(hpss_Fclose(stream) == 0 && hpss_Fclose(NULL) < 0 && hpss_Unlink("/stream") == 0);
}

static void free_volumes(hpss_xfileattr_t *attributes) {
    for (int level = 0; level < HPSS_MAX_STORAGE_LEVELS; level++)
        for (unsigned32 i = 0; i < attributes->SCAttrib[level].NumberOfVVs; i++)
            free(attributes->SCAttrib[level].VVAttrib[i].PVList);
}

static void levels(void) {
    hpss_xfileattr_t attributes;
    u_signed64 bytes;
    hpss_reqid_t request;
    bfs_callback_addr_t callback;
    signed32 status;
    memset(&callback, 0, sizeof callback);
    int file = hpss_Open("/f", O_RDWR | O_NONBLOCK, 0, NULL, NULL, NULL);
    CHECK(hpss_PurgeLock(file, PURGE_LOCK) == 0 && hpss_Migrate(file, 0, HPSS_MIGRATE_FORCE, &bytes) == 0);
    CHECK(hpss_Purge(file, 0, 0, 0, BFS_PURGE_ALL, &bytes) == HPSS_EBUSY && hpss_PurgeLock(file, PURGE_UNLOCK) == 0);
    CHECK(hpss_Purge(file, 0, 0, 0, BFS_PURGE_ALL, &bytes) == 0 && bytes == LENGTH);
#if HPSS_SIM_LEVEL >= 750
    bfs_bitfile_obj_handle_t bitfile;
    CHECK(hpss_StageCallBack("/f", 0, 0, 0, &callback, BFS_STAGE_ALL, &request, &bitfile) == 0);
    CHECK(hpss_GetAsyncStatus(request, &bitfile, &status) == 0);
#else
    hpssoid_t bitfile;
    CHECK(hpss_StageCallBack("/f", 0, 0, 0, &callback, BFS_STAGE_ALL, &request, &bitfile) == 0);
    CHECK(hpss_GetAsynchStatus(request, &bitfile, &status) == 0);
#endif
    CHECK(hpss_FileGetXAttributes("/f", API_GET_STATS_FOR_ALL_LEVELS, 0, &attributes) == 0);
    CHECK(attributes.SCAttrib[0].BytesAtLevel == LENGTH && attributes.SCAttrib[1].NumberOfVVs == 1);
    free_volumes(&attributes);
    CHECK(hpss_FileGetXAttributes("/f", 0, 0, &attributes) == HPSS_EINVAL);
    CHECK(hpss_Stage(file, 0, 0, 0, BFS_STAGE_ALL) == 0 && hpss_Close(file) == 0);
#if HPSS_SIM_LEVEL >= 830
    hpss_stage_batch_t batch;
    hpss_stage_bitfile_list_t files;
    hpss_stage_batch_status_t states;
    CHECK(API_StageBatchInit(&batch, 1) == 0);
    CHECK(hpss_StageBatchCallBack(&batch, &callback, &request, &files, &states) < 0);
    CHECK(API_StageBatchInsertBFObj(&batch, 1, &bitfile, 1, 0, 0, 0, BFS_STAGE_ALL) == HPSS_EINVAL);
    CHECK(API_StageBatchInsertBFObj(&batch, 0, &bitfile, 1, 0, 0, 0, BFS_STAGE_ALL) == 0);
    CHECK(hpss_StageBatchCallBack(&batch, &callback, &request, &files, &states) == 0);
    API_StageBatchFree(&batch);
    API_StageStatusFree(&states);
    CHECK(hpss_GetBatchAsynchStatus(request, &files, HPSS_STAGE_STATUS_BFS_SS, &states) == 0);
    API_StageStatusFree(&states);
    free(files.BFList.BFList_val);
#endif
}

static void user_attributes(void) {
    char key[] = "/hpss/user/key", value[] = "value", header[100];
    static char buffer[HPSS_XML_SIZE];
    hpss_userattr_t pair = {key, value};
    hpss_userattr_list_t list = {1, &pair}, found;
    CHECK(hpss_UserAttrSetAttrs("/f", &list, NULL) == 0);
    pair.Value = buffer;
#if HPSS_SIM_LEVEL >= 750
    CHECK(hpss_UserAttrGetAttrs("/f", &list, UDA_API_XML, HPSS_XML_SIZE - 1) == 0);
    CHECK(hpss_UserAttrGetAttrs("/f", &list, UDA_API_VALUE, 10) == HPSS_ERANGE);
    CHECK(hpss_UserAttrListAttrs("/f", &found, XML_ATTR, HPSS_XML_SIZE - 1) == 0);
#else
    CHECK(hpss_UserAttrGetAttrs("/f", &list, UDA_API_XML) == 0);
    CHECK(hpss_UserAttrListAttrs("/f", &found, XML_ATTR) == 0);
#endif
    char *text = hpss_ChompXMLHeader(found.Pair[0].Value, header);
    CHECK(found.len == 1 && strcmp(text, value) == 0);
    free(text);
    free(found.Pair[0].Key);
    free(found.Pair[0].Value);
    free(found.Pair);
    CHECK(hpss_UserAttrDeleteAttrs("/f", &list, NULL) == 0);
    CHECK(hpss_UserAttrDeleteAttrs("/f", &list, NULL) == HPSS_ENOENT);
}

static void *other_thread(void *unused) {
    hpss_stat_t status;
    CHECK(hpss_Stat("/f", &status) == 0);
    return unused;
}

static void errors(void) {
    hpss_stat_t status;
    char longer[HPSS_MAX_PATH_NAME + 3];
    memset(longer, 'n', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK(hpss_Stat(longer, &status) == HPSS_ENAMETOOLONG);
    CHECK(hpss_GetLastHPSSErrno().hpss_errno == HPSS_ENAMETOOLONG);
    hpss_ClearLastHPSSErrno();
    CHECK(strcmp(hpss_ErrnoName(HPSS_ENOSPACE), "HPSS_ENOSPACE") == 0 && hpss_ErrnoString(-4321) != NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    session(argv[1]);
    server();
    names();
    data();
    streams();
    levels();
    user_attributes();
    errors();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    hpss_ClientAPIReset();
#if HPSS_SIM_LEVEL >= 750
    hpss_ThreadCleanUp();
#endif
    hpss_PurgeLoginCred();
    return 0;
}
