/* The raw epoll loop: level-triggered, one receive and one send for each event.
 *
 * No readiness is asked for that is not needed, nothing is registered twice, a connection that
 * is idle holds no buffer, and what does not fit is kept and sent when the socket is writable;
 * until then nothing is read from that connection. */

#include "listen.h"

#include <sys/epoll.h>

#define BUFFER (256 * 1024)
#define EVENTS 1024
#define BATCH 64
#define DATAGRAM 2048

struct connection {
    struct bytes pending; /* What could not be sent yet. */
    struct bytes carry;   /* The beginning of a line. */
    uint32_t member;      /* Its place among the members of a fan-out. */
    bool is_open;
};

struct loop {
    int epoll;
    struct connection *connections; /* By descriptor. */
    char *in, *out;
    /* Of a fan-out: who is here, and the lines of this turn. */
    int *members;
    uint32_t member_count;
    struct bytes turn;
};

static void watch(struct loop *loop, int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop->epoll, operation, fd, &event) < 0) {
        die("epoll_ctl");
    }
}

static void close_connection(struct loop *loop, int fd) {
    struct connection *connection = &loop->connections[fd];
    release(&connection->pending);
    release(&connection->carry);
    connection->is_open = false;
    if (service == FANOUT) {
        int last = loop->members[--loop->member_count];
        loop->members[connection->member] = last;
        loop->connections[last].member = connection->member;
    }
    close(fd);
}

static void accept_all(struct loop *loop, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        struct connection *connection = &loop->connections[fd];
        connection->is_open = true;
        if (service == FANOUT) {
            connection->member = loop->member_count;
            loop->members[loop->member_count++] = fd;
        }
        watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* Sends, and keeps what the socket does not take; false if the connection is gone. */
static bool send_or_keep(struct loop *loop, int fd, const char *bytes, size_t length) {
    struct connection *connection = &loop->connections[fd];
    bool was_waiting = connection->pending.length > 0;
    ssize_t sent = 0;
    if (!was_waiting) {
        sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                return false;
            }
            sent = 0;
        }
        if ((size_t)sent == length) {
            return true;
        }
    }
    if (!append(&connection->pending, bytes + sent, length - (size_t)sent)) {
        return false;
    }
    if (!was_waiting) {
        /* A member of a fan-out is still read from: it owes nobody a reply. */
        watch(loop, EPOLL_CTL_MOD, fd, service == FANOUT ? EPOLLIN | EPOLLOUT : EPOLLOUT);
    }
    return true;
}

static bool flush(struct loop *loop, int fd) {
    struct bytes *pending = &loop->connections[fd].pending;
    if (pending->length == 0) {
        return true;
    }
    ssize_t sent = send(fd, pending->start, pending->length, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    pending->length -= (uint32_t)sent;
    memmove(pending->start, pending->start + sent, pending->length);
    if (pending->length == 0) {
        release(pending);
        watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN);
    }
    return true;
}

/* Reads once and answers; false if the connection is to be closed. */
static bool attend(struct loop *loop, int fd) {
    struct connection *connection = &loop->connections[fd];
    size_t carried = connection->carry.length;
    if (carried >= BUFFER / 2) {
        return false; /* A line without an end. */
    }
    if (carried > 0) {
        memcpy(loop->in, connection->carry.start, carried);
    }
    ssize_t received = recv(fd, loop->in + carried, BUFFER - carried, 0);
    if (received <= 0) {
        return received < 0 && (errno == EAGAIN || errno == EINTR);
    }
    if (service == ECHO) {
        return send_or_keep(loop, fd, loop->in, (size_t)received);
    }
    size_t length = carried + (size_t)received;
    size_t whole = copy_lines(loop->out, loop->in, length);
    if (carried > 0) {
        release(&connection->carry);
    }
    if (whole < length && !append(&connection->carry, loop->in + whole, length - whole)) {
        return false;
    }
    if (whole == 0) {
        return true;
    }
    if (service == FANOUT) {
        return append(&loop->turn, loop->out, whole);
    }
    return send_or_keep(loop, fd, loop->out, whole);
}

/* Sends the lines of this turn to every member, in one send each. */
static void fan_out(struct loop *loop) {
    if (loop->turn.length == 0) {
        return;
    }
    /* From the end, so that a member that is closed changes places with one that is done. */
    for (uint32_t at = loop->member_count; at-- > 0;) {
        int fd = loop->members[at];
        if (!send_or_keep(loop, fd, loop->turn.start, loop->turn.length)) {
            close_connection(loop, fd);
        }
    }
    loop->turn.length = 0;
}

static void streams(int listener) {
    struct loop loop = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    loop.connections = need(calloc(MAX_FDS, sizeof *loop.connections));
    loop.members = need(calloc(MAX_FDS, sizeof *loop.members));
    loop.in = need(malloc(BUFFER));
    loop.out = need(malloc(BUFFER));
    static __thread struct epoll_event events[EVENTS];
    watch(&loop, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(loop.epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            uint32_t flags = events[i].events;
            if (fd == listener) {
                accept_all(&loop, listener);
                continue;
            }
            if (!loop.connections[fd].is_open) {
                continue; /* Closed earlier in this turn. */
            }
            bool is_well = !(flags & EPOLLOUT) || flush(&loop, fd);
            if (is_well && (flags & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                is_well = attend(&loop, fd);
            }
            if (!is_well) {
                close_connection(&loop, fd);
            }
        }
        fan_out(&loop);
    }
}

/* One blocking receive of a batch and one send of it: nothing else is to be waited for. */
static void datagrams(int socket) {
    static __thread struct mmsghdr batch[BATCH];
    static __thread struct iovec vectors[BATCH];
    static __thread struct sockaddr_in peers[BATCH];
    char *memory = need(malloc(BATCH * DATAGRAM));
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i] = (struct iovec){memory + i * DATAGRAM, DATAGRAM};
            batch[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
                                               .msg_namelen = sizeof peers[i],
                                               .msg_iov = &vectors[i],
                                               .msg_iovlen = 1};
        }
        int received = recvmmsg(socket, batch, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++) {
            vectors[i].iov_len = batch[i].msg_len;
        }
        for (int sent = 0; sent < received;) {
            int now = sendmmsg(socket, batch + sent, (unsigned)(received - sent), 0);
            sent += now > 0 ? now : 1; /* A datagram that cannot be sent is lost. */
        }
    }
}

static void *run(void *listener) {
    int fd = *(int *)listener;
    if (service == DATAGRAMS) {
        datagrams(fd);
    } else {
        streams(fd);
    }
    return NULL;
}

int main(int argc, char **argv) {
    /* Datagrams are waited for in the receive itself. */
    bool nonblocking = argc > 1 && strcmp(argv[1], "datagrams") != 0;
    return serve(argc, argv, nonblocking, run);
}
