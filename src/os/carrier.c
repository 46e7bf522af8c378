/* SPDX-License-Identifier: MIT */
/*
 * A message is a sequence of records:
 *
 *	kind 16 | descriptors 16 | bytes 32 | values
 *
 * A number is 8 bytes; bytes, text and addresses have their length as a number before them. The
 * descriptors of all records of a message travel with it, in the order of the records.
 */
#include "os/carrier.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/util.h"
#include "os/timer.h"

#define MESSAGE_BYTES 65536
/* one message carries 253 at most: SCM_MAX_FD, unix(7) */
#define MESSAGE_FDS 248
#define NEVER	    UINT64_MAX

/* The pause before another try when too many descriptors are in flight: ETOOMANYREFS, unix(7). */
#define CROWDED_PAUSE_MS 1

struct record_head {
	uint16_t kind;
	uint16_t fd_count;
	uint32_t bytes;
};

struct carrier {
	int fd;
	int error; /* the first of writing */
	bool broken; /* a value was not there */
	uint64_t due_ms;
	/* writing: the record begins at `record`. Reading: from `record` to `record_end` */
	size_t record, record_end, used, taken;
	unsigned fd_count, fd_taken, record_fds, record_fd_end;
	int fds[MESSAGE_FDS];
	_Alignas(8) uint8_t bytes[MESSAGE_BYTES];
};

int carrier_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? -errno : 0;
}

int carrier_create(struct carrier **carrier, int fd)
{
	*carrier = calloc(1, sizeof(**carrier));
	if (!*carrier) {
		close(fd);
		return -ENOMEM;
	}
	(*carrier)->fd = fd;
	(*carrier)->due_ms = NEVER;
	return 0;
}

static void close_fds(struct carrier *self, unsigned end)
{
	for (; self->fd_taken < end; self->fd_taken++)
		if (self->fds[self->fd_taken] >= 0)
			close(self->fds[self->fd_taken]);
}
