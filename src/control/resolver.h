/* SPDX-License-Identifier: MIT */
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
	uint64_t retry_ms; /* after the first failure, doubled by each more; at least 1 */
	bool want_v6;	   /* AAAA records too */
};

enum resolver_state { RESOLVER_PENDING, RESOLVER_RESOLVED, RESOLVER_FAILING };

struct resolver;
struct resolver_name;

/* resolver_run() calls it when a name's addresses or state change. */
typedef void resolver_on_change(struct resolver_name *name);

/* The caller's memory; it must stay as long as the resolver. */
struct resolver_name {
	/* set by the caller */
	const char *text; /* one of dns_why_not_name() */
	resolver_on_change *on_change;
	/* for the caller to read */
	enum resolver_state state;
	const char *error;	   /* why it fails, a static string; NULL: it does not */
	struct addr_set addresses; /* with port 0; empty: there never was an address */
	uint64_t wait_ms;	   /* from the answer, or the failure, to the next question */
	/* resolver.c's */
	struct resolver *resolver;
	unsigned failures;    /* in a row */
	unsigned asked_count; /* families; 0: idle */
	uint64_t early_ms;    /* when the first family's addresses are used; 0: none wait */
	uint64_t due_ms;
	struct lookup lookups[2]; /* of each family */
};

/* Makes the lookups too; files and errors as lookups_create(). */
int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    struct fault *fault);

/* Drops the open questions, and calls no on_change. */
void resolver_destroy(struct resolver *resolver);

/* Adds a name, at most RESOLVER_NAMES_MOST in all. The next resolver_run() asks for it. */
void resolver_add(struct resolver *resolver, struct resolver_name *name);

/* Adds the descriptors to wait for, and when resolver_run() is due without an event. */
void resolver_prepare_poll(struct resolver *resolver, struct poll_set *set);

/* Takes the answers that have come, and asks for the names that are due. Does not wait. */
void resolver_run(struct resolver *resolver, const struct poll_set *set);
