/* SPDX-License-Identifier: MIT */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_BACKLOG 8192

static bool port_parse(const char *text, in_port_t *port)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || value > 65535)
		return false;
	*port = htons((in_port_t)value);
	return true;
}

bool endpoint_parse(struct endpoint *endpoint, const char *text)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&endpoint->address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&endpoint->address;
	char host[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	const char *start = text;
	size_t length;

	memset(endpoint, 0, sizeof(*endpoint));
	if (colon == NULL)
		return false;
	length = (size_t)(colon - text);
	if (text[0] == '[' && length >= 2 && colon[-1] == ']') {
		start++;
		length -= 2;
	}
	if (length >= sizeof(host))
		return false;
	memcpy(host, start, length);
	host[length] = '\0';
	if (start != text) {
		v6->sin6_family = AF_INET6;
		endpoint->length = sizeof(*v6);
		return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 &&
		       port_parse(colon + 1, &v6->sin6_port);
	}
	v4->sin_family = AF_INET;
	endpoint->length = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1 && port_parse(colon + 1, &v4->sin_port);
}

void endpoint_print(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES])
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&endpoint->address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&endpoint->address;
	char host[INET6_ADDRSTRLEN];

	if (endpoint->address.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, ENDPOINT_TEXT_BYTES, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, ENDPOINT_TEXT_BYTES, "%s:%u", host, ntohs(v4->sin_port));
	}
}

/* Takes errno from a failed call on fd. */
static int close_with_error(int fd)
{
	int error = -errno;

	close(fd);
	return error;
}

static int open_socket(const struct endpoint *endpoint)
{
	int on = 1;
	int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		return close_with_error(fd);
	return fd;
}

int net_listen(struct endpoint *endpoint)
{
	int on = 1;
	int fd = open_socket(endpoint);

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) != 0 ||
	    listen(fd, LISTEN_BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&endpoint->address, &endpoint->length) != 0)
		return close_with_error(fd);
	return fd;
}

int net_connect(const struct endpoint *endpoint)
{
	int fd = open_socket(endpoint);

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) != 0 &&
	    errno != EINPROGRESS)
		return close_with_error(fd);
	return fd;
}

void net_pace(int fd, uint64_t bytes_per_second)
{
	if (bytes_per_second == 0)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_second,
		       sizeof(bytes_per_second)) != 0)
		perror("load: SO_MAX_PACING_RATE");
}

void net_yield_cpu(void)
{
	const struct sched_param parameters = {0};
	int error = pthread_setschedparam(pthread_self(), SCHED_IDLE, &parameters);

	if (error != 0)
		fprintf(stderr, "load: SCHED_IDLE: %s\n", strerror(error));
}

uint64_t net_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double net_cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
