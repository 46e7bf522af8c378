/*
 * Keeps names resolved: each name is looked up (lookup.h) again when the TTL of its answer is over.
 * Control thread.
 *
 *	PENDING   no answer has come yet
 *	RESOLVED  the last answer had addresses; it is good for its TTL
 *	FAILING   the last answer had no address, or none came. The addresses of the last good
 *		  answer are kept, and the name is asked for again after 1, 2, 4 ... 60 s
 *
 * With two families, the addresses of the first one are used 50 ms after they have come. A server
 * that answers SERVFAIL, NOTIMP or REFUSED is passed over for the next server; after the last
 * server the error is "no server has an answer".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr_set.h"
#include "control/lookup.h"

#define RESOLVER_NAMES_MOST 1024

/* Names that are asked for at a time; other names wait. */
#define RESOLVER_ASKED_MOST 64

struct resolver_options {
	struct lookup_options lookup;
	/* limits of a TTL; the pause between two failing tries does not exceed the second either */
	uint64_t min_ttl_ms; /* at least 1 */
	uint64_t max_ttl_ms;
	uint64_t retry_ms; /* after the first failure, doubled by each more; 0: a second */
	bool want_v6;	   /* AAAA records too */
};

enum resolver_state { RESOLVER_PENDING, RESOLVER_RESOLVED, RESOLVER_FAILING };

/* The state of a name. The pointers are valid until the next resolver_run(). */
struct resolver_answer {
	enum resolver_state state;
	const char *error;		  /* why it fails, a static string; NULL: it does not */
	const struct addr_set *addresses; /* with port 0; empty: there never was an address */
	uint64_t wait_ms; /* from the answer, or the failure, to the next question */
};

/* resolver_run() calls it when a name's addresses or state change. It may call resolver_get(). */
typedef void resolver_on_change(void *context, const struct resolver_answer *answer);

struct resolver;

/* Makes the lookups too; files and errors as lookups_create(). */
int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    struct fault *fault);

/* Drops the open questions, and calls no on_change. */
void resolver_destroy(struct resolver *resolver);

/*
 * Adds a copy of the name. The next resolver_run() asks for it. `on_change` may be NULL. Returns
 * the name's number (0, 1, ...), or -EINVAL (no name of dns_why_not_name()), -ENOSPC
 * (RESOLVER_NAMES_MOST) or -ENOMEM.
 */
int resolver_add(struct resolver *resolver, const char *name, resolver_on_change *on_change,
		 void *context);

/* The state of a name, by the number of resolver_add(). */
void resolver_get(const struct resolver *resolver, unsigned number, struct resolver_answer *answer);

/* Adds the descriptors to wait for, and when resolver_run() is due without an event. */
void resolver_prepare_poll(struct resolver *resolver, struct poll_set *set);

/* Takes the answers that have come, and asks for the names that are due. Does not wait. */
void resolver_run(struct resolver *resolver, const struct poll_set *set);
