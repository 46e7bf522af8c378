/* SPDX-License-Identifier: MIT */
/*
 * Looks a name up: the addresses that it has of one family. c-ares(3) runs in the control thread,
 * and may allocate there.
 *
 * A lookup reads /etc/hosts, and then asks DNS servers for one full name after another until one
 * has an address. The full names come from the search list and ndots of resolv.conf(5), as in
 * glibc's res_nsearch(3):
 *
 *	- the name with each domain of the list, and the name as it is: first if it has ndots dots,
 *	  otherwise last. A name with a dot at its end is asked for only as it is.
 *	- after an answer without an address, SERVFAIL or REFUSED, the next full name is asked for.
 *	- without an answer in time, the other domains are left out, but not the name as it is.
 *
 * A truncated answer is asked for again by TCP (RFC 7766). Of a chain of CNAMEs the least TTL
 * counts. Messages that answer no open question are ignored.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr_set.h"
#include "config/config.h"
#include "config/dns.h"
#include "os/poll_set.h"

/* A UDP and a TCP socket per server. /etc/hosts is open for a moment besides. */
#define LOOKUP_POLL_FDS (2 * DNS_SERVERS_MOST)

struct lookups;

struct lookup;

/* The answer is in `lookup`, which may be begun again. lookup_begin() may call this itself. */
typedef void lookup_on_answer(struct lookup *lookup);

/* The caller's memory; it must stay until the answer, or the end of the lookups. */
struct lookup {
	/* set by the caller */
	struct lookups *lookups;
	const char *name; /* one of dns_why_not_name() */
	int family;	  /* AF_INET or AF_INET6 */
	lookup_on_answer *on_answer;
	void *context;
	/* the answer */
	struct addr_set found; /* without ports */
	bool is_known;	       /* a server has said that these are all addresses */
	const char *error;     /* why none was found: a static string */
	uint64_t ttl_ms;       /* of the addresses */
	/* lookup.c's */
	int status;	/* ARES_*: of the whole search, if no name has an address */
	unsigned step;	/* of the search */
	bool is_first;	/* nothing has been answered yet */
	bool is_silent; /* no answer came in time: the domains that are left are not asked for */
};

struct lookup_options {
	/*
	 * For dns_parse_servers(); without a search list. NULL: servers, search list and options
	 * of resolv.conf(5), read at the creation.
	 */
	const char *servers;
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
	uint64_t timeout_ms;	 /* of the first try per server, doubled by each further try */
	unsigned tries;		 /* per server */
};

/*
 * Opens no socket yet. Uses the first DNS_SERVERS_MOST servers of resolv.conf(5), and logs those
 * that cannot be used (event=nameserver_ignored). Returns 0, or -errno (-EINVAL: the servers) with
 * `fault`: value, reason and remedy.
 */
int lookups_create(struct lookups **lookups, const struct lookup_options *options,
		   struct fault *fault);

/* Drops the open questions, and calls no on_answer. */
void lookups_destroy(struct lookups *lookups);

void lookup_begin(struct lookup *lookup);

/* Adds the descriptors to wait for, and when lookups_run() is due without an event. */
void lookups_prepare_poll(struct lookups *lookups, struct poll_set *set);

/* Takes the answers that have come. Does not wait. */
void lookups_run(struct lookups *lookups, const struct poll_set *set);
