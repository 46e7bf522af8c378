/*
 * One direction of a session, as a pure state machine: no system calls, no descriptors, no clock.
 * The pump asks lane_next() what to do, does it, and reports what happened; the machine alone
 * decides.
 *
 *	OPEN     the source may send more
 *	FLUSHED  the source ended and the target has accepted every byte; the end is still to be
 *		 passed on
 *	SHUT     over: the end was passed on, or the target is gone
 *
 * (What is held is always flushed before more is read, so no state is needed for an end that is
 * seen while bytes are held.)
 *
 * A source ends by FIN, or by failing (a RST, usually): what was received before is still
 * delivered, and then the target is reset instead of shut. The error is remembered here, for a
 * socket tells it once and afterwards looks like a clean end
 * (tests/kernel/probe_splice_data_before_reset).
 *
 * A lane reads no more than its target has room for, so that hardly a byte is ever stuck in a pipe:
 * the peer that does not read fills its own socket, and no pipe. Room is a credit, measured again
 * when half of it is used up: small exchanges do that now and then, bulk at every fill. What a byte
 * costs of it is learned, for the kernel counts its overhead too, which small windows and small
 * fragments multiply (tests/kernel/probe_sock_meminfo_room). It is an estimate: a rest may still
 * stay in the pipe.
 *
 * A paced lane reads no more than it was granted, either: without credit it leaves its source alone
 * until its owner has got it some.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Less room than this is not worth a fill: the lane waits until the kernel calls the target
 * writable. A bulk lane always waits until it is, however much room there is, so that its fills are
 * large. Scenarios: mtu and bulk-8-both (bench/).
 */
#define LANE_ROOM_WORTH_BYTES 16384

/*
 * A lane begins small: it takes up to so much at a time by copying, which costs less than two
 * splices. A fill that finds as much makes it a bulk lane, one that finds less makes it small
 * again. Scenarios: small-64 and bulk-1-up (bench/).
 */
#define LANE_SMALL_BYTES 16384

/*
 * A lane that has drained its source by so many small fills in a row is chatty: it is worth a watch
 * on its source, which costs more than one wait and less than several. Scenarios: small-64, crc-64.
 */
#define LANE_CHATTY_FILLS 4

/*
 * What is taken when the kernel says "writable" and the measured room is less (a tiny send buffer);
 * and from a new connection, whose room is not measured for one message. Scenario: crc-64.
 */
#define LANE_ROOM_FLOOR_BYTES 4096

/*
 * A message, however small, is taken to use up so much: what the kernel counts for the smallest
 * packet. Scenario: tests/kernel/probe_sock_meminfo_room.
 */
#define LANE_MESSAGE_COST_BYTES 1280

/*
 * Sixteenths of a byte of room that a byte costs: nine eighths at least; four at first, when
 * nothing is known of the target. Scenario: tests/integration/test_stalled.
 */
#define LANE_COST_LEAST 18
#define LANE_COST_FIRST 64

enum lane_state { LANE_OPEN, LANE_FLUSHED, LANE_SHUT };

enum lane_step {
	LANE_MEASURE, /* learn the target's room: lane_on_room() */
	LANE_FILL,    /* move up to room_bytes from the source: lane_on_filled() and its siblings */
	LANE_FLUSH,   /* move held_bytes to the target: lane_on_flushed() and its siblings */
	LANE_WAIT_READABLE,    /* until the source is readable: lane_on_arrival() */
	LANE_WAIT_WRITABLE,    /* until the target is writable: lane_on_writable() */
	LANE_WAIT_ALLOWANCE,   /* until more may be read: lane_on_allowance() */
	LANE_SHUT_WRITE_SIDE,  /* pass the FIN on: lane_on_shut() */
	LANE_RESET_WRITE_SIDE, /* pass the failure on, which ends the session */
	LANE_REST,	       /* nothing, ever again */
};

struct lane {
	uint8_t state;	     /* enum lane_state */
	bool read_ready;     /* the source may have bytes: fill before waiting */
	bool read_woken;     /* ... because the kernel said so, and no fill has been tried since */
	bool read_ended;     /* the kernel has seen its end, which is to be read yet */
	bool bulk;	     /* fills are large: splice */
	uint8_t small_fills; /* in a row, up to LANE_CHATTY_FILLS */
	bool paced : 1;	     /* it takes `allowance_bytes` at most; the owner's to set */
	bool restless : 1; /* reads stop short of what is there: never chatty; the owner's to set */
	bool copies : 1;   /* no splices from its read side: lane_stop_splicing() */
	bool stirred;	   /* it was filled since lane_take_stirred() */
	bool write_ready;  /* the target may take bytes */
	bool write_woken;  /* ... because the kernel said so, and its room was not measured since */
	int16_t read_error;  /* errno, 0 for none: how the source failed */
	int16_t write_error; /* errno, 0 for none: how the target failed */
	uint16_t cost;	     /* LANE_COST_*: what a byte was seen to cost */
	/* the most that is to wait in the target's socket, 0: what fits; the owner's to set */
	uint32_t unsent_limit_bytes;
	uint32_t allowance_bytes; /* of a paced lane: may still be taken from the source */
	uint32_t held_bytes;	  /* received and not yet accepted by the target */
	uint32_t
		preface_bytes; /* of these, the first: not the source's, and not counted as moved */
	uint32_t room_bytes;   /* what the target takes, as far as known */
	uint32_t room_low_bytes; /* below this it is measured again */
	uint32_t measured_bytes; /* the last measurement */
	uint32_t sent_bytes;	 /* since then */
	uint64_t moved_bytes;	 /* accepted by the target */
};

/* An open lane that tries its source at once if `read_ready`. */
void lane_init(struct lane *lane, bool read_ready);

/*
 * From here on the lane's bytes are copied, bulk too: splice(2) does not see all that its source
 * has.
 */
void lane_stop_splicing(struct lane *lane);

/* What to do now. Depends on nothing but the lane. */
enum lane_step lane_next(const struct lane *lane);

/* The target takes bytes again, or has failed: what LANE_WAIT_WRITABLE waits for. */
void lane_on_writable(struct lane *lane);

/*
 * Something has arrived at the source: what LANE_WAIT_READABLE waits for. `ended`: its end too,
 * so it is read until the end shows.
 */
void lane_on_arrival(struct lane *lane, bool ended);

/* A paced lane may take `bytes` > 0: what LANE_WAIT_ALLOWANCE waits for. */
void lane_on_allowance(struct lane *lane, uint32_t bytes);

/* Takes the lane's credit back: how much it was. */
uint32_t lane_take_allowance(struct lane *lane);

/* How much of `bytes` the lane may take from its source now. */
uint32_t lane_affords(const struct lane *lane, uint32_t bytes);

/* Whether the lane's waits for its source are many and short; until it is called quiet. */
bool lane_is_chatty(const struct lane *lane);
void lane_on_quiet(struct lane *lane);

/* Whether bytes have come from the source since the last call. */
bool lane_take_stirred(struct lane *lane);

/* The target has `bytes` of room; `writable`: poll(2) would call it writable. */
void lane_on_room(struct lane *lane, uint32_t bytes, bool writable);

/* `bytes` > 0 came from the source and are held; `drained`: nothing more is there for now. */
void lane_on_filled(struct lane *lane, uint32_t bytes, bool drained);

/*
 * Before the first fill: `preface_bytes` > 0 of the owner's own are held, and behind them
 * `bytes` >= 0 that came from the source; `drained`: nothing more is there for now.
 */
void lane_on_begun(struct lane *lane, uint32_t preface_bytes, uint32_t bytes, bool drained);

/*
 * Before the first fill: `bytes` > 0 of the source's were accepted by the target already, and taken
 * from the source since.
 */
void lane_on_early(struct lane *lane, uint32_t bytes);

/* Whether not a byte was ever taken from the source. */
bool lane_is_untouched(const struct lane *lane);

/* The source has nothing now. */
void lane_on_read_empty(struct lane *lane);

/*
 * The source ended its stream; after lane_on_read_failed() that means the failure is all that
 * is left.
 */
void lane_on_read_end(struct lane *lane);

/*
 * The source's socket failed with `error` (an errno, > 0): its end will be passed on as a reset.
 * What it received before may still be read, until lane_on_read_end().
 */
void lane_on_read_failed(struct lane *lane, int error);

/* The target accepted `bytes` > 0 of those held. Fewer than held: it is full. */
void lane_on_flushed(struct lane *lane, uint32_t bytes);

/* `bytes` > 0 went from source to target without being held; `drained` as for lane_on_filled(). */
void lane_on_copied(struct lane *lane, uint32_t bytes, bool drained);

/* The target takes nothing now. */
void lane_on_write_full(struct lane *lane);

/* The target failed with `error` (> 0): what is held is lost, and the lane is over. */
void lane_on_write_failed(struct lane *lane, int error);

/* The end was passed on. */
void lane_on_shut(struct lane *lane);
