#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"

#define RING_BYTES 262144 /* about 1,500 lines of the access log between two writes */

/*
 * Log rings carry the log lines of threads to stderr. Each worker and the main thread has a ring
 * with one producer and one consumer. The consumer is the writer thread, the only thread that may
 * block in write(2). The main thread's ring exists before the writer thread starts and after it has
 * ended.
 *
 * Theory of operation. `head_bytes` and `tail_bytes` count all bytes that were put into the ring
 * and taken out of it. They only grow; their difference is the content of the ring. Only the ring's
 * own thread stores head, and only the writer stores tail, so neither needs a lock.
 *
 * The writer sleeps in read(2) of `wake_fd` when all rings are empty. It sets `writer_sleeps`, then
 * looks at all rings once more. A producer stores head, then looks at `writer_sleeps`. All four are
 * sequentially consistent, so the writer sees the new line, or the producer sees that the writer
 * sleeps and wakes it. A line is never left behind.
 */
struct log_ring {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t head_bytes;
	_Atomic uint64_t dropped_count;
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t tail_bytes;
	char bytes[RING_BYTES];
};

static struct log_ring main_ring;
static struct log_ring *rings; /* of the workers; never freed, a worker may outlive the writer */
static unsigned ring_count;
static int wake_fd = -1; /* never closed, for the same reason */
static bool writer_runs;
static pthread_t writer;
static atomic_bool writer_sleeps;
static atomic_bool stopping;
static atomic_bool given_up; /* stderr is not read: see log_stop() */
static _Thread_local struct log_ring *own_ring;

/* Used only by the thread that writes. */
static int write_error;	 /* the errno of the last write, 0 if it succeeded */
static int lost_error;	 /* the errno with which lines were last lost, until it is reported */
static bool line_is_cut; /* the last write ended within a line */

/*
 * Writes all bytes to stderr; may block. Stops at an error such as a full disk. Returns the number
 * of bytes that were not written.
 */
static size_t write_all(const char *text, size_t length_bytes)
{
	size_t all_bytes = length_bytes;

	write_error = 0;
	if (line_is_cut && write(STDERR_FILENO, "\n", 1) == 1)
		line_is_cut = false;
	while (length_bytes) {
		ssize_t written = write(STDERR_FILENO, text, length_bytes);

		if (written > 0) {
			text += written;
			length_bytes -= (size_t)written;
		} else if (written < 0 && errno == EAGAIN) {
			/* another process made stderr non-blocking; wait as if it were blocking */
			struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};

			poll(&writable, 1, -1);
		} else if (written < 0 && errno != EINTR) {
			write_error = errno;
			line_is_cut |= length_bytes < all_bytes && text[-1] != '\n';
			break;
		}
	}
	return length_bytes;
}

static void wake_writer(void)
{
	uint64_t one = 1;
	ssize_t written = write(wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the writer wakes anyway */
}

/* Copies a whole line into the ring, or counts it as dropped. Wakes the writer if it sleeps. */
static void put(struct log_ring *ring, const char *line, size_t length_bytes)
{
	uint64_t head = atomic_load_explicit(&ring->head_bytes, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail_bytes, memory_order_acquire);
	size_t at = head % RING_BYTES;
	size_t before_wrap = MIN(length_bytes, RING_BYTES - at);

	if (length_bytes > RING_BYTES - (head - tail)) {
		atomic_fetch_add_explicit(&ring->dropped_count, 1, memory_order_relaxed);
		return;
	}
	memcpy(ring->bytes + at, line, before_wrap);
	memcpy(ring->bytes, line + before_wrap, length_bytes - before_wrap);
	atomic_store(&ring->head_bytes, head + length_bytes);
	if (atomic_load(&writer_sleeps) && atomic_exchange(&writer_sleeps, false))
		wake_writer();
}

void log_print(const char *text, size_t length_bytes)
{
	if (given_up)
		return;
	if (own_ring)
		put(own_ring, text, length_bytes);
	else
		write_all(text, length_bytes);
}

/* Writes a piece of a ring. Lines that could not be written are lost and counted. */
static void write_piece(struct log_ring *ring, const char *bytes, size_t count)
{
	size_t lost_bytes = write_all(bytes, count);
	uint64_t lines = 0;

	for (const char *at = bytes + count - lost_bytes; at < bytes + count; at++)
		lines += *at == '\n';
	if (!lines)
		return;
	atomic_fetch_add_explicit(&ring->dropped_count, lines, memory_order_relaxed);
	lost_error = write_error;
}

/* Writes the content of a ring, which is always whole lines. Returns whether there was any. */
static bool write_out(struct log_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail_bytes, memory_order_relaxed);
	uint64_t head = atomic_load(&ring->head_bytes);
	size_t at = tail % RING_BYTES;
	size_t bytes = head - tail;
	size_t before_wrap = MIN(bytes, RING_BYTES - at);

	if (!bytes)
		return false;
	write_piece(ring, ring->bytes + at, before_wrap);
	write_piece(ring, ring->bytes, bytes - before_wrap);
	atomic_store_explicit(&ring->tail_bytes, head, memory_order_release);
	return true;
}

static bool write_out_all(void)
{
	bool any = false;

	for (unsigned i = 0; i < ring_count; i++)
		any |= write_out(&rings[i]);
	return any | write_out(&main_ring);
}

/* If the report cannot be written either, the next report includes these lines. */
static void report_new_drops(void)
{
	static uint64_t reported;
	uint64_t dropped = log_dropped_count();
	struct log_line line;

	if (dropped == reported)
		return;
	if (log_begin(&line, LOG_EVENT_log_dropped)) {
		log_number(&line, "lines", dropped - reported);
		if (lost_error)
			log_error(&line, "error", lost_error);
		log_end(&line);
	}
	if (write_error)
		return;
	reported = dropped;
	lost_error = 0;
}

static void *run_writer(void *unused)
{
	uint64_t wakes;

	(void)unused;
	for (;;) {
		bool last = atomic_load(&stopping);

		if (write_out_all()) {
			report_new_drops();
			continue;
		}
		if (last)
			return NULL;
		atomic_store(&writer_sleeps, true);
		if (write_out_all() || atomic_load(&stopping))
			continue;
		if (read(wake_fd, &wakes, sizeof(wakes)) < 0 && errno != EINTR && errno != EAGAIN)
			return NULL;
	}
}

static int start_writer(void)
{
	int error;

	if (wake_fd < 0)
		wake_fd = eventfd(0, EFD_CLOEXEC);
	if (wake_fd < 0)
		return -errno;
	atomic_store(&stopping, false);
	error = thread_start(&writer, run_writer, NULL);
	writer_runs = !error;
	return error;
}

void log_hold(void)
{
	own_ring = &main_ring;
}

int log_start(unsigned worker_count)
{
	void *memory;

	CHECK(!rings && worker_count);
	log_hold();
	/* zeroed, page-aligned, and resident only page by page as it is used */
	memory = mmap(NULL, worker_count * sizeof(struct log_ring), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	rings = memory;
	ring_count = worker_count;
	return start_writer();
}

void log_attach(unsigned worker)
{
	CHECK(worker < ring_count);
	own_ring = &rings[worker];
}

static bool holds_lines(void)
{
	bool any = main_ring.head_bytes != main_ring.tail_bytes;

	for (unsigned i = 0; i < ring_count; i++)
		any |= rings[i].head_bytes != rings[i].tail_bytes;
	return any;
}

void log_stop(unsigned limit_s)
{
	struct timespec limit;

	if (given_up || (!writer_runs && !holds_lines()))
		return;
	/* a failed start has lines too: start the writer, or without a thread write here */
	if (!writer_runs && start_writer()) {
		write_out_all();
		return;
	}
	atomic_store(&stopping, true);
	wake_writer();
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += limit_s;
	/* if stderr is never read, the process must end nevertheless: give up */
	if (pthread_timedjoin_np(writer, NULL, &limit)) {
		given_up = true;
		return;
	}
	writer_runs = false;
	atomic_store(&writer_sleeps, false);
}

uint64_t log_dropped_count(void)
{
	uint64_t sum = atomic_load_explicit(&main_ring.dropped_count, memory_order_relaxed);

	for (unsigned i = 0; i < ring_count; i++)
		sum += atomic_load_explicit(&rings[i].dropped_count, memory_order_relaxed);
	return sum;
}
