/* Callbacks: whoever plays the library up to now also tells those that wait for what has ended.

   The wire format is the simulator's own: the text "<request id in hexadecimal> <code>\n", and the connection is
   closed. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim.h"

#define NOBODY "none"

void callback_text(const bfs_callback_addr_t *address, char *text, size_t size) {
    char host[INET6_ADDRSTRLEN] = "", id[REQUEST_ID_TEXT];
    const struct sockaddr_in *four = (const struct sockaddr_in *)&address->sockaddr;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&address->sockaddr;
    int family = address->sockaddr.ss_family;
    request_id_text(&address->id, id);
    if (family == AF_INET && inet_ntop(family, &four->sin_addr, host, sizeof host) != NULL)
        snprintf(text, size, "%s %d %s", host, ntohs(four->sin_port), id);
    else if (family == AF_INET6 && inet_ntop(family, &six->sin6_addr, host, sizeof host) != NULL)
        snprintf(text, size, "%s %d %s", host, ntohs(six->sin6_port), id);
    else
        snprintf(text, size, NOBODY);
}

static int connect_within(const struct sockaddr *address, socklen_t length, double timeout) {
    int connection = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    int result = connect(connection, address, length);
    if (result != 0 && errno == EINPROGRESS) {
        struct pollfd wait = {.fd = connection, .events = POLLOUT};
        socklen_t size = sizeof result;
        if (poll(&wait, 1, (int)(timeout * 1000)) != 1 ||
            getsockopt(connection, SOL_SOCKET, SO_ERROR, &result, &size) != 0)
            result = -1;
    }
    if (result == 0)
        return connection;
    close(connection);
    return -1;
}

static bool tell(const char *callback, int result, double timeout) {
    char host[INET6_ADDRSTRLEN], id[REQUEST_ID_TEXT], message[REQUEST_ID_TEXT + 16];
    int port;
    if (sscanf(callback, "%45s %d %39s", host, &port, id) != 3)
        return false;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
    if (!is_four && inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        return false;
    int connection = is_four ? connect_within((struct sockaddr *)&four, sizeof four, timeout)
                             : connect_within((struct sockaddr *)&six, sizeof six, timeout);
    if (connection < 0)
        return false;
    int length = snprintf(message, sizeof message, "%s %d\n", id, result);
    bool is_told = send(connection, message, (size_t)length, MSG_NOSIGNAL) == length;
    close(connection);
    return is_told;
}

/* Takes one ended request whose asker has not been told: 1, or 0 when there is none. */
static int claim(struct database *database, char **callback, int *result) {
    sqlite3_stmt *row;
    sqlite3_int64 id = 0;
    int code = db_write(database);
    int found = code != 0 ? code
                          : db_row(database, &row,
                                   "SELECT id, callback, code FROM request"
                                   " WHERE callback IS NOT NULL AND finished IS NOT NULL LIMIT 1",
                                   "");
    if (found == 1) {
        id = sqlite3_column_int64(row, 0);
        *callback = strdup((const char *)sqlite3_column_text(row, 1));
        *result = sqlite3_column_int(row, 2);
        db_done(row);
        code = *callback == NULL ? HPSS_ENOMEM
                                 : db_run(database, "UPDATE request SET callback = NULL WHERE id = ?", "i", id);
    }
    code = db_end(database, found < 0 ? found : code);
    if (code != 0 && found == 1)
        free(*callback);
    return code != 0 ? code : found;
}

int callback_deliver(struct database *database, struct control *control, double timeout) {
    for (;;) {
        sqlite3_int64 waiting;
        char *callback = NULL;
        int result = 0;
        int code = db_integer(database, &waiting, 0,
                              "SELECT 1 FROM request WHERE callback IS NOT NULL AND finished IS NOT NULL LIMIT 1", "");
        if (code != 0 || !waiting)
            return code;
        code = claim(database, &callback, &result);
        if (code < 1)
            return code;
        bool is_told = tell(callback, result, timeout);
        atomic_fetch_add(is_told ? &control->callbacks : &control->alarms, 1);
        free(callback);
    }
}
