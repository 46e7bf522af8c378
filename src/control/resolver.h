/*
 * Backends by name: each name is asked for again when its answer is no longer good, for as long as
 * the process runs. Made of c-ares(3), which is run by the control thread and has no thread of its
 * own; workers know nothing of it. It allocates, which the control thread may.
 *
 * A name is looked for in /etc/hosts, then asked of the DNS servers: A records, and AAAA records
 * where wanted. A truncated answer is asked for again by TCP (RFC 7766), and of a chain of CNAMEs
 * the least TTL counts. What comes unasked, or with another id or question, is passed over.
 *
 *	PENDING   nothing is known yet
 *	RESOLVED  the addresses are those of the last answer, which is good for its TTL
 *	FAILING   the last question had no answer with an address: the addresses of the last good
 *		  one are kept, and it is asked again after 1, 2, 4 ... 60 s
 *
 * Where there are several servers, one that answers SERVFAIL, NOTIMP or REFUSED is passed over for
 * the next; when none is left the error is "no server has an answer".
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr_set.h"
#include "config/config.h"
#include "config/dns.h"

#define RESOLVER_NAMES_MOST 1024

/* A UDP and a TCP socket per server; it opens no more, but /etc/hosts for a moment. */
#define RESOLVER_POLL_FDS (2 * DNS_SERVERS_MOST)

/* Questions under way at a time; other names wait for their turn. */
#define RESOLVER_ASKED_MOST 64

struct resolver_options {
	/*
	 * As dns_parse_servers() takes them; names are asked for as they are then. NULL: the
	 * servers, the search list and the options of resolv.conf(5), read at the creation.
	 */
	const char *servers;
	/* An answer is good for its TTL, but not less than this ... */
	uint64_t min_ttl_ms; /* at least 1 */
	/* ... nor more than this, which the time between two tries that fail does not exceed either. */
	uint64_t max_ttl_ms;
	uint64_t retry_ms;   /* after the first failure, doubled by each more; 0: a second */
	uint64_t timeout_ms; /* of the first try per server, doubled by each more; 0: 5 s */
	unsigned tries;	     /* per server; 0: 4 */
	bool want_v6;	     /* AAAA records too */
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

/*
 * Reads resolv.conf(5) where no servers are given; of those in there the first
 * DNS_SERVERS_MOST are used. Opens no socket yet. Returns 0 and the resolver, or -errno
 * (-EINVAL: the servers) with `error` naming the value, the reason and the remedy.
 */
int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    char error[CONFIG_ERROR_BYTES]);

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

/*
 * Sets what poll(2) must wait for before the next resolver_run(), and returns the milliseconds
 * after which that is due without an event too, -1 for never.
 */
int resolver_prepare_poll(struct resolver *resolver, struct pollfd fds[RESOLVER_POLL_FDS]);

/* Takes the answers that poll(2) has found, and asks what is due; without waiting. */
void resolver_run(struct resolver *resolver, const struct pollfd fds[RESOLVER_POLL_FDS]);
