/*
 * Backends by name: each name is looked up again (lookup.h) when its answer is no longer good, for as long
 * as the process runs. The control thread runs it; workers know nothing of it.
 *
 *	PENDING   nothing is known yet
 *	RESOLVED  the addresses are those of the last answer, which is good for its TTL
 *	FAILING   the last question had no answer with an address: the addresses of the last good
 *		  one are kept, and it is asked again after 1, 2, 4 ... 60 s
 *
 * With two families, the addresses of the first are used 50 ms after they have come; those of the second when
 * they come. Where there are several servers, one that answers SERVFAIL, NOTIMP or REFUSED is passed over
 * for the next; when none is left the error is "no server has an answer".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr_set.h"
#include "control/lookup.h"

#define RESOLVER_NAMES_MOST 1024

/* Questions under way at a time; other names wait for their turn. */
#define RESOLVER_ASKED_MOST 64

struct resolver_options {
	struct lookup_options lookup;
	/* An answer is good for its TTL, but not less than this ... */
	uint64_t min_ttl_ms; /* at least 1 */
	/* ... nor more than this, which the time between two tries that fail does not exceed either. */
	uint64_t max_ttl_ms;
	uint64_t retry_ms; /* after the first failure, doubled by each more; 0: a second */
	bool want_v6;	   /* AAAA records too */
};

enum resolver_state { RESOLVER_PENDING, RESOLVER_RESOLVED, RESOLVER_FAILING };

/* What is known of a name. Its pointers are good until the next call of resolver_run(). */
struct resolver_answer {
	enum resolver_state state;
	const char *error;		  /* why it fails, a static string; NULL: it does not */
	const struct addr_set *addresses; /* their port is 0; empty: there never was one */
	uint64_t wait_ms; /* from the answer, or the failure, to the next question */
};

/*
 * Called from resolver_run() when a name's addresses or its state have
 * changed, and not otherwise. It may call resolver_get() alone of what is here.
 */
typedef void resolver_on_change(void *context, const struct resolver_answer *answer);

struct resolver;

/* Makes the lookups too: lookups_create() says what is read, and which errors there are. */
int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    struct fault *fault);

/* Whatever is under way is dropped; nobody is called. */
void resolver_destroy(struct resolver *resolver);

/*
 * Adds a name, which is copied; it is asked for by the next resolver_run(). `on_change` may be NULL.
 * Returns the name's number (0, 1, ...), or -EINVAL (no name of dns_why_not_name()), -ENOSPC
 * (RESOLVER_NAMES_MOST) or -ENOMEM.
 */
int resolver_add(struct resolver *resolver, const char *name, resolver_on_change *on_change,
		 void *context);

/* What is known of a name, by the number that resolver_add() gave. */
void resolver_get(const struct resolver *resolver, unsigned number, struct resolver_answer *answer);

/* Adds the descriptors to wait for, and when resolver_run() is due without an event. */
void resolver_prepare_poll(struct resolver *resolver, struct poll_set *set);

/* Takes the answers that poll(2) has found, and asks what is due; without waiting. */
void resolver_run(struct resolver *resolver, const struct poll_set *set);
