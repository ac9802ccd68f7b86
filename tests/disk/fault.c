/* A disk that fails on request, for a program that was started with this in LD_PRELOAD.
 *
 * WAGATE_TEST_DISK names a file. While it holds "full", writes to a database's file end with ENOSPC; while it holds
 * "broken", flushes of a database's file end with EIO. Files whose path holds "wagate.db" are meant, and nothing else.
 * Whatever is not spoilt goes to the system as it came. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fault_is(const char *wanted) {
    const char *path = getenv("WAGATE_TEST_DISK");
    char text[16] = {0};
    if (path == NULL) return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    return got > 0 && strncmp(text, wanted, strlen(wanted)) == 0;
}

static int is_database(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "wagate.db") != NULL;
}

static int spoilt(int fd, const char *fault, int error) {
    int before = errno;
    int is = fault_is(fault) && is_database(fd);
    errno = is ? error : before;
    return is;
}

static int no_room(int fd) { return spoilt(fd, "full", ENOSPC); }

static int no_flush(int fd) { return spoilt(fd, "broken", EIO); }

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return no_room(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return no_room(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    return no_room(fd) ? -1 : syscall(SYS_write, fd, bytes, count);
}

int fsync(int fd) {
    return no_flush(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return no_flush(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
