/* SPDX-License-Identifier: MIT */
#include "base/log_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/log_target.h"
#include "base/thread.h"

#define RING_BYTES 262144 /* about 1,500 lines of the access log between two writes */

/*
 * Log rings carry the log lines of threads to the log's target (log_target.h). Each worker and the
 * main thread has a ring with one producer and one consumer. The consumer is the writer thread, the
 * only thread that may block in write(2). The main thread's ring exists before the writer thread
 * starts and after it has ended. In a ring, a byte goes before each line: its level.
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
static atomic_bool given_up; /* the target takes nothing: see log_stop() */
static _Thread_local struct log_ring *own_ring;

static atomic_bool reopen_wanted;

/* Used only by the thread that writes. */
static int lost_error;	       /* the errno with which lines were last lost, until it is reported */
static struct log_loss unheld; /* of the last line that was written without a ring */

static void wake_writer(void)
{
	uint64_t one = 1;
	ssize_t written = write(wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the writer wakes anyway */
}

static void wake_sleeping_writer(void)
{
	if (atomic_load(&writer_sleeps) && atomic_exchange(&writer_sleeps, false))
		wake_writer();
}

/* Copies bytes into the ring, behind the first `at_bytes` bytes that were ever put into it. */
static void copy_in(struct log_ring *ring, uint64_t at_bytes, const char *bytes, size_t count)
{
	size_t at = at_bytes % RING_BYTES;
	size_t before_wrap = MIN(count, RING_BYTES - at);

	memcpy(ring->bytes + at, bytes, before_wrap);
	memcpy(ring->bytes, bytes + before_wrap, count - before_wrap);
}

/* Copies a whole line into the ring, or counts it as dropped. Wakes the writer if it sleeps. */
static void put(struct log_ring *ring, enum log_level level, const char *line, size_t length_bytes)
{
	uint64_t head = atomic_load_explicit(&ring->head_bytes, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->tail_bytes, memory_order_acquire);
	const char level_byte = (char)level;

	if (1 + length_bytes > RING_BYTES - (head - tail)) {
		atomic_fetch_add_explicit(&ring->dropped_count, 1, memory_order_relaxed);
		return;
	}
	copy_in(ring, head, &level_byte, 1);
	copy_in(ring, head + 1, line, length_bytes);
	atomic_store(&ring->head_bytes, head + 1 + length_bytes);
	wake_sleeping_writer();
}

void log_ring_put(enum log_level level, const char *line, size_t length_bytes)
{
	if (given_up)
		return;
	if (own_ring) {
		put(own_ring, level, line, length_bytes);
		return;
	}
	unheld = (struct log_loss){0};
	log_target_put(level, line, length_bytes, &unheld);
	log_target_flush(&unheld);
}

void log_print(const char *text, size_t length_bytes)
{
	const char *end;

	for (; length_bytes; length_bytes -= (size_t)(end - text), text = end) {
		end = memchr(text, '\n', length_bytes);
		CHECK(end);
		end++;
		log_ring_put(LOG_ERROR, text, (size_t)(end - text));
	}
}

/*
 * Finds the line that begins behind the first `at_bytes` bytes. A line that goes around the end of
 * the ring is copied to `whole`. Stores its length.
 */
static const char *find_line(const struct log_ring *ring, uint64_t at_bytes,
			     char whole[LOG_LINE_BYTES], size_t *length_bytes)
{
	const char *start = ring->bytes + at_bytes % RING_BYTES;
	size_t before_wrap = RING_BYTES - at_bytes % RING_BYTES;
	const char *end = memchr(start, '\n', before_wrap);

	if (end) {
		*length_bytes = (size_t)(end + 1 - start);
		return start;
	}
	end = memchr(ring->bytes, '\n', LOG_LINE_BYTES - before_wrap);
	CHECK(end);
	*length_bytes = before_wrap + (size_t)(end + 1 - ring->bytes);
	memcpy(whole, start, before_wrap);
	memcpy(whole + before_wrap, ring->bytes, *length_bytes - before_wrap);
	return whole;
}

/* Writes the content of a ring, which is always whole lines. Returns whether there was any. */
static bool write_out(struct log_ring *ring)
{
	static char whole[LOG_LINE_BYTES];
	uint64_t tail = atomic_load_explicit(&ring->tail_bytes, memory_order_relaxed);
	uint64_t head = atomic_load(&ring->head_bytes);
	struct log_loss loss = {0};

	if (tail == head)
		return false;
	for (uint64_t at = tail; at != head;) {
		enum log_level level = (enum log_level)ring->bytes[at % RING_BYTES];
		size_t length_bytes;
		const char *line = find_line(ring, at + 1, whole, &length_bytes);

		log_target_put(level, line, length_bytes, &loss);
		at += 1 + length_bytes;
		/* early, so that the thread has room for the next lines while this thread writes */
		if (at == head || at - tail > RING_BYTES / 8) {
			log_target_flush(&loss);
			tail = at;
			atomic_store_explicit(&ring->tail_bytes, tail, memory_order_release);
		}
	}
	atomic_fetch_add_explicit(&ring->dropped_count, loss.lines, memory_order_relaxed);
	if (loss.lines)
		lost_error = loss.error;
	return true;
}

static bool write_out_all(void)
{
	bool any = false;

	for (unsigned i = 0; i < ring_count; i++)
		any |= write_out(&rings[i]);
	return any | write_out(&main_ring);
}

static const char *find_remedy(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return "make room for the log file";
	case EFBIG:
		return "raise the limit on file sizes (ulimit -f, LimitFSIZE=), or rotate the file";
	case ENOENT:
	case ECONNREFUSED:
		return "start the syslog daemon, or use --log-file";
	default:
		return NULL;
	}
}

/* Tells stderr, once, that the log's file or socket takes no lines. */
static void report_failure(void)
{
	const char *remedy = find_remedy(lost_error);
	struct log_line line;

	if (!log_target_path() || !log_begin(&line, LOG_EVENT_log_failed))
		return;
	log_text(&line, "file", log_target_path());
	log_error(&line, "error", lost_error);
	if (remedy)
		log_text(&line, "remedy", remedy);
	log_end(&line);
}

/* If the report cannot be written either, the next report includes these lines. */
static void report_new_drops(void)
{
	static uint64_t reported;
	static bool fails;
	uint64_t dropped = log_dropped_count();
	struct log_line line;

	if (dropped == reported)
		return;
	if (lost_error && !fails)
		report_failure();
	fails = lost_error;
	if (log_begin(&line, LOG_EVENT_log_dropped)) {
		log_number(&line, "lines", dropped - reported);
		if (lost_error)
			log_error(&line, "error", lost_error);
		log_end(&line);
	}
	if (unheld.lines)
		return;
	reported = dropped;
	lost_error = 0;
	fails = false;
}

static void reopen(void)
{
	struct fault fault;
	bool failed = log_target_reopen(&fault);
	struct log_line line;

	if (!log_begin(&line, failed ? LOG_EVENT_log_reopen_failed : LOG_EVENT_log_reopened))
		return;
	log_text(&line, "file", log_target_path());
	if (failed) {
		log_text(&line, "error", fault.reason);
		log_text(&line, "effect", "lines go to the file that was open before");
		log_text(&line, "remedy", fault.remedy);
	}
	log_end(&line);
}

static void *run_writer(void *unused)
{
	uint64_t wakes;

	(void)unused;
	for (;;) {
		bool last = atomic_load(&stopping);

		if (atomic_exchange(&reopen_wanted, false)) {
			reopen();
			report_new_drops(); /* the new file may take what the old refused */
		}
		if (write_out_all()) {
			report_new_drops();
			continue;
		}
		if (last)
			return NULL;
		atomic_store(&writer_sleeps, true);
		if (write_out_all() || atomic_load(&stopping) || atomic_load(&reopen_wanted))
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

int log_to_file(const char *path, uid_t uid, gid_t gid, struct fault *fault)
{
	return log_target_set_file(path, uid, gid, fault);
}

void log_to_syslog(const char *path)
{
	log_target_set_syslog(path);
}

void log_reopen(void)
{
	if (!log_target_is_file())
		return;
	atomic_store(&reopen_wanted, true);
	wake_sleeping_writer();
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
	/* if the target takes nothing, the process must end nevertheless: give up */
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
