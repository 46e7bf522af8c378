/* SPDX-License-Identifier: MIT */
/*
 * The parent process with real children. The process that takes over is this program: started with
 * SIXPIPE_TAKEOVER, it obeys what comes over the carrier instead of running tests.
 */
#include "control/parent.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "os/carrier.h"
#include "os/timer.h"
#include "seccomp_fixture.h"
#include "support.h"

TestSuite(parent, .fini = support_check_leaks);

static char *arguments[] = {(char *)"test_parent", NULL};

/* The process that takes over ------------------------------------------------------------------- */

/* A message each way: the number of the new process; how it is to end. */
enum order { EXIT_9 = 1, DIE };

/* Runs before main() of the test program. */
__attribute__((constructor)) static void take_over(void)
{
	enum order order = 0;
	struct parent_link link;
	struct fault fault;
	pid_t self = getpid();
	int carrier;

	if (!getenv(PARENT_VARIABLE))
		return;
	if (parent_link_take(&link, &carrier, &fault) || getenv(PARENT_VARIABLE) ||
	    fcntl(link.fd, F_GETFD) != FD_CLOEXEC || fcntl(carrier, F_GETFD) != FD_CLOEXEC)
		_exit(99);
	(void)!write(carrier, &self, sizeof(self));
	if (read(carrier, &order, sizeof(order)) <= 0)
		_exit(1);
	if (order == DIE)
		raise(SIGKILL);
	_exit(9);
}

/* The process that serves ----------------------------------------------------------------------- */

/* What fails in the process that serves shows by its exit code, the line of the failure. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			exit_at(__LINE__, #condition);                                             \
	} while (0)

__attribute__((noreturn)) static void exit_at(int line, const char *condition)
{
	fprintf(stderr, "line %d: %s\n", line, condition);
	_exit(111);
}

/* Runs a parent, and `serve` as its first child. Returns the status of the parent's end. */
static int run_parent(int (*serve)(struct parent_link *link))
{
	struct parent_link link;
	int status, exit_code = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(parent_fork(&link, arguments, &exit_code) ? serve(&link) : exit_code);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* Starts a new process. Returns this end of the carrier, and sets the number of the process. */
static int start(struct parent_link *link, enum parent_request request, pid_t *pid)
{
	int fds[2];

	REQUIRE(!carrier_pair(fds));
	REQUIRE(!parent_link_start(link, request, fds[1]));
	close(fds[1]);
	REQUIRE(read(fds[0], pid, sizeof(*pid)) == sizeof(*pid));
	return fds[0];
}

static void give_order(int carrier, enum order order)
{
	REQUIRE(write(carrier, &order, sizeof(order)) == sizeof(order));
}

/* Waits until the parent has reaped the process. */
static void wait_until_reaped(pid_t pid)
{
	while (!kill(pid, 0))
		usleep(1000);
	REQUIRE(errno == ESRCH);
}

static uint64_t soon(void)
{
	return timer_now_ms() + SUPPORT_PATIENCE_MS;
}

/* Ends ------------------------------------------------------------------------------------------ */

static int end_code;

static int end_with_code(struct parent_link *link)
{
	(void)link;
	return end_code;
}

static int end_by_signal(struct parent_link *link)
{
	(void)link;
	signal(end_code, SIG_DFL);
	raise(end_code);
	return 0;
}

Test(parent, ends_as_its_child)
{
	static const int codes[] = {0, 1, 2, 77}, signals[] = {SIGKILL, SIGABRT, SIGSEGV, SIGHUP};

	for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
		int status;

		end_code = codes[i];
		status = run_parent(end_with_code);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == codes[i], "%d", codes[i]);
	}
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
		int status;

		end_code = signals[i];
		status = run_parent(end_by_signal);
		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == signals[i] &&
				  !WCOREDUMP(status),
			  "%s", strsignal(signals[i]));
	}
}

/* Requests -------------------------------------------------------------------------------------- */

static int hand_over(struct parent_link *link)
{
	pid_t pid;
	int carrier = start(link, (enum parent_request)end_code, &pid);

	REQUIRE(!parent_link_commit(link, soon()));
	give_order(carrier, EXIT_9);
	/* ended by the parent, because the new process fails */
	pause();
	return 0;
}

Test(parent, ends_as_the_process_that_took_over)
{
	static const enum parent_request requests[] = {PARENT_START_SAME, PARENT_START_NEW};

	for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
		int status;

		end_code = (int)requests[i];
		status = run_parent(hand_over);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 9, "%x", (unsigned)status);
	}
}

static int hand_over_and_end(struct parent_link *link)
{
	pid_t pid, self = getpid();
	int carrier = start(link, PARENT_START_SAME, &pid);

	REQUIRE(!parent_link_commit(link, soon()));
	if (!fork()) {
		while (getppid() == self)
			usleep(1000);
		give_order(carrier, DIE);
		_exit(0);
	}
	return 3;
}

Test(parent, the_exit_code_of_an_old_process_does_not_count)
{
	int status = run_parent(hand_over_and_end);

	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%x", (unsigned)status);
}

static int give_up(struct parent_link *link)
{
	char byte;
	pid_t pid;
	int carrier = start(link, PARENT_START_SAME, &pid);

	parent_link_give_up(link);
	REQUIRE(read(carrier, &byte, 1) == 0);
	wait_until_reaped(pid);
	REQUIRE(parent_link_commit(link, soon()) == -ESRCH);
	/* a start ends an earlier process too */
	carrier = start(link, PARENT_START_SAME, &pid);
	(void)start(link, PARENT_START_SAME, &(pid_t){0});
	REQUIRE(read(carrier, &byte, 1) == 0);
	return 4;
}

Test(parent, ends_a_process_that_was_given_up)
{
	int status = run_parent(give_up);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 4, "%x", (unsigned)status);
}

static int commit_to_a_dead_one(struct parent_link *link)
{
	static const enum order orders[] = {EXIT_9, DIE};

	for (size_t i = 0; i < ARRAY_COUNT(orders); i++) {
		pid_t pid;
		int carrier = start(link, PARENT_START_NEW, &pid);

		give_order(carrier, orders[i]);
		wait_until_reaped(pid);
		REQUIRE(parent_link_commit(link, soon()) == -ESRCH);
		close(carrier);
	}
	return 5;
}

Test(parent, refuses_a_process_that_has_ended)
{
	int status = run_parent(commit_to_a_dead_one);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 5, "%x", (unsigned)status);
}

static void stop_parent(const struct parent_link *link)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)link->pid);
	REQUIRE(!kill(link->pid, SIGSTOP));
	while (state != 'T') {
		FILE *file = fopen(path, "re");

		REQUIRE(file && fscanf(file, "%*d %*[^)]) %c", &state) == 1);
		fclose(file);
	}
}

static int commit_late(struct parent_link *link)
{
	char byte;
	pid_t pid;
	int carrier = start(link, PARENT_START_SAME, &pid);

	stop_parent(link);
	REQUIRE(parent_link_commit(link, timer_now_ms()) == -ETIMEDOUT);
	parent_link_give_up(link);
	REQUIRE(!kill(link->pid, SIGCONT));
	REQUIRE(read(carrier, &byte, 1) == 0);
	wait_until_reaped(pid);
	/* the answer that came late is not taken for this one's */
	REQUIRE(parent_link_commit(link, soon()) == -ESRCH);
	return 6;
}

Test(parent, is_the_same_after_a_commit_that_was_late)
{
	int status = run_parent(commit_late);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 6, "%x", (unsigned)status);
}

static int start_without_execve(struct parent_link *link)
{
	static const enum parent_request requests[] = {PARENT_START_SAME, PARENT_START_NEW};

	for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
		enum carrier_kind kind;
		struct carrier *carrier;
		char text[256];
		int fds[2];

		REQUIRE(!carrier_pair(fds));
		REQUIRE(!parent_link_start(link, requests[i], fds[1]));
		close(fds[1]);
		REQUIRE(!carrier_create(&carrier, fds[0]));
		REQUIRE(!carrier_next(carrier, &kind) && kind == CARRIER_REFUSED);
		REQUIRE(carrier_take(carrier) == 1);
		carrier_take_text(carrier, text, sizeof(text));
		REQUIRE(!strncmp(text, "cannot run /", strlen("cannot run /")));
		REQUIRE(strstr(text, ": Exec format error"));
		carrier_destroy(carrier);
	}
	return 7;
}

Test(parent, tells_why_a_program_cannot_be_run)
{
	int status;

	fixture_refuse(SYS_execve, ENOEXEC);
	fixture_refuse(SYS_execveat, ENOEXEC);
	status = run_parent(start_without_execve);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%x", (unsigned)status);
}

static int drop(struct parent_link *link)
{
	const struct privs_target target = {.user = {.uid = getuid(), .gid = getgid()}};
	unsigned long long capabilities = 1;
	char path[64], line[256];
	struct fault fault;
	FILE *file;

	REQUIRE(!parent_link_drop(link, &target, &fault));
	snprintf(path, sizeof(path), "/proc/%d/status", (int)link->pid);
	file = fopen(path, "re");
	REQUIRE(file);
	while (fgets(line, sizeof(line), file))
		(void)sscanf(line, "CapPrm: %llx", &capabilities);
	fclose(file);
	REQUIRE(capabilities == 0);
	REQUIRE(parent_link_drop(link, &target, &fault) == -EINVAL);
	return 8;
}

Test(parent, drops_its_privileges_once)
{
	int status = run_parent(drop);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 8, "%x", (unsigned)status);
}

/* The variable ---------------------------------------------------------------------------------- */

Test(parent, malformed_variables)
{
	char same[32], longer[32], standard[32], streams[32];
	const char *const rows[] = {"3",       "3,", ",4",   "a,b",    "-1,4",
				    "998,999", same, longer, standard, streams};
	int fds[2], stream[2];

	cr_assert(!carrier_pair(fds));
	cr_assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
	snprintf(same, sizeof(same), "%d,%d", fds[0], fds[0]);
	snprintf(longer, sizeof(longer), "%d,%dx", fds[0], fds[1]);
	snprintf(standard, sizeof(standard), "1,%d", fds[1]);
	snprintf(streams, sizeof(streams), "%d,%d", stream[0], stream[1]);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct parent_link link;
		struct fault fault;
		int carrier;

		setenv(PARENT_VARIABLE, rows[i], 1);
		cr_expect_eq(parent_link_take(&link, &carrier, &fault), -EINVAL, "%s", rows[i]);
		cr_expect_null(getenv(PARENT_VARIABLE));
		cr_expect_eq(carrier, -1);
	}
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(stream[i]);
	}
}

Test(parent, an_ordinary_start)
{
	static const char *const rows[] = {NULL, ""};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct parent_link link;
		struct fault fault;
		int carrier;

		unsetenv(PARENT_VARIABLE);
		if (rows[i])
			setenv(PARENT_VARIABLE, rows[i], 1);
		cr_expect_eq(parent_link_take(&link, &carrier, &fault), 0);
		cr_expect_eq(link.fd, -1);
		cr_expect_eq(carrier, -1);
	}
}
