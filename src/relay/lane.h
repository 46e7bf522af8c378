/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A lane is one direction of a session, as a pure state machine: no system
 * calls, no descriptors, no clock. A lane has a read side, the socket that it reads from, and a
 * write side, the socket that it writes to. The pump asks lane_next() for the next step, does the
 * step and reports the result with a lane_on_...() function. The pump decides nothing.
 *
 *	OPEN     more bytes may come from the read side
 *	FLUSHED  the read side has ended, and the write side has accepted every byte; the end is
 *		 still to be passed on
 *	SHUT     over: the end was passed on, or the write side has failed
 *
 * A fill takes bytes from the read side. The lane holds these bytes, in a pipe, until flushes have
 * passed them to the write side. A lane fills only when it holds nothing. So a lane that sees the
 * end of the read side holds nothing, and needs no state for an end with bytes still held.
 *
 * The read side ends with a FIN, or fails, usually with a RST. In both cases the lane first
 * delivers the bytes that came before. Then it passes a FIN on as a FIN, a failure as a RST. The
 * lane remembers the error of a failure: a socket reports its error once, and afterwards looks like
 * a clean end (tests/kernel/probe_splice_data_before_reset).
 *
 * Room: a lane takes no more than the send buffer of the write side has room for. If the peer of
 * the write side does not read, the bytes wait in the receive buffer of the read side, and the lane
 * holds no pipe. The lane measures the room again when half of the room is used up: after many
 * small messages, or at every fill of a bulk lane. A byte uses up more than one byte of room,
 * because the kernel also counts its own overhead, which is large with small windows and small
 * fragments (tests/kernel/probe_sock_meminfo_room). So the lane learns how much room a byte costs.
 * Room is an estimate: if the estimate was too high, a rest stays in the pipe.
 *
 * Allowance: a paced lane also takes no more than its allowance, which its owner grants from the
 * bandwidth limits. Without an allowance it does not read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * With less room than this a lane does not fill, but waits until the kernel calls the write side
 * writable. A bulk lane always waits for this, even with more room, so that its fills are large.
 * Scenarios: mtu and bulk-8-both (bench/).
 */
#define LANE_ROOM_WORTH_BYTES 16384

/*
 * A lane begins as a small lane. A small lane copies up to this many bytes at a time, which costs
 * less than two splices. A fill of this size or more makes the lane a bulk lane; a smaller fill
 * makes the lane small again. Scenarios: small-64 and bulk-1-up (bench/).
 */
#define LANE_SMALL_BYTES 16384

/*
 * A lane is chatty after this many small fills in a row, each of which drained the read side. A
 * chatty lane gets a watch, which costs more than one wait and less than several waits. Scenarios:
 * small-64, crc-64.
 */
#define LANE_CHATTY_FILLS 4

/*
 * The least room that a lane assumes: for a new connection, so that one short message needs no
 * measurement; and when the kernel says "writable" but the measured room is less (a tiny send
 * buffer). Scenario: crc-64.
 */
#define LANE_ROOM_FLOOR_BYTES 4096

/*
 * The lane counts at least this much room for a message, as the kernel does for the smallest
 * packet. Scenario: tests/kernel/probe_sock_meminfo_room.
 */
#define LANE_MESSAGE_COST_BYTES 1280

/*
 * The room that one byte costs, in sixteenths of a byte. A byte costs at least 9/8 bytes of room; a
 * new lane assumes 4 bytes. Scenario: tests/integration/test_stalled.
 */
#define LANE_COST_LEAST 18
#define LANE_COST_FIRST 64

enum lane_state { LANE_OPEN, LANE_FLUSHED, LANE_SHUT };

enum lane_step {
	LANE_MEASURE, /* measure the room of the write side: lane_on_room() */
	LANE_FILL,    /* take up to room_bytes from the read side: lane_on_filled() and others */
	LANE_FLUSH,   /* pass held_bytes to the write side: lane_on_flushed() and others */
	LANE_WAIT_READABLE,    /* until the read side is readable: lane_on_arrival() */
	LANE_WAIT_WRITABLE,    /* until the write side is writable: lane_on_writable() */
	LANE_WAIT_ALLOWANCE,   /* until the owner grants an allowance: lane_on_allowance() */
	LANE_SHUT_WRITE_SIDE,  /* pass the FIN on: lane_on_shut() */
	LANE_RESET_WRITE_SIDE, /* pass the failure on as a RST, which ends the session */
	LANE_REST,	       /* nothing, ever again */
};

struct lane {
	uint8_t state;	 /* enum lane_state */
	bool read_ready; /* the read side may have bytes: fill before waiting */
	bool read_woken; /* the kernel called the read side readable, and no fill was tried since */
	bool read_ended; /* the kernel announced the end of the stream, still unread */
	bool bulk;	 /* fills are large: splice */
	uint8_t small_fills; /* in a row, up to LANE_CHATTY_FILLS */
	bool paced : 1;	     /* takes at most `allowance_bytes`; set by the owner */
	bool restless : 1;   /* a read may leave bytes behind: never chatty; set by the owner */
	bool copies : 1;     /* never splices from the read side: lane_stop_splicing() */
	bool stirred;	     /* was filled since the last lane_take_stirred() */
	bool write_ready;    /* the write side may take bytes */
	bool write_woken;    /* the kernel called the write side writable; no measurement since */
	int16_t read_error;  /* how the read side failed: errno, 0 for no failure */
	int16_t write_error; /* how the write side failed: errno, 0 for no failure */
	uint16_t cost;	     /* LANE_COST_*: the learned cost of a byte */
	/* the most unsent bytes in the write side's socket; 0: no limit; set by the owner */
	uint32_t unsent_limit_bytes;
	uint32_t allowance_bytes; /* a paced lane may still take so many bytes */
	uint32_t held_bytes;	  /* taken, and not yet accepted by the write side */
	uint32_t preface_bytes;	  /* the owner's, first in held_bytes; not in moved_bytes */
	uint32_t room_bytes;	  /* the write side takes about so many bytes */
	uint32_t room_low_bytes;  /* with less room the lane measures again */
	uint32_t measured_bytes;  /* the room at the last measurement */
	uint32_t sent_bytes;	  /* since the last measurement */
	uint64_t moved_bytes;	  /* taken from the read side and accepted by the write side */
};

/* Makes an open lane. `read_ready`: the lane tries to fill before it waits. */
void lane_init(struct lane *lane, bool read_ready);

/*
 * From here on the lane copies, also as a bulk lane: splice(2) does not find all bytes of its read
 * side.
 */
void lane_stop_splicing(struct lane *lane);

/* The next step. Depends on nothing but the lane. */
enum lane_step lane_next(const struct lane *lane);

/* The write side takes bytes again, or has failed: the end of LANE_WAIT_WRITABLE. */
void lane_on_writable(struct lane *lane);

/*
 * Something has arrived at the read side: the end of LANE_WAIT_READABLE. `ended`: the end of the
 * stream has arrived too, so the lane reads up to that end.
 */
void lane_on_arrival(struct lane *lane, bool ended);

/* A paced lane may take `bytes` > 0 from its read side: the end of LANE_WAIT_ALLOWANCE. */
void lane_on_allowance(struct lane *lane, uint32_t bytes);

/* Takes the unused allowance away from the lane and returns it, in bytes. */
uint32_t lane_take_allowance(struct lane *lane);

/* How many of `bytes` the allowance lets the lane take now; all, if the lane is not paced. */
uint32_t lane_affords(const struct lane *lane, uint32_t bytes);

/* Whether the lane is chatty: LANE_CHATTY_FILLS. lane_on_quiet() counts from 0 again. */
bool lane_is_chatty(const struct lane *lane);
void lane_on_quiet(struct lane *lane);

/* Whether bytes have come from the read side since the last call. */
bool lane_take_stirred(struct lane *lane);

/* The write side has `bytes` of room; `writable`: poll(2) would call it writable. */
void lane_on_room(struct lane *lane, uint32_t bytes, bool writable);

/* The lane holds `bytes` > 0 from the read side; `drained`: the read side has no more for now. */
void lane_on_filled(struct lane *lane, uint32_t bytes, bool drained);

/*
 * Before the first fill: the lane holds `preface_bytes` > 0 of its owner, followed by `bytes` >= 0
 * from the read side; `drained` as for lane_on_filled().
 */
void lane_on_begun(struct lane *lane, uint32_t preface_bytes, uint32_t bytes, bool drained);

/*
 * Before the first fill: the write side has accepted the first `bytes` > 0 of the read side, and
 * the owner has taken them out of the read side.
 */
void lane_on_early(struct lane *lane, uint32_t bytes);

/* Whether no byte was ever taken from the read side. */
bool lane_is_untouched(const struct lane *lane);

/* The read side has nothing now. */
void lane_on_read_empty(struct lane *lane);

/* The read side is empty and has ended, or failed if lane_on_read_failed() was called. */
void lane_on_read_end(struct lane *lane);

/*
 * The socket of the read side failed with `error` (an errno, > 0). The lane will pass a RST on. It
 * still reads the bytes that came before, until lane_on_read_end().
 */
void lane_on_read_failed(struct lane *lane, int error);

/* The write side accepted `bytes` > 0 of the held bytes; if not all of them, it is full now. */
void lane_on_flushed(struct lane *lane, uint32_t bytes);

/* `bytes` > 0 went to the write side without being held; `drained` as for lane_on_filled(). */
void lane_on_copied(struct lane *lane, uint32_t bytes, bool drained);

/* The write side takes nothing now. */
void lane_on_write_full(struct lane *lane);

/* The write side failed with `error` (> 0): the held bytes are lost, and the lane is over. */
void lane_on_write_failed(struct lane *lane, int error);

/* The FIN was passed on. */
void lane_on_shut(struct lane *lane);
