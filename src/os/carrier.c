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
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/util.h"
#include "os/fd_message.h"
#include "os/timer.h"

#define MESSAGE_BYTES 65536
#define NEVER	      UINT64_MAX

/* The pause before another try when too many descriptors are in flight: ETOOMANYREFS, unix(7). */
#define CROWDED_PAUSE_MS 1

struct record_head {
	uint16_t kind;
	uint16_t fd_count;
	uint32_t bytes;
};

struct message {
	uint64_t count;		 /* of records, of all messages so far */
	size_t used;		 /* of `bytes` */
	size_t record;		 /* where the present record begins; reading: its next value */
	size_t record_end;	 /* reading: where it ends */
	unsigned fd_count;	 /* of `fds` */
	unsigned record_fds;	 /* where those of the present record begin; reading: the next */
	unsigned record_fds_end; /* reading: where they end */
	int fds[FD_MESSAGE_FDS];
	uint8_t bytes[MESSAGE_BYTES];
};

struct carrier {
	int fd;
	int error;   /* the first of writing */
	bool broken; /* a value of the present record was not there */
	uint64_t due_ms;
	struct message out, in;
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

/* Closes the received descriptors before number `end` that nobody has taken. */
static void close_untaken(struct message *in, unsigned end)
{
	while (in->record_fds < end)
		close(in->fds[in->record_fds++]);
}

void carrier_destroy(struct carrier *self)
{
	if (!self)
		return;
	close_untaken(&self->in, self->in.fd_count);
	close(self->fd);
	free(self);
}

int carrier_fd(const struct carrier *self)
{
	return self->fd;
}

void carrier_set_due(struct carrier *self, uint64_t due_ms)
{
	self->due_ms = due_ms;
}

uint64_t carrier_put_count(const struct carrier *self)
{
	return self->out.count;
}

uint64_t carrier_take_count(const struct carrier *self)
{
	return self->in.count;
}

/* Waits until the socket is ready. Returns 0 or -errno. */
static int wait_for(const struct carrier *self, short events)
{
	struct pollfd poll_fd = {.fd = self->fd, .events = events};
	int result;

	do {
		uint64_t now_ms = timer_now_ms();
		uint64_t left_ms = self->due_ms > now_ms ? self->due_ms - now_ms : 0;

		result = poll(&poll_fd, 1, self->due_ms == NEVER ? -1 : (int)MIN(left_ms, INT_MAX));
	} while (result < 0 && errno == EINTR);
	if (result < 0)
		return -errno;
	return result ? 0 : -ETIMEDOUT;
}

/* Writing -------------------------------------------------------------------------------------- */

static int send_once(struct carrier *self)
{
	const struct fd_message message = {
		.bytes = self->out.bytes,
		.count = self->out.used,
		.fds = self->out.fds,
		.fd_count = self->out.fd_count,
	};
	int result = fd_message_send(self->fd, &message);

	/* the other end was closed with messages that it has not read */
	return result == -ECONNRESET ? -EPIPE : result;
}

/*
 * Waits until the reader may have taken a message. Nothing tells when fewer descriptors are in
 * flight (ETOOMANYREFS), so that wait is a pause.
 */
static int wait_to_send(const struct carrier *self, int error)
{
	const struct timespec pause = {.tv_nsec = CROWDED_PAUSE_MS * 1000000L};

	if (error == -EINTR)
		return 0;
	if (error == -EAGAIN)
		return wait_for(self, POLLOUT);
	if (error != -ETOOMANYREFS)
		return error;
	nanosleep(&pause, NULL);
	return timer_now_ms() < self->due_ms ? 0 : -ETIMEDOUT;
}

int carrier_flush(struct carrier *self)
{
	struct message *out = &self->out;
	int result;

	while (!self->error && out->used) {
		result = send_once(self);
		if (!result)
			break;
		self->error = wait_to_send(self, result);
	}
	out->used = 0;
	out->fd_count = 0;
	return self->error;
}

void carrier_begin(struct carrier *self, enum carrier_kind kind)
{
	struct message *out = &self->out;
	struct record_head head = {.kind = (uint16_t)kind};

	if (out->used + sizeof(head) + CARRIER_RECORD_BYTES > MESSAGE_BYTES ||
	    out->fd_count + CARRIER_RECORD_FDS > FD_MESSAGE_FDS)
		(void)carrier_flush(self);
	out->record = out->used;
	out->record_fds = out->fd_count;
	memcpy(out->bytes + out->record, &head, sizeof(head));
	out->used += sizeof(head);
}

static void append(struct carrier *self, const void *bytes, size_t count)
{
	struct message *out = &self->out;
	size_t record_bytes = out->used - out->record - sizeof(struct record_head);

	/* the largest record is known when the program is written */
	CHECK(record_bytes + count <= CARRIER_RECORD_BYTES);
	if (count)
		memcpy(out->bytes + out->used, bytes, count);
	out->used += count;
}

void carrier_put(struct carrier *self, uint64_t value)
{
	append(self, &value, sizeof(value));
}

void carrier_put_bytes(struct carrier *self, const void *bytes, size_t count)
{
	carrier_put(self, count);
	append(self, bytes, count);
}

void carrier_put_text(struct carrier *self, const char *text)
{
	carrier_put_bytes(self, text ? text : "", text ? strlen(text) : 0);
}

void carrier_put_addr(struct carrier *self, const struct addr *address)
{
	socklen_t bytes = 0;
	const struct sockaddr *name = NULL;

	/* the address of a local peer has no name: its family is all that there is */
	if (address->length_bytes && addr_is_local(address) && !address->local.name) {
		carrier_put_bytes(self, &address->local.family, sizeof(address->local.family));
		return;
	}
	if (address->length_bytes)
		name = addr_sockaddr(address, &bytes);
	carrier_put_bytes(self, name, bytes);
}

void carrier_put_fd(struct carrier *self, int fd)
{
	struct message *out = &self->out;

	CHECK(fd >= 0 && out->fd_count - out->record_fds < CARRIER_RECORD_FDS);
	out->fds[out->fd_count++] = fd;
}

void carrier_end(struct carrier *self)
{
	struct message *out = &self->out;
	struct record_head head;

	memcpy(&head, out->bytes + out->record, sizeof(head));
	head.bytes = (uint32_t)(out->used - out->record - sizeof(head));
	head.fd_count = (uint16_t)(out->fd_count - out->record_fds);
	memcpy(out->bytes + out->record, &head, sizeof(head));
	out->count++;
}

/* Reading -------------------------------------------------------------------------------------- */

static int receive(struct carrier *self)
{
	struct message *in = &self->in;
	struct fd_message message;
	ssize_t bytes;
	int result;

	do {
		result = wait_for(self, POLLIN);
		if (result)
			return result;
		message = (struct fd_message){
			.bytes = in->bytes,
			.count = sizeof(in->bytes),
			.fds = in->fds,
			.fd_count = FD_MESSAGE_FDS,
		};
		bytes = fd_message_receive(self->fd, &message);
	} while (bytes == -EAGAIN || bytes == -EINTR);
	if (bytes < 0)
		return bytes == -ECONNRESET ? -EPIPE : (int)bytes;
	in->fd_count = message.fd_count;
	in->record_fds = in->record_fds_end = 0;
	in->record = in->record_end = 0;
	in->used = (size_t)bytes;
	if (message.flags & MSG_TRUNC)
		return -EBADMSG;
	if (message.flags & MSG_CTRUNC)
		return -EMFILE;
	return bytes ? 0 : -EPIPE;
}

bool carrier_has_record(const struct carrier *self)
{
	return self->in.record_end < self->in.used;
}

int carrier_next(struct carrier *self, enum carrier_kind *kind)
{
	struct message *in = &self->in;
	struct record_head head;
	int result = 0;

	close_untaken(in, in->record_fds_end);
	if (!carrier_has_record(self)) {
		close_untaken(in, in->fd_count);
		result = receive(self);
	}
	if (result)
		return result;
	self->broken = false;
	in->record = in->record_end;
	if (in->used - in->record < sizeof(head))
		return -EBADMSG;
	memcpy(&head, in->bytes + in->record, sizeof(head));
	in->record += sizeof(head);
	if (head.bytes > in->used - in->record || head.fd_count > in->fd_count - in->record_fds)
		return -EBADMSG;
	in->record_end = in->record + head.bytes;
	in->record_fds_end = in->record_fds + head.fd_count;
	*kind = (enum carrier_kind)head.kind;
	in->count++;
	return 0;
}

/* Takes `count` bytes, or zeros if the record has fewer. */
static bool take(struct carrier *self, void *bytes, size_t count)
{
	struct message *in = &self->in;

	if (self->broken || in->record_end - in->record < count) {
		self->broken = true;
		memset(bytes, 0, count);
		return false;
	}
	memcpy(bytes, in->bytes + in->record, count);
	in->record += count;
	return true;
}

uint64_t carrier_take(struct carrier *self)
{
	uint64_t value;

	(void)take(self, &value, sizeof(value));
	return value;
}

/* Takes the length of bytes, which is `most` at most; a longer one is a failure. */
static size_t take_length(struct carrier *self, size_t most)
{
	uint64_t count = carrier_take(self);

	if (count <= most)
		return (size_t)count;
	self->broken = true;
	return 0;
}

void carrier_take_bytes(struct carrier *self, void *bytes, size_t count)
{
	if (take_length(self, count) != count)
		self->broken = true;
	(void)take(self, bytes, count);
}

const char *carrier_take_text(struct carrier *self, char *text, size_t size)
{
	size_t length = take_length(self, size - 1);

	if (!take(self, text, length))
		length = 0;
	text[length] = '\0';
	return text;
}

/* The name of a local socket, of `bytes` as bind(2) takes them. */
static void set_local(struct addr *address, struct sockaddr_un *name, size_t bytes)
{
	const size_t head = offsetof(struct sockaddr_un, sun_path);

	address->local.family = AF_UNIX;
	address->local.name = bytes > head ? name : NULL;
	/* a path ends with a NUL; an abstract name begins with one and has none at its end */
	address->local.path_bytes = bytes > head ? (uint16_t)(bytes - head - !!*name->sun_path) : 0;
	address->length_bytes = sizeof(address->local);
}

void carrier_take_addr(struct carrier *self, struct addr *address, struct sockaddr_un *name)
{
	struct sockaddr_storage any = {.ss_family = AF_UNSPEC};
	size_t bytes = take_length(self, sizeof(struct sockaddr_un));

	memset(address, 0, sizeof(*address));
	if (!take(self, &any, bytes) || !bytes)
		return;
	if (any.ss_family == AF_UNIX) {
		memset(name, 0, sizeof(*name));
		memcpy(name, &any, bytes);
		set_local(address, name, bytes);
	} else if (bytes <= sizeof(address->v6)) {
		memcpy(&address->v6, &any, bytes);
		address->length_bytes = (socklen_t)bytes;
	} else {
		self->broken = true;
	}
}

int carrier_take_fd(struct carrier *self)
{
	struct message *in = &self->in;

	if (in->record_fds < in->record_fds_end)
		return in->fds[in->record_fds++];
	self->broken = true;
	return -1;
}

bool carrier_is_whole(const struct carrier *self)
{
	return !self->broken;
}
