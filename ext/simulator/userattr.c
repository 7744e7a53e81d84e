/* User-defined attributes: paths below /hpss with a text each.  Values come back behind an XML declaration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define XML_HEADER "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>"

static bool is_key(const char *key) {
    return key != NULL && strncmp(key, "/hpss", 5) == 0 && (key[5] == 0 || key[5] == '/');
}

static int check_list(struct call *call, const hpss_userattr_list_t *list, bool with_values) {
    if (!call->context->settings.user_attributes)
        return HPSS_EOPNOTSUPP;
    if (list == NULL || (list->len > 0 && list->Pair == NULL))
        return HPSS_EFAULT;
    if (list->len <= 0)
        return HPSS_EINVAL;
    for (int i = 0; i < list->len; i++) {
        if (!is_key(list->Pair[i].Key))
            return HPSS_EINVAL;
        if (with_values && list->Pair[i].Value == NULL)
            return HPSS_EFAULT;
    }
    return 0;
}

/* What is given to the caller for a value: the text, or an element named as the last part of the key. */
static int in_xml(char *out, size_t size, const char *key, const char *value, bool as_element) {
    const char *name = strrchr(key, '/') + 1;
    int length = as_element ? snprintf(out, size, "%s<%s>%s</%s>", XML_HEADER, name, value, name)
                            : snprintf(out, size, "%s%s", XML_HEADER, value);
    return length < 0 || (size_t)length >= size ? HPSS_ERANGE : 0;
}

/* ---- setting and deleting ---- */

static int set_one(struct context *context, object_id object, const hpss_userattr_t *pair) {
    if (strlen(pair->Value) >= HPSS_XML_SIZE - sizeof XML_HEADER)
        return HPSS_ERANGE;
    return db_run(&context->database,
                  "INSERT INTO attribute (object, key, value) VALUES (?, ?, ?)"
                  " ON CONFLICT (object, key) DO UPDATE SET value = excluded.value",
                  "iss", object, pair->Key, pair->Value);
}

static int delete_one(struct context *context, object_id object, const hpss_userattr_t *pair) {
    int code = db_run(&context->database, "DELETE FROM attribute WHERE object = ? AND key = ?", "is", object,
                      pair->Key);
    return code == 0 && sqlite3_changes(context->database.connection) == 0 ? HPSS_ENOENT : code;
}

/* One transaction for the whole list. */
static int change(enum function function, const char *path, const hpss_userattr_list_t *list,
                  int (*change_one)(struct context *, object_id, const hpss_userattr_t *)) {
    struct call call;
    struct object object;
    int code = call_begin(&call, function, path);
    if (code == 0)
        code = check_list(&call, list, function == FN_UserAttrSetAttrs);
    if (code == 0) {
        code = db_write(&call.context->database);
        if (code == 0)
            code = namespace_object(call.context, path, FOLLOW, &object);
        if (code == 0 && !namespace_is_owner(call.context, &object))
            code = namespace_permits(call.context, &object, 2);
        for (int i = 0; code == 0 && i < list->len; i++)
            code = change_one(call.context, object.id, &list->Pair[i]);
        code = db_end(&call.context->database, code);
    }
    return (int)call_end(&call, code);
}

int hpss_UserAttrSetAttrs(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST hpss_userattr_list_t *Attrs,
                          HPSS_SIM_CONST char *Schema) {
    (void)Schema;
    return change(FN_UserAttrSetAttrs, Path, Attrs, set_one);
}

int hpss_UserAttrDeleteAttrs(HPSS_SIM_CONST char *Path, HPSS_SIM_CONST hpss_userattr_list_t *Attrs,
                             HPSS_SIM_CONST char *Schema) {
    (void)Schema;
    return change(FN_UserAttrDeleteAttrs, Path, Attrs, delete_one);
}

/* ---- getting ---- */

static int get_one(struct context *context, object_id object, hpss_userattr_t *pair, bool as_element, size_t size) {
    sqlite3_stmt *row;
    int code = db_row(&context->database, &row, "SELECT value FROM attribute WHERE object = ? AND key = ?", "is",
                      object, pair->Key);
    if (code != 1)
        return code < 0 ? code : HPSS_ENOENT;
    code = in_xml(pair->Value, size, pair->Key, (const char *)sqlite3_column_text(row, 0), as_element);
    db_done(row);
    return code;
}

static int get(const char *path, hpss_userattr_list_t *list, int flag, int size) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_UserAttrGetAttrs, path);
    if (code == 0)
        code = check_list(&call, list, true);
    if (code == 0 && (size <= 0 || (flag != UDA_API_VALUE && flag != UDA_API_XML)))
        code = HPSS_EINVAL;
    if (code == 0) {
        code = db_read(&call.context->database);
        if (code == 0)
            code = namespace_object(call.context, path, FOLLOW, &object);
        for (int i = 0; code == 0 && i < list->len; i++)
            code = get_one(call.context, object.id, &list->Pair[i], flag == UDA_API_XML, (size_t)size);
        code = db_end(&call.context->database, code);
    }
    return (int)call_end(&call, code);
}

static void free_pairs(hpss_userattr_list_t *list) {
    for (int i = 0; i < list->len; i++) {
        free(list->Pair[i].Key);
        free(list->Pair[i].Value);
    }
    free(list->Pair);
    *list = (hpss_userattr_list_t){0};
}

static int append_pair(hpss_userattr_list_t *list, const char *key, const char *value) {
    hpss_userattr_t *pairs = realloc(list->Pair, ((size_t)list->len + 1) * sizeof *pairs);
    if (pairs == NULL)
        return HPSS_ENOMEM;
    list->Pair = pairs;
    size_t size = strlen(value) + sizeof XML_HEADER;
    hpss_userattr_t pair = {.Key = strdup(key), .Value = malloc(size)};
    if (pair.Key != NULL && pair.Value != NULL)
        in_xml(pair.Value, size, key, value, false);
    pairs[list->len++] = pair;
    return pair.Key == NULL || pair.Value == NULL ? HPSS_ENOMEM : 0;
}

static int list_pairs(struct context *context, object_id object, hpss_userattr_list_t *list) {
    sqlite3_stmt *row;
    int more = db_row(&context->database, &row, "SELECT key, value FROM attribute WHERE object = ? ORDER BY key", "i",
                      object);
    for (; more == 1; more = db_next(row)) {
        int code = append_pair(list, (const char *)sqlite3_column_text(row, 0),
                               (const char *)sqlite3_column_text(row, 1));
        if (code != 0) {
            db_done(row);
            return code;
        }
    }
    return more;
}

static int list_all(const char *path, hpss_userattr_list_t *list) {
    struct call call;
    struct object object;
    int code = call_begin(&call, FN_UserAttrListAttrs, path);
    if (code == 0 && !call.context->settings.user_attributes)
        code = HPSS_EOPNOTSUPP;
    if (code == 0 && list == NULL)
        code = HPSS_EFAULT;
    bool is_started = code == 0;
    if (is_started) {
        *list = (hpss_userattr_list_t){0};
        code = db_read(&call.context->database);
        if (code == 0)
            code = namespace_object(call.context, path, FOLLOW, &object);
        if (code == 0)
            code = list_pairs(call.context, object.id, list);
        code = db_end(&call.context->database, code);
    }
    code = (int)call_end(&call, code);
    if (code != 0 && is_started)
        free_pairs(list);
    return code;
}

#if HPSS_SIM_LEVEL >= 750
int hpss_UserAttrGetAttrs(const char *Path, hpss_userattr_list_t *Attrs, int XMLFlag, int XMLSize) {
    /* Callers pass the size of their buffers less one. */
    return get(Path, Attrs, XMLFlag, XMLSize + 1);
}

int hpss_UserAttrListAttrs(const char *Path, hpss_userattr_list_t *Attrs, int Flags, int XMLSize) {
    (void)Flags;
    (void)XMLSize;
    return list_all(Path, Attrs);
}
#else
int hpss_UserAttrGetAttrs(char *Path, hpss_userattr_list_t *Attrs, int XMLFlag) {
    return get(Path, Attrs, XMLFlag, HPSS_XML_SIZE);
}

int hpss_UserAttrListAttrs(char *Path, hpss_userattr_list_t *Attrs, int Flags) {
    (void)Flags;
    return list_all(Path, Attrs);
}
#endif

char *hpss_ChompXMLHeader(char *XML, char *Header) {
    if (XML == NULL)
        return NULL;
    const char *text = XML;
    if (strncmp(XML, "<?xml", 5) == 0 && strstr(XML, "?>") != NULL)
        text = strstr(XML, "?>") + 2;
    if (Header != NULL) {
        memcpy(Header, XML, (size_t)(text - XML));
        Header[text - XML] = 0;
    }
    text += strspn(text, "\r\n");
    return *text == 0 ? NULL : strdup(text);
}
