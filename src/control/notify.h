/* SPDX-License-Identifier: MIT */
/*
 * The service manager's protocol, sd_notify(3): datagrams with lines KEY=VALUE to the socket that
 * $NOTIFY_SOCKET names. manager.h says what is sent and when. The environment is left as it is:
 * the next process that serves reads it too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The longest message. */
#define NOTIFY_TEXT_BYTES 1024

struct notify {
	int fd; /* connected to the service manager; -1: nobody wants messages */
};

/*
 * Connects to $NOTIFY_SOCKET: the path of a local socket, or @NAME of an abstract one. Call it
 * before the privilege drop, so that the mode of the socket's directory does not matter. Returns 0,
 * also if the variable is not set or names a vsock(7) address, for virtual machines; otherwise
 * -errno, and notify->fd is -1.
 */
int notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/*
 * Sends a message: lines that end with "\n", except the last. Does not wait. Returns 0, also if
 * nobody wants messages, or -errno of send(2). -EAGAIN: the manager has not read the earlier
 * messages yet; notify->fd is writable (POLLOUT) when there is room.
 */
int notify_send(const struct notify *notify, const char *text);

/*
 * The time within which the manager wants to hear WATCHDOG=1 again, in milliseconds:
 * sd_watchdog_enabled(3). 0: there is no watchdog, or $WATCHDOG_PID is neither this process nor its
 * parent.
 */
uint64_t notify_watchdog_ms(void);
