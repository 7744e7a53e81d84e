/* Durable creates of small files, in the order of steps behind an acknowledged PUT, by a program that does nothing else.
 *
 *   creates FOLDER THREADS FILES SECONDS
 *
 * Each thread on its own: an unnamed file, 1 KiB of data, a digest as attribute, the mode, fsync; then its name, and
 * fsync of the directory. It ends after FILES or SECONDS, and prints a line of JSON. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int directory;
static long files;
static double finish;
static atomic_long next, made;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void require(int holds, const char *what) {
    if (holds) return;
    perror(what);
    exit(1);
}

static void create(long number) {
    static const char data[1024], digest[32];
    char name[24], open_file[40];
    int fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    require(fd >= 0, "open");
    require(pwrite(fd, data, sizeof data, 0) == sizeof data, "pwrite");
    require(!fsetxattr(fd, "user.pacarchive.sha256", digest, sizeof digest, 0), "fsetxattr");
    require(!fchmod(fd, 0444), "fchmod");
    require(!fsync(fd), "fsync");
    snprintf(name, sizeof name, "%ld", number);
    snprintf(open_file, sizeof open_file, "/proc/self/fd/%d", fd);
    require(!linkat(AT_FDCWD, open_file, directory, name, AT_SYMLINK_FOLLOW), "linkat");
    require(!fsync(directory), "fsync of the directory");
    close(fd);
}

static void *work(void *unused) {
    long number;
    while ((number = atomic_fetch_add(&next, 1)) < files && now() < finish) {
        create(number);
        atomic_fetch_add(&made, 1);
    }
    return unused;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int threads = atoi(argv[2]);
    double begun = now();
    struct rusage used;
    files = atol(argv[3]);
    finish = begun + atof(argv[4]);
    directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(directory >= 0, argv[1]);
    pthread_t *all = calloc(threads, sizeof *all);
    require(all != NULL, "calloc");
    for (int i = 0; i < threads; i++) require(!pthread_create(&all[i], NULL, work, NULL), "pthread_create");
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    double seconds = now() - begun;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"made\": %ld, \"seconds\": %.6f, \"cpu\": %.6f}\n", (long)made, seconds,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6);
    return 0;
}
