/* SPDX-License-Identifier: MIT */
#include "os/fd_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"

/* Room for the descriptors of a message: CMSG_SPACE(3). */
union control {
	char bytes[CMSG_SPACE(FD_MESSAGE_FDS * sizeof(int))];
	struct cmsghdr align;
};

int fd_message_send(int socket, const struct fd_message *self)
{
	struct iovec part = {.iov_base = self->bytes, .iov_len = self->count};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union control control = {.bytes = {0}};

	CHECK(self->fd_count <= FD_MESSAGE_FDS);
	if (self->fd_count) {
		size_t bytes = self->fd_count * sizeof(int);
		struct cmsghdr *head;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(bytes);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(head), self->fds, bytes);
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

ssize_t fd_message_receive(int socket, struct fd_message *self)
{
	struct iovec part = {.iov_base = self->bytes, .iov_len = self->count};
	union control control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 /* with padding, one more might come than there is room for */
				 .msg_controllen = CMSG_LEN(self->fd_count * sizeof(int))};
	unsigned room = self->fd_count;
	ssize_t bytes;

	CHECK(room <= FD_MESSAGE_FDS);
	bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	self->fd_count = 0;
	if (bytes < 0)
		return -errno;
	self->flags = message.msg_flags;
	for (const struct cmsghdr *head = CMSG_FIRSTHDR(&message); head;
	     head = CMSG_NXTHDR(&message, (struct cmsghdr *)head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		self->fd_count = (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		CHECK(self->fd_count <= room);
		memcpy(self->fds, CMSG_DATA(head), self->fd_count * sizeof(int));
	}
	return bytes;
}
