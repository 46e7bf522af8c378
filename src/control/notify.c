/* SPDX-License-Identifier: MIT */
#include "control/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/units.h"

/* Writes the address of $NOTIFY_SOCKET. Returns its length, or -errno. */
static int read_address(const char *text, struct sockaddr_un *address)
{
	size_t length = strlen(text);

	if (*text != '/' && *text != '@')
		return -EINVAL;
	if (length < 2)
		return -EINVAL;
	/* a path needs its NUL, an abstract name must not have one */
	if (length >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, text, length);
	if (*text == '@')
		address->sun_path[0] = '\0';
	return (int)(offsetof(struct sockaddr_un, sun_path) + length + (*text == '/'));
}

int notify_open(struct notify *notify)
{
	const char *text = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address;
	int length, error;

	notify->fd = -1;
	if (!text || !*text || !strncmp(text, "vsock", strlen("vsock")))
		return 0;
	length = read_address(text, &address);
	if (length < 0)
		return length;
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify->fd < 0)
		return -errno;
	if (!connect(notify->fd, (struct sockaddr *)&address, (socklen_t)length))
		return 0;
	error = errno;
	notify_close(notify);
	return -error;
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

int notify_send(const struct notify *notify, const char *text)
{
	ssize_t sent;

	if (notify->fd < 0)
		return 0;
	do
		sent = send(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* The number in an environment variable; 0: no variable or no number. */
static uint64_t read_number(const char *name)
{
	const char *text = getenv(name);
	uint64_t number;

	return text && !units_parse_count(text, &number) ? number : 0;
}

uint64_t notify_watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t number = read_number("WATCHDOG_PID");

	if (pid && *pid && number != (uint64_t)getpid() && number != (uint64_t)getppid())
		return 0;
	return read_number("WATCHDOG_USEC") / 1000;
}
