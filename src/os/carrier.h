/* SPDX-License-Identifier: MIT */
/*
 * Carries the state of a process to the process that takes over from it: records of values and
 * descriptors, over a connected local socket (unix(7), SOCK_SEQPACKET, SCM_RIGHTS).
 *
 * A record has a kind, then values, one after the other, and descriptors. The reader takes the
 * values in the order in which the writer put them. It may leave values at the end of a record out,
 * and whole records of a kind that it does not know: so a later version may add both. A value
 * beyond the end of the record is 0, "" or -1, and makes carrier_is_whole() false.
 *
 * Several records travel in one message, which is sent when the next record might not fit. For one
 * thread. Both ends are the same kind of machine: numbers have the byte order of the host.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/addr.h"

/* What one record may have. */
#define CARRIER_RECORD_BYTES 8192
#define CARRIER_RECORD_FDS   8

/* What a record is about; docs/takeover.md says who writes and reads it. Never renumber. */
enum carrier_kind {
	/* from the new process, and the answer, before the new one reads its configuration */
	CARRIER_HELLO = 1, /* versions; in the answer sizes too */
	CARRIER_SOCKET,	   /* a listening socket, a lock: os/inherited.h */
	CARRIER_GREETED,   /* the end of this part */
	/* from the new process */
	CARRIER_REFUSED,  /* it cannot take over: exit code and one fault. It ends after the last */
	CARRIER_SERVES,	  /* it has a forward of this name */
	CARRIER_PREPARED, /* it can take over, once it has the state */
	CARRIER_HAVE_ALL, /* it has everything */
	/* from the old process, whose sessions are frozen */
	CARRIER_COUNTERS,
	CARRIER_CLOSED,
	CARRIER_HISTORY,
	CARRIER_BAN,
	CARRIER_LEASE_POOL,
	CARRIER_LEASE,
	CARRIER_FORWARD,
	CARRIER_MEMBER,
	CARRIER_NAME,
	CARRIER_CLIENT, /* an accepted connection without a session */
	CARRIER_SESSION,
	CARRIER_PIPE,		/* the two descriptors of a free pipe */
	CARRIER_STATE_END,	/* how many records of each kind came before */
	CARRIER_COMMIT,		/* the new process serves from here on */
	CARRIER_FORWARD_COUNTS, /* a part of the state: what `sixpipe stats` shows of a forward */
	CARRIER_CHANGE,		/* a change made at run time, in an upgrade; before the state */
	CARRIER_SERVICE,	/* the start time of the service; before the state */
	CARRIER_KIND_COUNT
};

struct carrier;

/* The two ends of a new connection, close-on-exec. Returns 0 or -errno: socketpair(2). */
int carrier_pair(int fds[2]);

/* Owns `fd`, one end, from here on, also after an error. Returns 0 or -ENOMEM. */
int carrier_create(struct carrier **carrier, int fd);

/* Closes the descriptors that were received and not taken. NULL is allowed. */
void carrier_destroy(struct carrier *carrier);

/* For poll(2): readable when carrier_next() does not wait. */
int carrier_fd(const struct carrier *carrier);

/* Sending and receiving fail with -ETIMEDOUT from `due_ms` (CLOCK_MONOTONIC) on. At first: never. */
void carrier_set_due(struct carrier *carrier, uint64_t due_ms);

/* How many records were put so far, and how many were taken. */
uint64_t carrier_put_count(const struct carrier *carrier);
uint64_t carrier_take_count(const struct carrier *carrier);

/* Writing -------------------------------------------------------------------------------------- */

/*
 * Begins a record; carrier_end() ends it. The first error of sending is kept, and then the
 * functions do nothing: carrier_flush() returns it.
 */
void carrier_begin(struct carrier *carrier, enum carrier_kind kind);
void carrier_put(struct carrier *carrier, uint64_t value);
void carrier_put_bytes(struct carrier *carrier, const void *bytes, size_t count);
void carrier_put_text(struct carrier *carrier, const char *text); /* NULL: "" */
void carrier_put_addr(struct carrier *carrier, const struct addr *address);
void carrier_put_fd(struct carrier *carrier, int fd); /* stays open here */
void carrier_end(struct carrier *carrier);

/* Sends what was put. Returns 0, or the first -errno: sendmsg(2), or -ETIMEDOUT. */
int carrier_flush(struct carrier *carrier);

/* Reading -------------------------------------------------------------------------------------- */

/*
 * Goes to the next record, and waits for it. Returns 0; -EPIPE if the other end was closed;
 * -EBADMSG if the message is malformed; -ETIMEDOUT; -EMFILE if descriptors were lost, because
 * RLIMIT_NOFILE is used up; or another -errno of recvmsg(2). Descriptors that were not taken from
 * the last record are closed.
 */
int carrier_next(struct carrier *carrier, enum carrier_kind *kind);

/* Whether a record is there, so that carrier_next() does not ask the socket. */
bool carrier_has_record(const struct carrier *carrier);

uint64_t carrier_take(struct carrier *carrier);

/* Takes what carrier_put_bytes() has put. Other than `count` bytes there are a failure. */
void carrier_take_bytes(struct carrier *carrier, void *bytes, size_t count);

/* Takes a text of at most `size` bytes with its NUL; a longer one is a failure, and gives "". */
const char *carrier_take_text(struct carrier *carrier, char *text, size_t size);

/* `name`: the memory of a local socket's name, to which the address points then. */
void carrier_take_addr(struct carrier *carrier, struct addr *address, struct sockaddr_un *name);

/* The caller owns the descriptor, which is close-on-exec. -1: there is none. */
int carrier_take_fd(struct carrier *carrier);

/* Whether everything that was taken from the record was there. */
bool carrier_is_whole(const struct carrier *carrier);
