/* SPDX-License-Identifier: MIT */
#include "control/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/util.h"
#include "config/usage.h"
#include "control/signals.h"
#include "os/carrier.h"
#include "os/fd_message.h"
#include "os/poll_set.h"
#include "os/timer.h"

/* The current process, the next one, and those that drain. */
#define CHILD_LIMIT 64

_Static_assert(CHILD_LIMIT + 1 <= POLL_SET_LIMIT, "the parent waits for signals and all children");

/* Without close_range(2), this many descriptors are closed one by one. */
#define DESCRIPTORS_WITHOUT_CLOSE_RANGE 65536

/* The limit for telling a process that the next one cannot be started; the socket is empty. */
#define REFUSE_LIMIT_MS 1000

struct child {
	pid_t pid;     /* 0: the entry is free */
	int fd;	       /* the connection to it; -1: it was closed */
	pid_t starter; /* the process that asked for it; 0: it was forked at the start */
	int program;   /* O_PATH; -1: unknown */
	bool ended;    /* reaped; `status` is that of waitpid(2) */
	int status;
};

struct parent {
	struct child children[CHILD_LIMIT];
	struct child *current, *newest;
	char **argv;
	const char *path; /* of the program */
	sigset_t mask;	  /* of the start, for children */
	int signal_fd;
	unsigned end_count; /* TERM and INT so far */
	bool dropped;
};

/* Children ------------------------------------------------------------------------------------- */

static struct child *find_free(struct parent *parent)
{
	for (size_t i = 0; i < CHILD_LIMIT; i++)
		if (!parent->children[i].pid)
			return &parent->children[i];
	return NULL;
}

static void close_fd(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

static void forget(struct child *child)
{
	close_fd(&child->fd);
	close_fd(&child->program);
	child->pid = 0;
}

/* Sends a signal to a child that has not been reaped, whose number is therefore not used again. */
static void send_signal(const struct parent *parent, const struct child *child, int number)
{
	const union sigval value = {.sival_int = (int)parent->end_count};

	if (!child->pid || child->ended)
		return;
	if (signals_is_end(number))
		(void)sigqueue(child->pid, number, value);
	else
		(void)kill(child->pid, number);
}

static void refuse(const struct parent *parent, int carrier_fd, const char *reason)
{
	char text[PATH_MAX + 256];
	struct carrier *carrier;

	if (carrier_fd < 0 || carrier_create(&carrier, carrier_fd))
		return;
	snprintf(text, sizeof(text), "cannot run %s: %s", parent->path, reason);
	carrier_set_due(carrier, timer_now_ms() + REFUSE_LIMIT_MS);
	carrier_begin(carrier, CARRIER_REFUSED);
	carrier_put(carrier, EXIT_FAILURE);
	carrier_put_text(carrier, text);
	carrier_end(carrier);
	(void)carrier_flush(carrier);
	carrier_destroy(carrier);
}

/* In the child of fork(2): becomes the program. */
__attribute__((noreturn)) static void execute(const struct parent *parent, int program,
					      int channel_fd, int carrier_fd)
{
	char text[32], reason[128];

	/* survives execve(2); the program does it again, because a capability of its file resets it */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)fcntl(channel_fd, F_SETFD, 0);
	(void)fcntl(carrier_fd, F_SETFD, 0);
	snprintf(text, sizeof(text), "%d,%d", channel_fd, carrier_fd);
	(void)setenv(PARENT_VARIABLE, text, 1);
	(void)sigprocmask(SIG_SETMASK, &parent->mask, NULL);
	if (program >= 0)
		execveat(program, "", parent->argv, environ, AT_EMPTY_PATH);
	else
		execve(parent->path, parent->argv, environ);
	snprintf(reason, sizeof(reason), "%s%s", strerror(errno),
		 errno == EACCES ? "; let the user of sixpipe run it and enter its directory" : "");
	refuse(parent, carrier_fd, reason);
	_exit(EXIT_FAILURE);
}

/* Starts a process for `starter`. Owns carrier_fd. */
static void start(struct parent *parent, const struct child *starter, bool same, int carrier_fd)
{
	struct child *child = find_free(parent);
	int fds[2];

	if (!child) {
		refuse(parent, carrier_fd,
		       "too many earlier processes still drain their sessions; lower "
		       "--drain-timeout, or wait");
		return;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		refuse(parent, carrier_fd, strerror(errno));
		return;
	}
	*child = (struct child){.fd = fds[0], .starter = starter->pid, .program = -1};
	/* for the next start of the same program; the file at the path may change meanwhile */
	child->program = same ? fcntl(starter->program, F_DUPFD_CLOEXEC, 0)
			      : open(parent->path, O_PATH | O_CLOEXEC);
	child->pid = fork();
	if (!child->pid)
		execute(parent, same ? child->program : -1, fds[1], carrier_fd);
	close(fds[1]);
	if (child->pid < 0) {
		refuse(parent, carrier_fd, strerror(errno));
		forget(child);
		return;
	}
	close(carrier_fd);
	parent->newest = child;
}

/* Reaps every child, and as process 1 every orphan. */
static void reap(struct parent *parent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < CHILD_LIMIT; i++) {
			struct child *child = &parent->children[i];

			if (child->pid != pid)
				continue;
			child->ended = true;
			child->status = status;
			/* a request may still ask for these two */
			if (child != parent->current && child != parent->newest)
				forget(child);
		}
}

/* Requests ------------------------------------------------------------------------------------- */

static void set_newest(struct parent *parent, struct child *child)
{
	struct child *before = parent->newest;

	parent->newest = child;
	if (before != child && before->ended)
		forget(before);
}

/* Ends a process that was to take over from `from`. */
static void give_up(struct parent *parent, struct child *from)
{
	if (parent->newest == from || parent->newest->starter != from->pid)
		return;
	send_signal(parent, parent->newest, SIGKILL);
	parent->current = from;
	set_newest(parent, from);
}

static int commit(struct parent *parent, struct child *from)
{
	/* a new process that has just ended must not become the one that counts */
	reap(parent);
	if (parent->newest == from || parent->newest->starter != from->pid || parent->newest->ended)
		return -ESRCH;
	parent->current = parent->newest;
	return 0;
}

/* The user is that of the first process, which still has the privileges that this one has. */
static int drop(struct parent *parent, const struct child *from, const struct parent_drop *drop,
		size_t bytes)
{
	struct fault fault;

	if (bytes != sizeof(*drop) || from->starter || parent->dropped)
		return -EINVAL;
	parent->dropped = true;
	return privs_drop(&drop->target, &fault);
}

static void answer(const struct child *to, const struct parent_message *request, int result)
{
	const struct parent_message message = {
		.request = request->request, .serial = request->serial, .result = result};

	(void)send(to->fd, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Owns `fd`, which may be -1. */
static void on_request(struct parent *parent, struct child *from, const struct parent_drop *request,
		       size_t bytes, int fd)
{
	enum parent_request kind = bytes < sizeof(request->head) ? 0 : request->head.request;

	switch (kind) {
	case PARENT_DROP:
		answer(from, &request->head, drop(parent, from, request, bytes));
		break;
	case PARENT_START_SAME:
	case PARENT_START_NEW:
		if (fd < 0 || from != parent->current)
			break;
		give_up(parent, from);
		start(parent, from, kind == PARENT_START_SAME, fd);
		return;
	case PARENT_COMMIT:
		answer(from, &request->head, commit(parent, from));
		break;
	case PARENT_GIVE_UP:
		give_up(parent, from);
		break;
	}
	close_fd(&fd);
}

/* The connection of `child` has a request, or its end. */
static void read_request(struct parent *parent, struct child *child)
{
	struct parent_drop request;
	int fd = -1;
	struct fd_message message = {
		.bytes = &request, .count = sizeof(request), .fds = &fd, .fd_count = 1};
	ssize_t got = fd_message_receive(child->fd, &message);

	if (got == -EAGAIN || got == -EINTR)
		return;
	if (got <= 0) {
		close_fd(&child->fd);
		return;
	}
	on_request(parent, child, &request, (size_t)got, fd);
}

/* The loop ------------------------------------------------------------------------------------- */

static void on_signals(struct parent *parent)
{
	struct signalfd_siginfo info;

	while (read(parent->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGCHLD) {
			reap(parent);
			continue;
		}
		parent->end_count += signals_is_end(number);
		for (size_t i = 0; i < CHILD_LIMIT; i++)
			if (signals_is_for_all(number) || &parent->children[i] == parent->current)
				send_signal(parent, &parent->children[i], number);
	}
}

static bool is_failure(int status)
{
	return !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS;
}

/*
 * Whether the parent is to end: the current process has failed, so that a service manager starts
 * sixpipe again at once; or no process is left.
 */
static bool is_over(const struct parent *parent)
{
	if (!parent->current->ended)
		return false;
	if (is_failure(parent->current->status))
		return true;
	for (size_t i = 0; i < CHILD_LIMIT; i++)
		if (parent->children[i].pid && !parent->children[i].ended &&
		    &parent->children[i] != parent->newest) /* not the current one: it may hang */
			return false;
	return true;
}

static void wait_for_something(const struct parent *parent)
{
	struct poll_set set;

	poll_set_begin(&set);
	poll_set_add(&set, parent->signal_fd, POLLIN);
	for (size_t i = 0; i < CHILD_LIMIT; i++)
		if (parent->children[i].pid)
			poll_set_add(&set, parent->children[i].fd, POLLIN);
	poll_set_wait(&set);
}

/* Asks every descriptor, because poll(2) may have failed because memory is short. */
static void act(struct parent *parent)
{
	/* first, so that a request counts that was made before the end of a process */
	for (size_t i = 0; i < CHILD_LIMIT; i++)
		if (parent->children[i].pid && parent->children[i].fd >= 0)
			read_request(parent, &parent->children[i]);
	on_signals(parent);
}

static void end_all(struct parent *parent)
{
	for (size_t i = 0; i < CHILD_LIMIT; i++) {
		struct child *child = &parent->children[i];

		send_signal(parent, child, SIGKILL);
		if (child->pid && !child->ended)
			(void)waitpid(child->pid, NULL, 0);
		if (child != parent->current)
			forget(child);
	}
}

/* The end -------------------------------------------------------------------------------------- */

/* Ends as a process that ended with `status`: by the same signal, or with the same exit code. */
static int end_as(int status)
{
	sigset_t set;
	int number;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	number = WTERMSIG(status);
	/* the core dump of interest is that of the child */
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(number);
	return 128 + number;
}

/* The start ------------------------------------------------------------------------------------ */

/*
 * The path by which the program was started, so that a symbolic link is followed anew. A program
 * that was executed by its descriptor has the path in /proc.
 */
static const char *find_path(void)
{
	static char path[PATH_MAX];
	const char *given = (const char *)getauxval(AT_EXECFN);
	ssize_t length;

	if (given && strncmp(given, "/dev/fd/", strlen("/dev/fd/")) != 0 &&
	    strncmp(given, "/proc/", strlen("/proc/")) != 0)
		return given;
	length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (length < 0)
		return "/proc/self/exe";
	path[length] = '\0';
	return path;
}

static int fail(const char *what, const char *remedy)
{
	struct fault fault;

	fault_set(&fault, NULL, NULL, "%s: %s; %s", what, strerror(errno), remedy);
	return usage_fail(EXIT_FAILURE, &fault);
}

/* Closes what the start has left open, such as passed sockets, but not `kept`. */
static void close_others(int kept)
{
	const unsigned first = STDERR_FILENO + 1, next = (unsigned)kept + 1;

	if ((kept <= (int)first || !close_range(first, (unsigned)kept - 1, 0)) &&
	    !close_range(next, UINT_MAX, 0))
		return;
	/* before Linux 5.9, or a seccomp filter does not know the call */
	for (int fd = (int)first; fd < DESCRIPTORS_WITHOUT_CLOSE_RANGE; fd++)
		if (fd != kept)
			close(fd);
}

static int run(struct parent *parent, pid_t first, int fd)
{
	sigset_t taken = signals_passed_on();
	int program, status;

	close_others(fd);
	program = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	for (size_t i = 0; i < CHILD_LIMIT; i++)
		parent->children[i] = (struct child){.fd = -1, .program = -1};
	parent->children[0] = (struct child){.pid = first, .fd = fd, .program = program};
	parent->current = parent->newest = &parent->children[0];
	sigaddset(&taken, SIGCHLD);
	parent->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	if (parent->signal_fd < 0) {
		status = fail("cannot make a signalfd", "raise the descriptor limit (ulimit -n)");
		send_signal(parent, parent->current, SIGKILL);
		return status;
	}
	while (!is_over(parent)) {
		wait_for_something(parent);
		act(parent);
	}
	end_all(parent);
	status = parent->current->status;
	forget(parent->current);
	close(parent->signal_fd);
	return end_as(status);
}

bool parent_fork(struct parent_link *link, char **argv, int *exit_code)
{
	struct parent parent = {.argv = argv, .path = find_path()};
	sigset_t held = signals_passed_on();
	int fds[2];
	pid_t pid, self = getpid();

	/* before the fork: so the child never ends by a HUP, and SIGCHLD is not lost */
	signals_ignore();
	(void)signal(SIGCHLD, SIG_DFL);
	sigaddset(&held, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &held, &parent.mask);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		*exit_code = fail("cannot make a socket for the process that serves",
				  "raise the descriptor limit (ulimit -n)");
		return false;
	}
	pid = fork();
	if (pid < 0) {
		*exit_code =
			fail("cannot start the process that serves",
			     "raise the limits on processes and memory (ulimit -u, TasksMax=)");
		return false;
	}
	if (pid > 0) {
		close(fds[1]);
		*exit_code = run(&parent, pid, fds[0]);
		return false;
	}
	close(fds[0]);
	(void)sigprocmask(SIG_SETMASK, &parent.mask, NULL);
	*link = (struct parent_link){.fd = fds[1], .pid = self, .forked = true};
	parent_link_bind(link);
	return true;
}
