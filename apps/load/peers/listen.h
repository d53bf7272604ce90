/* What both raw loops share: arguments, listeners, the line on standard output, finding lines. */

#ifndef LISTEN_H
#define LISTEN_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum service { ECHO, LINES, DATAGRAMS, FANOUT };

/* As many descriptors as a loop has connections for; a connection above is closed at once. */
#define MAX_FDS 65536
/* What one connection may owe before it is closed. */
#define MAX_PENDING (4u << 20)
#define MAX_LOOPS 64

static enum service service;
static int listeners[MAX_LOOPS];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *need(void *memory) {
    if (memory == NULL) {
        die("memory");
    }
    return memory;
}

/* A socket bound to 127.0.0.1:port; several may share the port. */
static int bound(uint16_t *port, bool nonblocking) {
    bool datagrams = service == DATAGRAMS;
    int type = (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    int fd = socket(AF_INET, type | (nonblocking ? SOCK_NONBLOCK : 0), 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(*port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        die("bind");
    }
    if (!datagrams) {
        /* Accepted sockets inherit it. */
        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 || listen(fd, 4096) < 0) {
            die("listen");
        }
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* Runs `loop` on each of the sockets and never returns. `argv` is SERVICE LOOPS. */
static int serve(int argc, char **argv, bool nonblocking, void *(*loop)(void *)) {
    static const char *const names[] = {"echo", "lines", "datagrams", "fanout"};
    int loops = argc == 3 ? atoi(argv[2]) : 0, chosen = 0;
    while (chosen < 4 && argc == 3 && strcmp(argv[1], names[chosen]) != 0) {
        chosen++;
    }
    service = (enum service)chosen;
    /* Members of a fan-out are those of one loop. */
    if (loops < 1 || loops > MAX_LOOPS || chosen == 4 || (service == FANOUT && loops > 1)) {
        fprintf(stderr, "usage: %s echo|lines|datagrams|fanout LOOPS\n", argv[0]);
        return 2;
    }
    uint16_t port = 0;
    for (int i = 0; i < loops; i++) {
        listeners[i] = bound(&port, nonblocking);
    }
    printf("listening on %s://127.0.0.1:%u\n", service == DATAGRAMS ? "udp" : "tcp", port);
    fflush(stdout);
    for (int i = 1; i < loops; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, loop, &listeners[i]) != 0) {
            die("thread");
        }
    }
    loop(&listeners[0]);
    return 1;
}

/* Bytes that grow to a bound. */
struct bytes {
    char *start;
    uint32_t length, room;
};

static bool append(struct bytes *bytes, const char *more, size_t length) {
    if (bytes->length + length > bytes->room) {
        size_t room = bytes->room ? bytes->room : 1024;
        while (room < bytes->length + length) {
            room *= 2;
        }
        if (room > MAX_PENDING) {
            return false;
        }
        bytes->start = need(realloc(bytes->start, room));
        bytes->room = (uint32_t)room;
    }
    memcpy(bytes->start + bytes->length, more, length);
    bytes->length += (uint32_t)length;
    return true;
}

/* Gives back memory that is not in use, so that an idle connection holds none. */
static void release(struct bytes *bytes) {
    free(bytes->start);
    *bytes = (struct bytes){0};
}

/* Copies the whole lines of `from` to `to`, one by one as a server that looks at them would;
 * returns how many bytes they are. */
static size_t copy_lines(char *to, const char *from, size_t length) {
    size_t done = 0;
    for (const char *end; (end = memchr(from + done, '\n', length - done)) != NULL;) {
        size_t line = (size_t)(end + 1 - (from + done));
        memcpy(to + done, from + done, line);
        done += line;
    }
    return done;
}

#endif
