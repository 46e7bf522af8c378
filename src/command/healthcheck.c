#include "command/healthcheck.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_address.h"
#include "config/usage.h"
#include "os/sock.h"
#include "os/timer.h"

/* The head of sixpipe's answer and its first line are less than 600 bytes. */
#define ANSWER_BYTES 1024

#define VARIABLE     "SIXPIPE_METRICS"

struct request {
	const char *path; /* "/ready", "/live" */
	struct addr address;
	uint64_t deadline_ms;
};

static void print_usage(void)
{
	fputs("Usage: sixpipe healthcheck [--live] [--metrics ADDRESS]\n"
	      "\n"
	      "Asks a running sixpipe whether it is ready for connections (/ready) or, with "
	      "--live,\n"
	      "whether it runs (/live). ADDRESS is its --metrics; default: " VARIABLE " in the\n"
	      "environment. [::] and 0.0.0.0 are asked on loopback.\n"
	      "\n"
	      "Exit codes: 0 yes, 1 no, or no answer within 2 s, 2 bad usage.\n",
	      stdout);
}

/* The command line --------------------------------------------------------------------------- */

/* A listener on all addresses is found on loopback. */
static void make_connectable(struct addr *address)
{
	if (addr_is_v6_wildcard(address))
		address->v6.sin6_addr = in6addr_loopback;
	else if (addr_is_wildcard(address))
		address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static int choose_address(struct request *request, const char *option, struct fault *fault)
{
	const char *text = option ? option : getenv(VARIABLE);
	const char *problem;
	int result = 0;

	if (!text)
		return fault_set(fault, NULL, NULL,
				 "no address to ask; give --metrics ADDRESS, or set " VARIABLE);
	problem = addr_parse(text, &request->address);
	if (problem)
		result = config_address_explain(CONFIG_ADDRESS_MONITORING,
						CONFIG_ORIGIN_COMMAND_LINE, text, problem, fault);
	else if (!addr_port(&request->address))
		result = fault_set(
			fault, NULL, text,
			"port 0 cannot be asked; give the port of the event=ready line's metrics=");
	if (result) {
		snprintf(fault->name, sizeof(fault->name), "%s", option ? "--metrics" : VARIABLE);
		return result;
	}
	make_connectable(&request->address);
	return 0;
}

/* Returns 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct request *request, struct fault *fault)
{
	const char *address = NULL;

	request->path = "/ready";
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
		if (!strcmp(argv[i], "--live"))
			request->path = "/live";
		else if (!strncmp(argv[i], "--metrics=", 10))
			address = argv[i] + 10;
		else if (strcmp(argv[i], "--metrics"))
			return fault_set(fault, NULL, argv[i],
					 "not known; give --live or --metrics ADDRESS");
		else if (i + 1 == argc)
			return fault_set(fault, "metrics", NULL, "has no value; give ADDRESS");
		else
			address = argv[++i];
	}
	return choose_address(request, address, fault);
}

/* Asking --------------------------------------------------------------------------------------- */

static int wait_for(const struct request *request, int fd, short events)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	uint64_t now_ms = timer_now_ms();
	int count;

	if (now_ms >= request->deadline_ms)
		return -ETIMEDOUT;
	count = poll(&poll_fd, 1, (int)(request->deadline_ms - now_ms));
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	return count ? 0 : -ETIMEDOUT;
}

static int connect_to(const struct request *request, int fd)
{
	int result;

	if (!connect(fd, &request->address.any, request->address.length_bytes))
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	result = wait_for(request, fd, POLLOUT);
	return result ? result : -sock_take_error(fd);
}

/* Reads to the end of the stream, or as much as there is room for. */
static int receive(const struct request *request, int fd, char text[ANSWER_BYTES])
{
	size_t length = 0;

	while (length < ANSWER_BYTES - 1) {
		ssize_t got = recv(fd, text + length, ANSWER_BYTES - 1 - length, 0);
		int result = 0;

		if (!got)
			break;
		if (got > 0)
			length += (size_t)got;
		else
			result = errno == EAGAIN ? wait_for(request, fd, POLLIN) : -errno;
		if (result)
			return result;
	}
	text[length] = '\0';
	return 0;
}

/* Returns 0 and the answer's text, or -errno. */
static int ask(const struct request *request, char text[ANSWER_BYTES])
{
	struct sock_tuning tuning = {0};
	int congestion_error; /* stays 0: no congestion control is asked for */
	int fd = sock_open_backend(&request->address, &tuning, &congestion_error);
	char head[64];
	int length, result;

	if (fd < 0)
		return fd;
	length = snprintf(head, sizeof(head), "GET %s HTTP/1.0\r\n\r\n", request->path);
	result = connect_to(request, fd);
	/* a new connection's send buffer has room for so little */
	if (!result && send(fd, head, (size_t)length, MSG_NOSIGNAL) != length)
		result = -errno;
	if (!result)
		result = receive(request, fd, text);
	close(fd);
	return result;
}

bool healthcheck_parse(const char *text, struct healthcheck_answer *answer)
{
	const char *body = strstr(text, "\r\n\r\n");
	size_t length = 0;
	char digits[4];
	int used;

	memset(answer, 0, sizeof(*answer));
	if (sscanf(text, "HTTP/1.%*1[0-9]%*1[ ]%3[0-9]%n", digits, &used) != 1 ||
	    used != (int)strlen("HTTP/1.1 200") || !strchr(" \r", text[used]))
		return false;
	answer->status = (unsigned)strtoul(digits, NULL, 10);
	for (body = body ? body + 4 : ""; *body && *body != '\n'; body++)
		if (length < sizeof(answer->line) - 1)
			answer->line[length++] = (char)(*body < ' ' || *body > '~' ? '?' : *body);
	return true;
}

static int fail_unreached(const struct request *request, int problem, struct fault *fault)
{
	char where[ADDR_TEXT_BYTES];
	const char *remedy = "is this sixpipe's --metrics address?";

	if (problem == -ECONNREFUSED)
		remedy = "nothing listens there: start sixpipe with --metrics, or give its address";
	else if (problem == -ETIMEDOUT)
		remedy = "it was given 2 s; is the process stopped, or the address another host's?";
	fault_set(fault, NULL, NULL, "healthcheck %s%s: %s; %s",
		  addr_print(&request->address, where), request->path, strerror(-problem), remedy);
	return EXIT_FAILURE;
}

static int judge(const struct request *request, const char *text, struct fault *fault)
{
	struct healthcheck_answer answer;
	char where[ADDR_TEXT_BYTES];
	const char *remedy = "is this sixpipe's --metrics address?";

	if (!healthcheck_parse(text, &answer)) {
		fault_set(fault, NULL, NULL, "healthcheck %s%s: the answer is not HTTP; %s",
			  addr_print(&request->address, where), request->path, remedy);
		return EXIT_FAILURE;
	}
	if (answer.status == 200) {
		puts(answer.line);
		return EXIT_SUCCESS;
	}
	if (answer.status == 503)
		remedy = "send no new connections to it; its log tells more";
	fault_set(fault, NULL, NULL, "healthcheck %s%s: %u '%s'; %s",
		  addr_print(&request->address, where), request->path, answer.status, answer.line,
		  remedy);
	return EXIT_FAILURE;
}

int healthcheck_main(int argc, char **argv)
{
	struct request request;
	struct fault fault;
	char text[ANSWER_BYTES];
	int result = parse(argc, argv, &request, &fault);

	if (result < 0) {
		if (!fault.option && !*fault.name)
			snprintf(fault.name, sizeof(fault.name), "healthcheck");
		return usage_fail(EXIT_USAGE, &fault);
	}
	if (result) {
		print_usage();
		return EXIT_SUCCESS;
	}
	request.deadline_ms = timer_now_ms() + HEALTHCHECK_LIMIT_MS;
	result = ask(&request, text);
	result = result ? fail_unreached(&request, result, &fault) : judge(&request, text, &fault);
	return result ? usage_fail(result, &fault) : result;
}
