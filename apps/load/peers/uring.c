/* The raw io_uring loop: one enter for each turn.
 *
 * Accepting and receiving are multishot, the kernel picks the buffers and keeps the descriptors,
 * and completions are worked off in the loop's own turn (DEFER_TASKRUN). A connection that fills a
 * buffer is a bulk connection from then on and has one of its own, so that it takes more at a time. */

#include "ring.h"

#define BUFFERS 1024
#define BUFFER (16 * 1024)
#define BULK (256 * 1024)
#define BULK_CONNECTIONS 256
/* Of the lines of a fan-out that a member may be behind; a power of two. */
#define LOG (4u << 20)
#define NONE UINT32_MAX

enum operation { ACCEPT, RECEIVE, RECEIVE_BULK, SEND, SEND_DATAGRAM, OTHER };

struct connection {
    bool is_open, is_receiving, is_sending, is_bulk, is_starved, has_ended;
    uint32_t first, last;        /* Buffers to be echoed, in order; the first may be under way. */
    char *own;                   /* The buffer of a bulk connection. */
    struct bytes carry;          /* The beginning of a line. */
    struct bytes waits, flies;   /* Lines to be sent, and those under way. */
    uint32_t sent, size;         /* Of what is under way. */
    uint32_t member;             /* Its place in the fan-out. */
    uint64_t position;           /* In the log of the fan-out. */
};

struct loop {
    struct ring ring;
    struct buffers buffers;
    struct connection *connections; /* By the kernel's number. */
    uint32_t limit;
    uint32_t next[BUFFERS], length[BUFFERS]; /* Of the buffers that are to be echoed. */
    uint32_t *starved, starved_count;        /* Found no buffer to receive into. */
    uint32_t bulk_count;
    bool has_given;
    char *log; /* Mapped twice in a row, so that no piece of it is broken. */
    uint64_t head;
    bool is_due;
    uint32_t *members, member_count;
    int listener;
    struct msghdr receive, send[BUFFERS]; /* Of datagrams. */
    struct iovec vectors[BUFFERS];
};

static struct io_uring_sqe *entry(struct loop *loop, uint8_t opcode, uint32_t at,
                                  enum operation operation) {
    uint64_t data = (uint64_t)operation << 32 | at;
    struct io_uring_sqe *entry = ring_entry(&loop->ring, opcode, (int)at, data);
    entry->flags = IOSQE_FIXED_FILE;
    return entry;
}

static void give(struct loop *loop, uint32_t id) {
    buffer_give(&loop->buffers, id);
    loop->has_given = true;
}

static void arm_accept(struct loop *loop) {
    struct io_uring_sqe *accept = entry(loop, IORING_OP_ACCEPT, 0, ACCEPT);
    accept->fd = loop->listener;
    accept->flags = 0;
    accept->ioprio = IORING_ACCEPT_MULTISHOT;
    accept->file_index = IORING_FILE_INDEX_ALLOC;
}

static void arm_receive(struct loop *loop, uint32_t at) {
    struct io_uring_sqe *receive = entry(loop, IORING_OP_RECV, at, RECEIVE);
    receive->flags |= IOSQE_BUFFER_SELECT;
    receive->ioprio = IORING_RECV_MULTISHOT;
    loop->connections[at].is_receiving = true;
}

static void arm_bulk(struct loop *loop, uint32_t at) {
    struct connection *connection = &loop->connections[at];
    struct io_uring_sqe *receive = entry(loop, IORING_OP_RECV, at, RECEIVE_BULK);
    receive->addr = (uint64_t)(uintptr_t)connection->own;
    receive->len = BULK;
    connection->is_receiving = true;
}

static void submit_send(struct loop *loop, uint32_t at, const char *bytes, uint32_t size) {
    struct connection *connection = &loop->connections[at];
    struct io_uring_sqe *send = entry(loop, IORING_OP_SEND, at, SEND);
    send->addr = (uint64_t)(uintptr_t)bytes;
    send->len = size;
    send->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    connection->is_sending = true;
    connection->size = size;
}

/* Ends the connection; what is under way ends by itself then. */
static void cut(struct loop *loop, uint32_t at) {
    struct connection *connection = &loop->connections[at];
    if (!connection->has_ended && connection->is_receiving) {
        struct io_uring_sqe *shutdown = entry(loop, IORING_OP_SHUTDOWN, at, OTHER);
        shutdown->len = SHUT_RDWR;
    }
    connection->has_ended = true;
}

static void close_connection(struct loop *loop, uint32_t at) {
    struct connection *connection = &loop->connections[at];
    if (service == FANOUT) {
        uint32_t last = loop->members[--loop->member_count];
        loop->members[connection->member] = last;
        loop->connections[last].member = connection->member;
    }
    while (connection->first != NONE) {
        uint32_t id = connection->first;
        connection->first = loop->next[id];
        give(loop, id);
    }
    if (connection->own != NULL) {
        free(connection->own);
        loop->bulk_count--;
    }
    release(&connection->carry);
    release(&connection->waits);
    release(&connection->flies);
    connection->is_open = false;
    struct io_uring_sqe *close = entry(loop, IORING_OP_CLOSE, 0, OTHER);
    close->flags = 0;
    close->file_index = at + 1;
}

/* Goes on with a connection that is not sending. */
static void go_on(struct loop *loop, uint32_t at) {
    struct connection *connection = &loop->connections[at];
    if (connection->first != NONE) {
        uint32_t id = connection->first;
        submit_send(loop, at, buffer(&loop->buffers, id), loop->length[id]);
    } else if (connection->waits.length > 0) {
        struct bytes empty = connection->flies;
        connection->flies = connection->waits;
        connection->waits = empty;
        submit_send(loop, at, connection->flies.start, connection->flies.length);
    } else if (connection->has_ended) {
        if (!connection->is_receiving && !connection->is_starved) {
            close_connection(loop, at);
        }
    } else if (connection->is_bulk && !connection->is_receiving) {
        arm_bulk(loop, at);
    }
}

static void accepted(struct loop *loop, int result, bool more) {
    if (result >= 0) {
        uint32_t at = (uint32_t)result;
        loop->connections[at] =
            (struct connection){.is_open = true, .first = NONE, .position = loop->head};
        if (service == FANOUT) {
            loop->connections[at].member = loop->member_count;
            loop->members[loop->member_count++] = at;
        }
        arm_receive(loop, at);
    }
    if (!more) {
        arm_accept(loop);
    }
}

/* From now on the connection receives into a buffer of its own. */
static void become_bulk(struct loop *loop, uint32_t at) {
    struct connection *connection = &loop->connections[at];
    if (service != ECHO || connection->is_bulk || loop->bulk_count == BULK_CONNECTIONS) {
        return;
    }
    connection->own = need(malloc(BULK));
    connection->is_bulk = true;
    loop->bulk_count++;
    struct io_uring_sqe *cancel = entry(loop, IORING_OP_ASYNC_CANCEL, 0, OTHER);
    cancel->flags = 0;
    cancel->fd = -1;
    cancel->addr = (uint64_t)RECEIVE << 32 | at;
}

static void enqueue_echo(struct loop *loop, uint32_t at, uint32_t id, uint32_t length) {
    struct connection *connection = &loop->connections[at];
    loop->next[id] = NONE;
    loop->length[id] = length;
    if (connection->first == NONE) {
        connection->first = id;
    } else {
        loop->next[connection->last] = id;
    }
    connection->last = id;
}

/* Takes the whole lines out of what came, for the peer or for all; false if there is no end. */
static bool take_lines(struct loop *loop, struct connection *connection, const char *bytes,
                       size_t length) {
    struct bytes *carry = &connection->carry;
    bool has_carry = carry->length > 0;
    if (has_carry) {
        if (!append(carry, bytes, length)) {
            return false;
        }
        bytes = carry->start;
        length = carry->length;
    }
    size_t whole;
    if (service == FANOUT) {
        whole = length < LOG / 4 ? copy_lines(loop->log + loop->head % LOG, bytes, length) : 0;
        loop->head += whole;
        loop->is_due |= whole > 0;
    } else {
        struct bytes *waits = &connection->waits;
        if (!append(waits, bytes, length)) { /* Makes the room; the lines are copied below. */
            return false;
        }
        waits->length -= (uint32_t)length;
        whole = copy_lines(waits->start + waits->length, bytes, length);
        waits->length += (uint32_t)whole;
    }
    if (has_carry) {
        carry->length -= (uint32_t)whole;
        memmove(carry->start, carry->start + whole, carry->length);
        if (carry->length == 0) {
            release(carry);
        }
        return true;
    }
    return whole == length || append(carry, bytes + whole, length - whole);
}

static void received(struct loop *loop, uint32_t at, int result, unsigned flags) {
    struct connection *connection = &loop->connections[at];
    if (!(flags & IORING_CQE_F_MORE)) {
        connection->is_receiving = false;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
        if (result <= 0 || connection->has_ended) {
            give(loop, id);
        } else if (service == ECHO) {
            enqueue_echo(loop, at, id, (uint32_t)result);
            if (result == BUFFER) {
                become_bulk(loop, at);
            }
        } else {
            if (!take_lines(loop, connection, buffer(&loop->buffers, id), (size_t)result)) {
                cut(loop, at);
            }
            give(loop, id);
        }
    } else if (result == -ENOBUFS && !connection->is_bulk) {
        connection->is_starved = true;
        loop->starved[loop->starved_count++] = at;
        return;
    } else if (result != -ECANCELED && result != -ENOBUFS) {
        connection->has_ended = true;
    }
    if (!connection->is_receiving && !connection->has_ended && !connection->is_bulk) {
        arm_receive(loop, at);
    }
    if (!connection->is_sending) {
        go_on(loop, at);
    }
}

static void received_bulk(struct loop *loop, uint32_t at, int result) {
    struct connection *connection = &loop->connections[at];
    connection->is_receiving = false;
    if (result > 0) {
        submit_send(loop, at, connection->own, (uint32_t)result);
    } else {
        connection->has_ended = true;
        go_on(loop, at);
    }
}

static void sent(struct loop *loop, uint32_t at, int result) {
    struct connection *connection = &loop->connections[at];
    connection->is_sending = false;
    bool failed = result < 0 || (uint32_t)result < connection->size;
    if (service == FANOUT && !failed) {
        connection->position += (uint64_t)result;
        loop->is_due |= connection->position < loop->head;
    } else if (connection->first != NONE) {
        uint32_t id = connection->first;
        connection->first = loop->next[id];
        give(loop, id);
    } else {
        release(&connection->flies);
    }
    if (failed) {
        cut(loop, at);
    }
    go_on(loop, at);
}

/* Sends each member that is not being sent to what it has not had. */
static void fan_out(struct loop *loop) {
    if (!loop->is_due) {
        return;
    }
    loop->is_due = false;
    for (uint32_t i = 0; i < loop->member_count; i++) {
        uint32_t at = loop->members[i];
        struct connection *connection = &loop->connections[at];
        uint64_t behind = loop->head - connection->position;
        if (connection->has_ended || behind == 0) {
            continue;
        }
        if (behind > LOG / 2) {
            cut(loop, at);
        } else if (!connection->is_sending) {
            submit_send(loop, at, loop->log + connection->position % LOG, (uint32_t)behind);
        }
    }
}

static void arm_datagrams(struct loop *loop) {
    struct io_uring_sqe *receive = entry(loop, IORING_OP_RECVMSG, 0, RECEIVE);
    receive->fd = loop->listener;
    receive->flags = IOSQE_BUFFER_SELECT;
    receive->ioprio = IORING_RECV_MULTISHOT;
    receive->addr = (uint64_t)(uintptr_t)&loop->receive;
}

static void received_datagram(struct loop *loop, int result, unsigned flags) {
    if (flags & IORING_CQE_F_BUFFER) {
        uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
        struct io_uring_recvmsg_out *head = (void *)buffer(&loop->buffers, id);
        if (result < (int)(sizeof *head + sizeof(struct sockaddr_in))) {
            give(loop, id);
        } else {
            char *name = (char *)(head + 1);
            loop->vectors[id] =
                (struct iovec){name + sizeof(struct sockaddr_in), head->payloadlen};
            loop->send[id] = (struct msghdr){.msg_name = name,
                                             .msg_namelen = head->namelen,
                                             .msg_iov = &loop->vectors[id],
                                             .msg_iovlen = 1};
            struct io_uring_sqe *send = entry(loop, IORING_OP_SENDMSG, id, SEND_DATAGRAM);
            send->fd = loop->listener;
            send->flags = 0;
            send->addr = (uint64_t)(uintptr_t)&loop->send[id];
            send->len = 1;
        }
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        arm_datagrams(loop);
    }
}

static void completed(struct loop *loop, const struct io_uring_cqe *completion) {
    uint32_t at = (uint32_t)completion->user_data;
    bool more = completion->flags & IORING_CQE_F_MORE;
    switch ((enum operation)(completion->user_data >> 32)) {
    case ACCEPT:
        accepted(loop, completion->res, more);
        break;
    case RECEIVE:
        if (service == DATAGRAMS) {
            received_datagram(loop, completion->res, completion->flags);
        } else {
            received(loop, at, completion->res, completion->flags);
        }
        break;
    case RECEIVE_BULK:
        received_bulk(loop, at, completion->res);
        break;
    case SEND:
        sent(loop, at, completion->res);
        break;
    case SEND_DATAGRAM:
        give(loop, at);
        break;
    case OTHER:
        break;
    }
}

static void end_turn(struct loop *loop) {
    fan_out(loop);
    if (!loop->has_given) {
        return;
    }
    loop->has_given = false;
    buffers_publish(&loop->buffers);
    uint32_t count = loop->starved_count;
    loop->starved_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = loop->starved[i];
        loop->connections[at].is_starved = false;
        if (!loop->connections[at].has_ended) {
            arm_receive(loop, at);
        } else if (!loop->connections[at].is_sending) {
            go_on(loop, at);
        }
    }
}

static void prepare(struct loop *loop) {
    ring_open(&loop->ring);
    buffers_open(&loop->buffers, &loop->ring, BUFFERS, BUFFER);
    if (service == DATAGRAMS) {
        loop->receive.msg_namelen = sizeof(struct sockaddr_in);
        arm_datagrams(loop);
        return;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
        die("getrlimit");
    }
    loop->limit = files.rlim_cur < MAX_FDS ? (uint32_t)files.rlim_cur : MAX_FDS;
    struct io_uring_rsrc_register table = {.nr = loop->limit, .flags = IORING_RSRC_REGISTER_SPARSE};
    ring_register(&loop->ring, IORING_REGISTER_FILES2, &table, sizeof table);
    loop->connections = need(calloc(loop->limit, sizeof *loop->connections));
    loop->starved = need(calloc(loop->limit, sizeof *loop->starved));
    loop->members = need(calloc(loop->limit, sizeof *loop->members));
    if (service == FANOUT) {
        int file = memfd_create("log", MFD_CLOEXEC);
        loop->log = map(2 * LOG, -1, 0);
        if (file < 0 || ftruncate(file, LOG) < 0 ||
            mmap(loop->log, LOG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
                MAP_FAILED ||
            mmap(loop->log + LOG, LOG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
                MAP_FAILED) {
            die("log");
        }
    }
    arm_accept(loop);
}

static void *run(void *listener) {
    struct loop *loop = need(calloc(1, sizeof *loop));
    loop->listener = *(int *)listener;
    prepare(loop);
    struct ring *ring = &loop->ring;
    for (;;) {
        ring_enter(ring, 1);
        unsigned head = *ring->cq_head;
        unsigned tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            completed(loop, &ring->cqes[head & ring->cq_mask]);
        }
        __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
        end_turn(loop);
    }
    return NULL;
}

int main(int argc, char **argv) {
    return serve(argc, argv, false, run);
}
