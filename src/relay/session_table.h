/*
 * The fixed table of one worker's sessions. A slot has a generation, which changes when the slot is
 * freed, so that an event for the former session is told from one for the present. The table's
 * memory is reserved at the start and becomes resident as slots are first used, the lowest numbers
 * first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "forward/tenancy.h"
#include "os/pipe_pool.h"
#include "os/timer.h"
#include "relay/lane.h"

enum session_state {
	SESSION_FREE,	 /* the slot is nobody's; nothing is in flight */
	SESSION_OPENING, /* fd[0] is the client; its PROXY protocol header may have yet to come */
	SESSION_CONNECTING, /* fd[0] is the client; fd[1] is being connected to one backend after
			       another */
	SESSION_RELAYING,   /* both sockets are up; each lane runs or waits for one thing */
	SESSION_CLOSING, /* the reason is set; waits for requests in flight, or for bytes to arrive */
};

/* What went with a SYN (--fastopen-backends): all of our header, and the client's first bytes. */
struct session_early {
	uint16_t header_bytes; /* 0 where nothing went, or no header is sent */
	uint16_t client_bytes; /* in the client's socket until the connect has succeeded */
};

/* What a lane waits for. */
enum session_wait {
	SESSION_WAIT_NONE,
	SESSION_WAIT_READABLE,	/* its source, once */
	SESSION_WAIT_ARRIVAL,	/* for its source's watch to tell of something */
	SESSION_WAIT_WRITABLE,	/* its target, once */
	SESSION_WAIT_ALLOWANCE, /* the timer of its pacing: nothing is in flight */
};

/*
 * Index 0 is the client, 1 the backend; lane i moves fd[i] to fd[!i]. session.c is the only owner
 * of what is in here.
 */
struct session {
	int fd[2]; /* -1: not open */
	union {
		struct {			    /* before SESSION_RELAYING */
			struct pool_tried tried;    /* backends that failed */
			struct session_early early; /* of the connect in flight */
			int32_t answer; /* of the header's wait or the connect, until it runs */
			uint16_t wanted_bytes; /* the client's SO_RCVLOWAT; 0: it was not set */
			bool connect_expired;  /* --timeout-connect has passed */
		};
		struct lane lane[2]; /* from then on; as zeroed in one that closes before */
	};
	struct pipe *pipe[2]; /* borrowed by the lane, NULL when it holds nothing */
	struct timer timer;
	struct session *next; /* in the free list or a queue of ready sessions */
	struct session *chatty_next;
	struct session **chatty_link; /* what points to it in the chatty list; NULL: not in there */
	uint64_t id;		      /* of this worker's, counted up */
	uint64_t opened_ms;
	uint64_t active_ms; /* when a byte last moved, or the connect began */
	uint32_t slot;
	uint32_t generation;
	uint8_t state;		/* enum session_state */
	uint8_t reason;		/* enum close_reason, once closing */
	uint8_t in_flight;	/* requests that the engine has not answered for the last time */
	uint8_t waits[2];	/* enum session_wait, by lane */
	bool watched[2];	/* a watch on fd[i] is one of them */
	bool connecting : 1;	/* the connect is one of them */
	bool guarding : 1;	/* the wait for a failure of `guarded_side` is one of them */
	bool kept_alive : 1;	/* keepalive is on towards the backend */
	bool sends_at_once : 1; /* ... and so is TCP_NODELAY */
	bool guarded_side : 1;
	bool named : 1;	   /* the backend was told our id of the session */
	bool queued : 1;   /* in a queue of ready sessions */
	bool moved_on : 1; /* from a backend that had answered: once is enough */
	struct tenancy
		tenancy; /* of its forward, and where the connection to the backend comes from */
	union {
		struct { /* while relaying, for --timeout-write; modulo 2^32, by side */
			uint32_t delivered[2];	  /* bytes its peer had taken: session_time.c */
			uint32_t delivered_ms[2]; /* ... and when that was first so */
		};
		struct {			    /* while closing */
			uint32_t delivery_wait_ms;  /* the pause before the next count of */
			uint64_t undelivered_bytes; /* ... bytes on their way, as counted last */
		};
	};
	/* who the client is, as the header says where one was sent; filled in if forward.wants_client */
	struct addr client;
};

enum {
	SESSION_CLIENT,
	SESSION_BACKEND
}; /* the index of each side, and of the lane that comes from it */

/* What an ENGINE_OP_READY token's lane number is about; the lane or side is added to it. */
enum session_request {
	SESSION_REQUEST_WAIT = 0,  /* a lane's wait */
	SESSION_REQUEST_WATCH = 2, /* the watch on a lane's source */
	SESSION_REQUEST_GUARD = 4, /* the wait for a side's failure */
	SESSION_REQUEST_END = 6,
};

/* The engine tokens of a session's requests. */
uint64_t session_token(const struct session *session, enum session_request request, unsigned index);
uint64_t session_connect_token(const struct session *session);

struct session_table;

/* Creates a table of `slot_count` slots, at most ENGINE_SLOT_LIMIT. Returns 0 or -ENOMEM. */
int session_table_create(struct session_table **table, uint32_t slot_count);
void session_table_destroy(struct session_table *table);

/*
 * Gives a zeroed session with slot, generation and closed descriptors set; NULL when all are in
 * use.
 */
struct session *session_table_take(struct session_table *table);

/* Frees the slot: nothing may be in flight for it. */
void session_table_give(struct session_table *table, struct session *session);

/* The session that a token speaks of, or NULL when that session is over. */
struct session *session_table_find(struct session_table *table, uint32_t slot, uint32_t generation);

/* For walks: the session in use in `slot`, or NULL. No slot from the end on has ever been used. */
struct session *session_table_at(struct session_table *table, uint32_t slot);
uint32_t session_table_end(const struct session_table *table);

uint32_t session_table_used_count(const struct session_table *table);
