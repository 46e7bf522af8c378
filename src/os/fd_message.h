/* SPDX-License-Identifier: MIT */
/* Messages with descriptors over a connected local socket: SCM_RIGHTS, unix(7). */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* The most descriptors of a message: the kernel takes 253, SCM_MAX_FD. */
#define FD_MESSAGE_FDS 248

/* The memory is the caller's. */
struct fd_message {
	void *bytes;
	size_t count; /* of `bytes`; to receive: the room */
	int *fds;
	/* of `fds`, at most FD_MESSAGE_FDS; to receive: the room, then the number received */
	unsigned fd_count;
	int flags; /* of a received message: MSG_TRUNC, MSG_CTRUNC, recvmsg(2) */
};

/*
 * Neither waits. fd_message_send() returns 0, or -errno: sendmsg(2). The descriptors stay open here.
 * fd_message_receive() returns the number of bytes, 0 at the end of the connection, or -errno:
 * recvmsg(2). The caller owns the descriptors that came, which are close-on-exec.
 */
int fd_message_send(int socket, const struct fd_message *message);
ssize_t fd_message_receive(int socket, struct fd_message *message);
