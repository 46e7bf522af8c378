/* SPDX-License-Identifier: MIT */
#include "command/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "config/usage.h"
#include "os/timer.h"

/* Far more than sixpipe answers. */
#define ANSWER_LIMIT_BYTES (16 << 20)

/* The next call on `fd` may wait until the deadline: socket(7). Returns 0 or -errno. */
static int limit_wait(int fd, uint64_t deadline_ms)
{
	uint64_t now_ms = timer_now_ms();
	uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
	struct timeval limit = {.tv_sec = (time_t)(left_ms / 1000),
				.tv_usec = (suseconds_t)(left_ms % 1000) * 1000};

	if (!left_ms)
		return -ETIMEDOUT;
	/* unix(7): both hold for connect(2) too, which waits where the backlog is full */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return -errno;
	return 0;
}

/* -errno of a call that has failed. */
static int take_errno(void)
{
	return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
}

static int send_request(int fd, const struct addr *address, const char *request)
{
	size_t length = strlen(request);
	socklen_t address_bytes;
	const struct sockaddr *to = addr_sockaddr(address, &address_bytes);

	if (connect(fd, to, address_bytes))
		return take_errno();
	/* EPIPE: the peer has answered and closed already */
	if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length && errno != EPIPE)
		return take_errno();
	return 0;
}

static int receive(int fd, uint64_t deadline_ms, size_t enough_bytes, FILE *out)
{
	char piece[16384];
	ssize_t got = 1;
	int result = 0;

	while (got && !result && (size_t)ftell(out) < enough_bytes) {
		result = limit_wait(fd, deadline_ms);
		got = result ? 0 : recv(fd, piece, sizeof(piece), 0);
		if (got > 0)
			fwrite(piece, 1, (size_t)got, out);
		else if (got < 0 && errno != EINTR)
			result = take_errno();
	}
	/* a peer that closes without having read the request sends its answer, and then a RST */
	return result == -ECONNRESET && ftell(out) > 0 ? 0 : result;
}

int client_ask(const struct addr *address, const char *request, uint64_t limit_ms,
	       struct client_answer *answer)
{
	uint64_t deadline_ms = timer_now_ms() + limit_ms;
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *out;
	int result;

	if (fd < 0)
		return -errno;
	answer->text = NULL;
	out = open_memstream(&answer->text, &answer->bytes);
	result = out ? limit_wait(fd, deadline_ms) : -ENOMEM;
	if (!result)
		result = send_request(fd, address, request);
	if (!result)
		result = receive(fd, deadline_ms,
				 answer->enough_bytes ? answer->enough_bytes : ANSWER_LIMIT_BYTES,
				 out);
	if (out && fclose(out) && !result)
		result = -ENOMEM;
	close(fd);
	if (result) {
		free(answer->text);
		answer->text = NULL;
	}
	return result;
}

int client_stop(const char *command, struct fault *fault)
{
	if (!fault) {
		usage_print_command(stdout, command);
		return EXIT_SUCCESS;
	}
	if (!fault->option && !*fault->name)
		snprintf(fault->name, sizeof(fault->name), "%s", command);
	return usage_fail(EXIT_USAGE, fault);
}

bool client_take_value(char **argv, int *at, const char *option, const char **value)
{
	size_t length = strlen(option);
	const char *argument = argv[*at];

	if (strncmp(argument, option, length) || (argument[length] && argument[length] != '='))
		return false;
	*value = argument[length] ? argument + length + 1 : argv[++*at];
	return true;
}
