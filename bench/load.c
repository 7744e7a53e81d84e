/* A small HTTP/1.1 client that costs little, for many small requests to a server on the loopback interface.
 *
 *   load -p PORT -m METHOD -c CONNECTIONS -N REQUESTS -t SECONDS [-i FIRST -n IDS -b BYTES] [-r RATE] [-k]
 *
 * PUT and DELETE take the ids FIRST, FIRST + 1, ...; GET and HEAD random ones of the IDS from FIRST, or "/" without -n.
 * The BYTES of an object follow from its id, and every GET of one is compared with them.
 *
 * Without -r each connection asks again as soon as it is answered. With -r requests are due at a fixed rate, and a
 * latency counts from when its request was due, so that a server that stalls cannot hide it.
 *
 * With -k every request has a connection of its own, for servers that close one after each answer without a word.
 *
 * A run ends by itself after REQUESTS or SECONDS (and a few more), or on SIGINT. It prints a line of JSON.
 * Answers with Transfer-Encoding are not understood and count as failed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MOST = 512, BODY_MOST = 4096, BUFFER = 16384 };

static struct {
    const char *method;
    unsigned long long first, ids, requests;
    long long bytes;
    int port, connections;
    double seconds, rate;
    bool closing;
} opt = {.method = "GET", .requests = 1, .connections = 1, .seconds = 1};

static const double patience = 5; /* with one request, in seconds */
static struct sockaddr_in server;
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    (void)number;
    stopped = 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static bool is(const char *method) { return !strcmp(opt.method, method); }

/* -- what it knows of HTTP -- */

struct answer {
    int status;
    long long length; /* -1: until the connection ends */
    bool closing;
};

/* The length of the head at the start of a text; 0: not whole yet; -1: nothing that this client understands. */
static long long read_head(const char *text, struct answer *a) {
    const char *end = strstr(text, "\r\n\r\n"), *line = text;
    if (!end) return 0;
    if (sscanf(text, "HTTP/1.%*1[01] %3d", &a->status) != 1) return -1;
    a->closing = opt.closing || text[7] == '0';
    a->length = -1;
    while ((line = strstr(line, "\r\n") + 2) < end) {
        if (!strncasecmp(line, "content-length:", 15)) a->length = atoll(line + 15);
        if (!strncasecmp(line, "connection:", 11))
            a->closing = opt.closing || !strncasecmp(line + 11 + strspn(line + 11, " "), "close", 5);
        if (!strncasecmp(line, "transfer-encoding:", 18)) return -1;
    }
    if (is("HEAD") || a->status == 204) a->length = 0;
    if (a->length < 0) a->closing = true;
    return end + 4 - text;
}

/* -- requests -- */

struct connection {
    int fd; /* -1: none */
    bool busy;
    unsigned long long id;
    double due, begun;
    int request_length;
    size_t used;
    char request[HEAD_MOST + BODY_MOST], buffer[BUFFER + 1];
};

static int epoll, idle_count;
static struct connection **idle;
static unsigned long long started, ok, failed, wrong, ended;
static double *latencies, start, last_end;
static char problem[96]; /* of the first request that has one */

/* The bytes of a small object: its id, again and again. */
static void fill(char *to, unsigned long long id) {
    char word[24];
    snprintf(word, sizeof word, "%020llu", id);
    for (long long i = 0; i < opt.bytes; i += 20) memcpy(to + i, word, opt.bytes - i < 20 ? opt.bytes - i : 20);
}

static int write_request(char *to, unsigned long long id) {
    int n = snprintf(to, HEAD_MOST, "%s /", opt.method);
    if (opt.ids) n += snprintf(to + n, HEAD_MOST - n, "%llu", id);
    n += snprintf(to + n, HEAD_MOST - n, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", opt.port);
    if (is("PUT")) n += snprintf(to + n, HEAD_MOST - n, "Content-Length: %lld\r\n", opt.bytes);
    n += snprintf(to + n, HEAD_MOST - n, "\r\n");
    if (!is("PUT")) return n;
    fill(to + n, id);
    return n + (int)opt.bytes;
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void end(struct connection *c, unsigned long long *counter, const char *words, int number) {
    last_end = now();
    latencies[ended++] = last_end - c->due;
    if (words && !*problem) snprintf(problem, sizeof problem, words, number);
    ++*counter;
    c->busy = false;
    idle[idle_count++] = c;
}

static void fail(struct connection *c, const char *words, int number) {
    hang_up(c);
    end(c, &failed, words, number);
}

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event) < 0) die("epoll_ctl");
}

/* A request is far smaller than the send buffer of a connection that has nothing else under way. */
static void transmit(struct connection *c) {
    if (send(c->fd, c->request, c->request_length, MSG_NOSIGNAL) != c->request_length) fail(c, "cannot send", 0);
}

static void begin(struct connection *c, double due) {
    static unsigned long long random = 88172645463325252ULL; /* xorshift64 */
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    c->id = opt.first + (is("PUT") || is("DELETE") ? started : opt.ids ? random % opt.ids : 0);
    c->request_length = write_request(c->request, c->id);
    c->busy = true, c->due = due, c->begun = now(), c->used = 0, started++;
    if (c->fd >= 0) {
        transmit(c);
        return;
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(c->fd, (void *)&server, sizeof server) < 0 && errno != EINPROGRESS) fail(c, "cannot connect", 0);
    else watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Whether an answer is whole by now, and what it is worth. */
static void assess(struct connection *c, bool at_end) {
    struct answer a;
    char expected[BODY_MOST];
    c->buffer[c->used] = 0;
    long long head = read_head(c->buffer, &a), body = (long long)c->used - head;
    if (head < 0) return fail(c, "an answer that the client does not understand", 0);
    if (head == 0 || (a.length < 0 ? !at_end : body < a.length)) {
        if (at_end) fail(c, "closed before the end of the answer", 0);
        else if (c->used == BUFFER) fail(c, "an answer that is too long", 0);
        return;
    }
    if (a.closing || at_end) hang_up(c);
    if (a.status < 200 || a.status > 299) return end(c, &failed, "status %d", a.status);
    if (a.length >= 0 && body > a.length) return fail(c, "bytes after the answer", 0);
    if (is("GET") && opt.ids) {
        fill(expected, c->id);
        if (body != opt.bytes || memcmp(c->buffer + head, expected, body)) return end(c, &wrong, "wrong bytes", 0);
    }
    end(c, &ok, NULL, 0);
}

static void on_event(struct connection *c, unsigned events) {
    if (c->fd < 0) return;
    if (events & EPOLLOUT) { /* connected, or not: sending tells */
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        return transmit(c);
    }
    ssize_t n = recv(c->fd, c->buffer + c->used, BUFFER - c->used, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (!c->busy) return hang_up(c);
    if (n < 0) return fail(c, "connection reset", 0);
    c->used += n;
    assess(c, n == 0);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) { return ended ? latencies[(size_t)(q * (double)(ended - 1) + 0.5)] * 1e3 : 0; }

static void report(void) {
    qsort(latencies, ended, sizeof *latencies, by_size);
    printf("{\"started\": %llu, \"ok\": %llu, \"failed\": %llu, \"wrong\": %llu, \"seconds\": %.6f, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"problem\": \"%s\"}\n",
           started, ok, failed, wrong, ended ? last_end - start : 0, quantile(0.5), quantile(0.99), problem);
}

/* Ask and listen until nothing more is due and nothing is under way. */
static void run(struct connection *all) {
    struct epoll_event events[256];
    double finish = start + opt.seconds, scanned = start;
    for (;;) {
        double time = now(), due = time, wait = 0.05;
        if (stopped && time < finish) finish = time;
        for (;;) {
            if (opt.rate > 0) due = start + (double)started / opt.rate;
            if (!idle_count || started == opt.requests || due > time || due >= finish) break;
            begin(idle[--idle_count], opt.rate > 0 ? due : now());
        }
        bool more = started < opt.requests && due < finish;
        if ((!more && idle_count == opt.connections) || time > finish + patience) break;
        if (time > scanned + 0.05) {
            scanned = time;
            for (int i = 0; i < opt.connections; i++)
                if (all[i].busy && time > all[i].begun + patience) fail(&all[i], "no answer in time", 0);
        }
        if (more && idle_count && due < time + wait) wait = due > time ? due - time : 0;
        if (opt.rate > 0) /* epoll_wait(2) counts in milliseconds */
            ppoll(&(struct pollfd){.fd = epoll, .events = POLLIN}, 1, &(struct timespec){0, (long)(wait * 1e9)}, NULL);
        int n = epoll_wait(epoll, events, 256, opt.rate > 0 ? 0 : 50);
        for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events);
    }
    for (int i = 0; i < opt.connections; i++)
        if (all[i].busy) fail(&all[i], "no answer in time", 0);
    if (opt.rate > 0) /* what was due but found no free connection */
        for (; started < opt.requests && start + (double)started / opt.rate < finish; started++) failed++;
}

int main(int argc, char **argv) {
    for (int o; (o = getopt(argc, argv, "p:m:c:N:t:i:n:b:r:k")) != -1;) switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'm': opt.method = optarg; break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'N': opt.requests = strtoull(optarg, NULL, 10); break;
        case 't': opt.seconds = atof(optarg); break;
        case 'i': opt.first = strtoull(optarg, NULL, 10); break;
        case 'n': opt.ids = strtoull(optarg, NULL, 10); break;
        case 'b': opt.bytes = atoll(optarg); break;
        case 'r': opt.rate = atof(optarg); break;
        case 'k': opt.closing = true; break;
        default: return 2;
    }
    if (opt.bytes > BODY_MOST) return 2;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(opt.port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    prctl(PR_SET_TIMERSLACK, 1);
    struct connection *all = calloc(opt.connections, sizeof *all);
    idle = calloc(opt.connections, sizeof *idle);
    latencies = calloc(opt.requests, sizeof *latencies);
    if (!all || !idle || !latencies || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) die("load");
    for (int i = opt.connections - 1; i >= 0; i--) all[i].fd = -1, idle[idle_count++] = &all[i];
    putchar('\n'); /* whoever waits for this knows that SIGINT is heard from now on */
    fflush(stdout);
    start = now();
    run(all);
    report();
    return 0;
}
