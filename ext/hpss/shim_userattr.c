/* User-defined attributes: texts kept with a file, under keys that begin with /hpss. */
#include "shim_sdk.h"

#include <stdlib.h>
#include <string.h>

/* Pairs whose keys belong to somebody else; NULL when memory is short. */
static hpss_userattr_t *pairs_of_keys(int count, const char *const *keys) {
    hpss_userattr_t *pairs = calloc((size_t)count, sizeof *pairs);
    for (int i = 0; pairs != NULL && i < count; i++)
        pairs[i].Key = (char *)keys[i];
    return pairs;
}

static void free_values(hpss_userattr_t *pairs, int count) {
    for (int i = 0; i < count; i++)
        free(pairs[i].Value);
}

/* The library writes each value, wrapped in a line of XML, into memory that the caller brings. */
static int allocate_values(hpss_userattr_t *pairs, int count) {
    for (int i = 0; i < count; i++) {
        pairs[i].Value = calloc(1, HPSS_XML_SIZE);
        if (pairs[i].Value == NULL)
            return HPSS_ENOMEM;
    }
    return 0;
}

static int copy_without_header(char *xml, char *value, size_t value_size) {
    char *text = hpss_ChompXMLHeader(xml, NULL);
    const char *bare = text != NULL ? text : "";
    size_t length = strlen(bare);
    int code = length < value_size ? 0 : HPSS_ERANGE;
    if (code == 0)
        memcpy(value, bare, length + 1);
    free(text);
    return code;
}

static int get_values(const char *path, hpss_userattr_t *pairs, int count) {
    hpss_userattr_list_t list = {.len = count, .Pair = pairs};
#if SHIM_HAS_SIZED_USERATTR
    return hpss_UserAttrGetAttrs((char *)path, &list, UDA_API_VALUE, HPSS_XML_SIZE - 1);
#else
    return hpss_UserAttrGetAttrs((char *)path, &list, UDA_API_VALUE);
#endif
}

int shim_get_user_attributes(const char *path, int count, const char *const *keys, char *values, size_t value_size) {
    hpss_userattr_t *pairs = pairs_of_keys(count, keys);
    if (pairs == NULL)
        return HPSS_ENOMEM;
    int code = allocate_values(pairs, count);
    if (code == 0)
        code = get_values(path, pairs, count);
    for (int i = 0; code >= 0 && i < count; i++)
        code = copy_without_header(pairs[i].Value, values + (size_t)i * value_size, value_size);
    free_values(pairs, count);
    free(pairs);
    return code;
}

int shim_set_user_attributes(const char *path, int count, const char *const *keys, const char *const *values) {
    hpss_userattr_t *pairs = pairs_of_keys(count, keys);
    if (pairs == NULL)
        return HPSS_ENOMEM;
    for (int i = 0; i < count; i++)
        pairs[i].Value = (char *)values[i];
    hpss_userattr_list_t list = {.len = count, .Pair = pairs};
    int code = hpss_UserAttrSetAttrs((char *)path, &list, NULL);
    free(pairs);
    return code;
}

int shim_delete_user_attributes(const char *path, int count, const char *const *keys) {
    hpss_userattr_t *pairs = pairs_of_keys(count, keys);
    if (pairs == NULL)
        return HPSS_ENOMEM;
    hpss_userattr_list_t list = {.len = count, .Pair = pairs};
    int code = hpss_UserAttrDeleteAttrs((char *)path, &list, NULL);
    free(pairs);
    return code;
}
