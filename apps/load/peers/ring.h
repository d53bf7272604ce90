/* The io_uring itself, with the bare system calls: set up, submit, buffers that the kernel picks. */

#ifndef RING_H
#define RING_H

#include "listen.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SUBMISSIONS 4096
#define COMPLETIONS 32768

struct ring {
    int fd;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, tail, submitted;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

/* Buffers of one size; the kernel takes them in the order in which they were given. */
struct buffers {
    struct io_uring_buf_ring *ring;
    char *memory;
    uint32_t count, stride, size;
    uint16_t tail;
};

static void *map(size_t length, int fd, off_t offset) {
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (memory == MAP_FAILED) {
        die("mmap");
    }
    return memory;
}

static void ring_open(struct ring *ring) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_SUBMIT_ALL,
        .cq_entries = COMPLETIONS,
    };
    ring->fd = (int)syscall(__NR_io_uring_setup, SUBMISSIONS, &params);
    if (ring->fd < 0) {
        die("io_uring_setup");
    }
    size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    char *rings = map(cq_bytes > sq_bytes ? cq_bytes : sq_bytes, ring->fd, IORING_OFF_SQ_RING);
    ring->sqes = map(params.sq_entries * sizeof *ring->sqes, ring->fd, (off_t)IORING_OFF_SQES);
    ring->sq_head = (unsigned *)(rings + params.sq_off.head);
    ring->sq_tail = (unsigned *)(rings + params.sq_off.tail);
    ring->sq_mask = params.sq_entries - 1;
    ring->cq_head = (unsigned *)(rings + params.cq_off.head);
    ring->cq_tail = (unsigned *)(rings + params.cq_off.tail);
    ring->cq_mask = params.cq_entries - 1;
    ring->cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
    unsigned *array = (unsigned *)(rings + params.sq_off.array);
    for (unsigned i = 0; i < params.sq_entries; i++) {
        array[i] = i; /* Each place of the queue is its own entry, for ever. */
    }
}

static void ring_register(struct ring *ring, unsigned what, const void *argument, unsigned count) {
    if (syscall(__NR_io_uring_register, ring->fd, what, argument, count) < 0) {
        die("io_uring_register");
    }
}

/* Hands over what was prepared, and waits for `wanted` completions. */
static void ring_enter(struct ring *ring, unsigned wanted) {
    __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
    unsigned count = ring->tail - ring->submitted;
    long taken = syscall(__NR_io_uring_enter, ring->fd, count, wanted,
                         wanted ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
    if (taken >= 0) {
        ring->submitted += (unsigned)taken;
    } else if (errno == EBUSY || errno == EAGAIN) {
        /* The completions wait to be reaped first. */
        syscall(__NR_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    } else if (errno != EINTR) {
        die("io_uring_enter");
    }
}

/* A cleared entry to fill in. */
static struct io_uring_sqe *ring_entry(struct ring *ring, uint8_t opcode, int fd, uint64_t data) {
    while (ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) > ring->sq_mask) {
        ring_enter(ring, 0);
    }
    struct io_uring_sqe *entry = &ring->sqes[ring->tail++ & ring->sq_mask];
    memset(entry, 0, sizeof *entry);
    entry->opcode = opcode;
    entry->fd = fd;
    entry->user_data = data;
    return entry;
}

static char *buffer(struct buffers *buffers, uint32_t id) {
    return buffers->memory + (size_t)id * buffers->stride;
}

/* Gives a buffer to the kernel; `buffers_publish` makes it seen. */
static void buffer_give(struct buffers *buffers, uint32_t id) {
    /* The tail shares its place with a field of the first entry that is not used. */
    struct io_uring_buf *entry = &buffers->ring->bufs[buffers->tail++ & (buffers->count - 1)];
    entry->addr = (uint64_t)(uintptr_t)buffer(buffers, id);
    entry->len = buffers->size;
    entry->bid = (uint16_t)id;
}

static void buffers_publish(struct buffers *buffers) {
    __atomic_store_n(&buffers->ring->tail, buffers->tail, __ATOMIC_RELEASE);
}

/* `count` is a power of two. */
static void buffers_open(struct buffers *buffers, struct ring *ring, uint32_t count, uint32_t size) {
    /* A cache line more, lest all buffers begin in the same sets of the cache. */
    *buffers = (struct buffers){.count = count, .size = size, .stride = size + 64};
    buffers->ring = map(count * sizeof(struct io_uring_buf), -1, 0);
    buffers->memory = map((size_t)count * buffers->stride, -1, 0);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)buffers->ring,
                                            .ring_entries = count};
    ring_register(ring, IORING_REGISTER_PBUF_RING, &registration, 1);
    for (uint32_t id = 0; id < count; id++) {
        buffer_give(buffers, id);
    }
    buffers_publish(buffers);
}

#endif
