/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "log_text.h"
#include "support.h"

TestSuite(log_ring, .fini = support_check_leaks);

/* The log's clock: the real clock, or a fixed second (--wrap, meson.build). */
static _Atomic int64_t frozen_s;
static _Atomic unsigned clock_reads;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = __real_clock_gettime(clock, now);

	if (frozen_s)
		now->tv_sec = frozen_s;
	clock_reads++;
	return result;
}

static void log_one(unsigned worker, uint64_t number)
{
	struct log_line line;

	cr_assert(log_begin(&line, LOG_EVENT_close));
	log_number(&line, "worker", worker);
	log_number(&line, "number", number);
	log_end(&line);
}

/* Reading back --------------------------------------------------------------------------------- */

#define WORKER_LIMIT 4

struct tally {
	uint64_t lines;	  /* event=close */
	uint64_t dropped; /* the sum of lines= of all event=log_dropped */
	uint64_t drop_reports;
	int64_t last[WORKER_LIMIT]; /* number= of the latest line; lines of one worker keep order */
};

static uint64_t number_after(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	cr_assert_not_null(at, "%s is missing in %s", key, line);
	return strtoull(at + strlen(key), NULL, 10);
}

static void take_line(struct tally *tally, char *line, size_t length)
{
	char end = line[length];
	unsigned worker;

	cr_assert(log_text_is_logfmt(line, length), "torn line: %.*s", (int)length, line);
	line[length] = '\0';
	if (strstr(line, "event=log_dropped")) {
		tally->dropped += number_after(line, " lines=");
		tally->drop_reports++;
	} else {
		worker = (unsigned)number_after(line, " worker=");
		cr_assert_lt(worker, WORKER_LIMIT);
		cr_assert_gt((int64_t)number_after(line, " number="), tally->last[worker]);
		tally->last[worker] = (int64_t)number_after(line, " number=");
		tally->lines++;
	}
	line[length] = end;
}

static void take_lines(struct tally *tally, char *text)
{
	memset(tally, 0, sizeof(*tally));
	for (unsigned i = 0; i < WORKER_LIMIT; i++)
		tally->last[i] = -1;
	while (*text) {
		char *end = strchr(text, '\n');

		cr_assert_not_null(end, "the last line is torn: %s", text);
		take_line(tally, text, (size_t)(end - text) + 1);
		text = end + 1;
	}
}

/* Many threads --------------------------------------------------------------------------------- */

#define LINES_PER_THREAD 10000 /* twice around the ring and more */

static void *log_lines(void *argument)
{
	unsigned worker = (unsigned)(uintptr_t)argument;

	log_attach(worker);
	for (unsigned i = 0; i < LINES_PER_THREAD; i++)
		log_one(worker, i);
	return NULL;
}

Test(log_ring, lines_of_all_threads_arrive_whole_and_in_order)
{
	pthread_t threads[WORKER_LIMIT];
	struct tally tally;
	uint64_t dropped;
	char *text;

	support_capture_begin();
	cr_assert_eq(log_start(WORKER_LIMIT), 0);
	for (uintptr_t i = 0; i < WORKER_LIMIT; i++)
		cr_assert(!pthread_create(&threads[i], NULL, log_lines, (void *)i));
	for (unsigned i = 0; i < WORKER_LIMIT; i++)
		pthread_join(threads[i], NULL);
	dropped = log_dropped_count();
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	text = support_capture_end();
	take_lines(&tally, text);
	cr_expect_eq(tally.lines + dropped, (uint64_t)WORKER_LIMIT * LINES_PER_THREAD);
	cr_expect_eq(tally.drop_reports > 0, dropped > 0);
	free(text);
}

Test(log_ring, a_thread_without_a_ring_writes_at_once)
{
	struct tally tally;
	char *text;

	support_capture_begin();
	log_one(0, 7);
	text = support_capture_end();
	take_lines(&tally, text);
	cr_expect_eq(tally.lines, 1);
	free(text);
}

/* A stderr that stalls ------------------------------------------------------------------------- */

struct stall {
	int read_fd;
	int saved_stderr;
	char *text;
	size_t length;
	size_t limit;
	uint64_t logged;
};

/* Replaces stderr by a pipe that is not read, and gives the calling thread ring 0. */
static void stall_begin(struct stall *stall, int flags)
{
	int fds[2];

	memset(stall, 0, sizeof(*stall));
	stall->limit = 4 << 20;
	stall->text = calloc(1, stall->limit);
	cr_assert_not_null(stall->text);
	cr_assert(!pipe2(fds, O_CLOEXEC | flags));
	stall->read_fd = fds[0];
	stall->saved_stderr = dup(STDERR_FILENO);
	cr_assert_geq(dup2(fds[1], STDERR_FILENO), 0);
	close(fds[1]);
	cr_assert_eq(log_start(1), 0);
	log_attach(0);
}

static void stall_read(struct stall *stall)
{
	ssize_t got;

	support_poll(stall->read_fd, POLLIN);
	got = read(stall->read_fd, stall->text + stall->length, stall->limit - stall->length - 1);
	cr_assert_gt(got, 0);
	stall->length += (size_t)got;
}

/* Logs until the ring is full, which must not block. */
static void stall_overflow(struct stall *stall)
{
	uint64_t before = log_dropped_count();

	while (log_dropped_count() < before + 10) {
		log_one(0, stall->logged++);
		cr_assert_lt(stall->logged, 100000);
	}
}

/* Reads until every line that was not dropped has arrived. */
static void stall_drain(struct stall *stall)
{
	uint64_t expected = stall->logged - log_dropped_count();
	struct tally tally = {0};

	while (tally.lines < expected) {
		char *end, cut;

		stall_read(stall);
		end = memrchr(stall->text, '\n', stall->length);
		if (!end)
			continue;
		cut = end[1];
		end[1] = '\0';
		take_lines(&tally, stall->text);
		end[1] = cut;
	}
}

/* Ends the log while stderr is read, and returns all that was written. */
static void stall_end(struct stall *stall, struct tally *tally)
{
	ssize_t got;

	log_stop(SUPPORT_PATIENCE_MS / 1000);
	dup2(stall->saved_stderr, STDERR_FILENO);
	while ((got = read(stall->read_fd, stall->text + stall->length,
			   stall->limit - stall->length - 1)) > 0)
		stall->length += (size_t)got;
	cr_assert_eq(got, 0, "the pipe has another writer");
	stall->text[stall->length] = '\0';
	take_lines(tally, stall->text);
	free(stall->text);
}

/* The log can start once in a process, so each row is a test of its own. */
static void check_stalled_reader(int pipe_flags)
{
	struct stall stall;
	struct tally tally;
	uint64_t dropped;

	stall_begin(&stall, pipe_flags);
	stall_overflow(&stall);
	stall_drain(&stall);
	dropped = log_dropped_count();
	stall_end(&stall, &tally);
	cr_expect_eq(tally.lines + dropped, stall.logged);
	cr_expect_eq(tally.dropped, dropped, "%lu told of %lu", (unsigned long)tally.dropped,
		     (unsigned long)dropped);
}

Test(log_ring, a_stalled_reader_costs_lines_and_is_told)
{
	check_stalled_reader(0);
}

/* Another process that shares stderr may have made it non-blocking. */
Test(log_ring, a_stalled_reader_of_a_non_blocking_stderr)
{
	check_stalled_reader(O_NONBLOCK);
}

/* Every dropped line is reported, however many reports there are in one second. */
Test(log_ring, drops_within_one_second_are_all_told_in_the_end)
{
	struct stall stall;
	struct tally tally;
	uint64_t dropped;
	unsigned reads;

	frozen_s = 4102444800;
	stall_begin(&stall, 0);
	for (unsigned round = 0; round < 2; round++) {
		stall_overflow(&stall);
		reads = clock_reads;
		stall_drain(&stall);
		/* the writer looks at the clock to report */
		while (clock_reads == reads)
			sched_yield();
	}
	frozen_s++;
	log_one(0, stall.logged++);
	dropped = log_dropped_count();
	stall_drain(&stall);
	frozen_s = 0;
	stall_end(&stall, &tally);
	cr_expect_eq(tally.lines + dropped, stall.logged);
	cr_expect_eq(tally.dropped, dropped, "%lu told of %lu", (unsigned long)tally.dropped,
		     (unsigned long)dropped);
}

/* The process ends even if the reader of stderr never reads. */
Test(log_ring, stopping_does_not_wait_for_a_reader_for_ever)
{
	struct stall stall;

	stall_begin(&stall, 0);
	stall_overflow(&stall);
	log_stop(1);
	dup2(stall.saved_stderr, STDERR_FILENO);
	free(stall.text);
}

/* The main thread before the writer, and after it ---------------------------------------------- */

Test(log_ring, held_lines_come_with_the_end_where_no_writer_was_started)
{
	struct tally tally;
	char *text;

	support_capture_begin();
	log_hold();
	log_one(0, 1);
	log_one(0, 2);
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	log_one(0, 3);
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	text = support_capture_end();
	take_lines(&tally, text);
	cr_expect_eq(tally.lines, 3);
	free(text);
}

Test(log_ring, lines_before_the_writer_starts_do_not_block_and_are_written)
{
	struct stall stall = {.limit = 4 << 20, .text = calloc(1, 4 << 20)};
	struct tally tally;
	uint64_t dropped;
	int fds[2];

	cr_assert(!pipe2(fds, O_CLOEXEC));
	stall.read_fd = fds[0];
	stall.saved_stderr = dup(STDERR_FILENO);
	cr_assert_geq(dup2(fds[1], STDERR_FILENO), 0);
	close(fds[1]);
	log_hold();
	stall_overflow(&stall);
	cr_assert_eq(log_start(1), 0);
	stall_drain(&stall);
	dropped = log_dropped_count();
	stall_end(&stall, &tally);
	cr_expect_eq(tally.lines + dropped, stall.logged);
	cr_expect_eq(tally.dropped, dropped);
}

/* A stderr that refuses ------------------------------------------------------------------------ */

/* As on a full disk. When there is room again, the log says how many lines are missing, and why. */
Test(log_ring, lines_that_stderr_refuses_are_counted_and_told)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), kept;
	struct tally tally;
	char *text;

	cr_assert_geq(full, 0);
	support_capture_begin();
	kept = dup(STDERR_FILENO);
	cr_assert_geq(dup2(full, STDERR_FILENO), 0);
	cr_assert_eq(log_start(1), 0);
	for (unsigned i = 0; i < 7; i++)
		log_one(0, i);
	while (log_dropped_count() < 7)
		sched_yield();
	cr_assert_geq(dup2(kept, STDERR_FILENO), 0);
	log_one(0, 7);
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	text = support_capture_end();
	cr_expect_not_null(strstr(text, " lines=7 error=\"No space left on device\"\n"), "%s",
			   text);
	take_lines(&tally, text);
	cr_expect_eq(tally.lines, 1);
	free(text);
	close(full);
	close(kept);
}

/* Other targets -------------------------------------------------------------------------------- */

/* Each line keeps its level on its way, also a line that goes around the end of the ring. */
Test(log_ring, the_journal_gets_the_level_of_each_line)
{
	const unsigned count = 3000;
	struct stat status;
	unsigned lines = 0;
	char stream[64];
	char *text;

	support_capture_begin();
	cr_assert(!fstat(STDERR_FILENO, &status));
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)status.st_dev,
		 (unsigned long long)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	cr_assert_eq(log_start(1), 0);
	log_attach(0);
	for (unsigned i = 0; i < count; i++) {
		static const enum log_event events[] = {LOG_EVENT_close, LOG_EVENT_backend_down,
							LOG_EVENT_worker_hangs};
		struct log_line line;

		cr_assert(log_begin(&line, events[i % 3]));
		log_text(&line, "fill", "........................................");
		log_end(&line);
	}
	log_print("for a person\nin two lines\n", strlen("for a person\nin two lines\n"));
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	text = support_capture_end();
	for (char *at = text, *end; *at; at = end + 1, lines++) {
		end = strchr(at, '\n');
		cr_assert_not_null(end);
		*end = '\0';
		cr_expect(strstr(at, " level=info ")   ? !strncmp(at, "<6>ts=", 6)
			  : strstr(at, " level=warn ") ? !strncmp(at, "<4>ts=", 6)
			  : strstr(at, " level=error ")
				  ? !strncmp(at, "<3>ts=", 6)
				  : !strncmp(at, "<3>for a person", 15) ||
					    !strncmp(at, "<3>in two lines", 15),
			  "%s", at);
	}
	cr_expect_eq(lines, count + 2 - log_dropped_count() + (log_dropped_count() > 0));
	free(text);
}

Test(log_ring, the_writer_opens_the_file_anew)
{
	char directory[] = "/tmp/sixpipe-log-XXXXXX", path[64], old[64], text[1024] = "";
	struct fault fault;
	struct stat status;
	int fd;

	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/log", directory);
	snprintf(old, sizeof(old), "%s/log.1", directory);
	log_hold();
	log_one(0, 1);
	cr_assert_eq(log_to_file(path, geteuid(), getegid(), &fault), 0);
	cr_assert_eq(log_start(1), 0);
	cr_assert(!rename(path, old));
	log_reopen();
	while (stat(path, &status) || !status.st_size)
		sched_yield();
	log_one(0, 2);
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	cr_expect_not_null(strstr(text, " event=log_reopened file=/tmp/"), "%s", text);
	cr_expect_not_null(strstr(text, "number=2\n"), "%s", text);
	cr_expect(!unlink(path) && !unlink(old) && !rmdir(directory));
}

/* The queue of the daemon's socket is full: the writer waits, the logging thread does not. */
Test(log_ring, a_syslog_daemon_that_stalls_costs_lines_and_is_told)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char directory[] = "/tmp/sixpipe-log-XXXXXX";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct stall stall = {.limit = 4 << 20};
	uint64_t lines = 0, told = 0;

	cr_assert_not_null(mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/log", directory);
	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)));
	log_to_syslog(address.sun_path);
	cr_assert_eq(log_start(1), 0);
	log_attach(0);
	stall_overflow(&stall);
	while (lines + told < stall.logged || told < log_dropped_count()) {
		char line[LOG_LINE_BYTES];
		ssize_t got;

		support_poll(fd, POLLIN);
		got = recv(fd, line, sizeof(line) - 1, 0);
		cr_assert_gt(got, 0);
		line[got] = '\0';
		if (strstr(line, "event=log_dropped"))
			told += number_after(line, " lines=");
		else
			lines++;
	}
	cr_expect_eq(lines + told, stall.logged);
	log_stop(SUPPORT_PATIENCE_MS / 1000);
	close(fd);
	cr_expect(!unlink(address.sun_path) && !rmdir(directory));
}
