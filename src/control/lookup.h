/*
 * Lookups of names: the addresses that one name has of one family. Made of c-ares(3), which has no thread
 * of its own here: the control thread runs it. It allocates, which that thread may.
 *
 * A lookup looks into /etc/hosts, and then asks DNS servers for one full name after another, until one
 * has an address. Which names, resolv.conf(5) says by its search list and ndots, as for glibc's
 * res_nsearch(3):
 *
 *	- the name with each domain of the list behind it, and the name itself: the name itself first if it
 *	  has ndots dots, otherwise last. Of a name with a dot at its end only the name itself is asked for.
 *	- an answer without an address goes on to the next name, SERVFAIL and REFUSED too.
 *	- no answer in time: the remaining domains are left out; the name itself is asked for, if it was not yet.
 *
 * A truncated answer is asked for again by TCP (RFC 7766), and of a chain of CNAMEs the least TTL
 * counts. What comes unasked, or with another id or question, is passed over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr_set.h"
#include "config/config.h"
#include "config/dns.h"
#include "os/poll_set.h"

/* A UDP and a TCP socket per server; it opens no more, but /etc/hosts for a moment. */
#define LOOKUP_POLL_FDS (2 * DNS_SERVERS_MOST)

struct lookups;

struct lookup;

/* The answer is in `lookup`, which may be begun again. It may come from within lookup_begin(). */
typedef void lookup_on_answer(struct lookup *lookup);

/* The caller's memory, until it is answered or the lookups are destroyed. */
struct lookup {
	/* set by the caller, and kept until then */
	struct lookups *lookups;
	const char *name; /* one of dns_why_not_name() */
	int family;	  /* AF_INET or AF_INET6 */
	lookup_on_answer *on_answer;
	void *context;
	/* the answer */
	struct addr_set found; /* without ports */
	bool is_known; /* there are these addresses and no others; false: no server has said so */
	const char *error; /* where none was found: a static string */
	uint64_t ttl_ms;   /* of what was found */
	/* lookup.c's */
	int status;	/* ARES_*: what the answer is, if no name has an address */
	unsigned step;	/* of the search */
	bool is_first;	/* nothing has been answered yet */
	bool is_silent; /* a server was, so that the domains that are left are passed over */
};

struct lookup_options {
	/*
	 * As dns_parse_servers() takes them; names are asked for as they are then. NULL: the servers, the
	 * search list and the options of resolv.conf(5), read at the creation.
	 */
	const char *servers;
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
	uint64_t timeout_ms;	 /* of the first try per server, doubled by each more; 0: 5 s */
	unsigned tries;		 /* per server; 0: 4 */
};

/*
 * Opens no socket yet. Of the servers of resolv.conf(5) the first DNS_SERVERS_MOST are used; one that cannot
 * be used is logged (event=nameserver_ignored). Returns 0, or -errno (-EINVAL: the servers) with `fault`
 * naming the value, the reason and the remedy.
 */
int lookups_create(struct lookups **lookups, const struct lookup_options *options,
		   struct fault *fault);

/* Whatever is under way is dropped; nobody is called. */
void lookups_destroy(struct lookups *lookups);

void lookup_begin(struct lookup *lookup);

/* Adds the descriptors to wait for, and when lookups_run() is due without an event. */
void lookups_prepare_poll(struct lookups *lookups, struct poll_set *set);

/* Takes the answers that poll(2) has found, without waiting. */
void lookups_run(struct lookups *lookups, const struct poll_set *set);
