/* SPDX-License-Identifier: MIT */
#include "control/parent_link.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "os/fd_message.h"
#include "os/timer.h"

/* The start ------------------------------------------------------------------------------------ */

/* Returns whether `fd` is an end of a connection of the right type, and makes it close-on-exec. */
static bool take_socket(int fd)
{
	int type = 0;
	socklen_t bytes = sizeof(type);

	return fd > STDERR_FILENO && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) &&
	       type == SOCK_SEQPACKET && !fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int parent_link_take(struct parent_link *link, int *carrier_fd, struct fault *fault)
{
	const char *text = getenv(PARENT_VARIABLE);
	int channel = -1, carrier = -1, used = 0;
	bool valid;

	*link = (struct parent_link){.fd = -1, .pid = getppid()};
	*carrier_fd = -1;
	if (!text || !*text)
		return 0;
	valid = sscanf(text, "%9d,%9d%n", &channel, &carrier, &used) == 2 && !text[used] &&
		channel != carrier && take_socket(channel) && take_socket(carrier);
	if (!valid)
		fault_set_object(
			fault, NULL, PARENT_VARIABLE,
			"'%.40s' does not name two sockets of a running sixpipe; unset it: "
			"only sixpipe sets it, for the process that takes over",
			text);
	unsetenv(PARENT_VARIABLE);
	if (!valid)
		return -EINVAL;
	/* execveat(2) of a descriptor has made the name its number */
	(void)prctl(PR_SET_NAME, "sixpipe");
	link->fd = channel;
	*carrier_fd = carrier;
	parent_link_bind(link);
	return 0;
}

void parent_link_bind(const struct parent_link *link)
{
	bool failed = prctl(PR_SET_PDEATHSIG, SIGKILL) != 0;

	CHECK(!failed);
	if (getppid() != link->pid)
		raise(SIGKILL);
}

/* Requests ------------------------------------------------------------------------------------- */

/* `fd` -1: the message has no descriptor. */
static int send_message(const struct parent_link *link, const void *bytes, size_t count, int fd)
{
	const struct fd_message message = {
		.bytes = (void *)bytes, .count = count, .fds = &fd, .fd_count = fd >= 0};
	int result;

	do
		result = fd_message_send(link->fd, &message);
	while (result == -EINTR);
	return result;
}

static int send_request(struct parent_link *link, enum parent_request request, int fd)
{
	const struct parent_message message = {.request = request, .serial = ++link->serial};

	return send_message(link, &message, sizeof(message), fd);
}

/* Waits for the answer to the last request. Late answers to earlier ones are dropped. */
static int wait_for_answer(const struct parent_link *link, uint64_t due_ms)
{
	struct pollfd poll_fd = {.fd = link->fd, .events = POLLIN};
	struct parent_message answer;

	for (;;) {
		uint64_t now_ms = timer_now_ms();
		uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
		int count =
			poll(&poll_fd, 1, due_ms == UINT64_MAX ? -1 : (int)MIN(left_ms, INT_MAX));
		ssize_t got;

		if (!count)
			return -ETIMEDOUT;
		got = count > 0 ? recv(link->fd, &answer, sizeof(answer), MSG_DONTWAIT) : -1;
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (!got)
			return -EPIPE;
		if (got == (ssize_t)sizeof(answer) && answer.serial == link->serial)
			return answer.result;
	}
}

int parent_link_drop(struct parent_link *link, const struct privs_target *target,
		     struct fault *fault)
{
	const struct parent_drop drop = {
		.head = {.request = PARENT_DROP, .serial = ++link->serial},
		.target = *target,
	};
	int result;

	parent_link_bind(link);
	if (!link->forked)
		return 0;
	result = send_message(link, &drop, sizeof(drop), -1);
	if (!result)
		result = wait_for_answer(link, UINT64_MAX);
	if (result)
		fault_set(
			fault, NULL, NULL,
			"the parent process cannot give up its privileges: %s; report this host's "
			"kernel",
			strerror(-result));
	return result;
}

int parent_link_start(struct parent_link *link, enum parent_request request, int carrier_fd)
{
	return send_request(link, request, carrier_fd);
}

int parent_link_commit(struct parent_link *link, uint64_t due_ms)
{
	int result = send_request(link, PARENT_COMMIT, -1);

	return result ? result : wait_for_answer(link, due_ms);
}

void parent_link_give_up(struct parent_link *link)
{
	/* fails only if the parent has ended, and this process with it */
	(void)send_request(link, PARENT_GIVE_UP, -1);
}
