/* SPDX-License-Identifier: MIT */
/*
 * The request of an administrator: one line from a command (`sixpipe who`, for example) to the admin
 * socket. Both the command and the server use this file.
 *
 *	VERB [WORD ...] [OPTION=VALUE ...] [json]
 *
 * The words and options are those of the command line (commands.def); for=MILLISECONDS. The words
 * that can follow a verb are read by a function for each, in admin_request.c.
 *
 * WHO is an IPv6 or IPv4 address, a block of them (2001:db8::/64), or an address with a port
 * ([2001:db8::5]:51234, 240.1.2.3:41234). An IPv6 address without a port may be in brackets too. A
 * link-local address may name its link by number or name (fe80::5%3, [fe80::5%eth0]:51234); without
 * a link it means all links.
 */
#pragma once

#include <stdbool.h>

#include "base/cidr.h"
#include "base/log.h"
#include "config/config.h"
#include "limits/bans.h"
#include "relay/query.h"

/* The longest line, with its newline. */
#define ADMIN_REQUEST_BYTES 1024

/* The longest name of a backend, and of a backend with its parameters. */
#define ADMIN_GIVEN_BYTES   384
#define ADMIN_BACKEND_BYTES 768

/* How many sessions `sessions` tells of: without --limit, and at most. */
#define ADMIN_LIST_DEFAULT 20
#define ADMIN_LIST_MOST	   QUERY_RECORD_LIMIT

/* Keep the order of the table in admin_request.c. */
enum admin_verb {
	ADMIN_WHO,	 /* tell the sessions of this client or source address */
	ADMIN_BAN,	 /* refuse a client from now on, and end its sessions */
	ADMIN_UNBAN,	 /* remove a ban */
	ADMIN_BANS,	 /* list the bans */
	ADMIN_STATS,	 /* tell the state, the totals, the forwards */
	ADMIN_SESSIONS,	 /* list open sessions */
	ADMIN_BACKENDS,	 /* list the backends */
	ADMIN_BACKEND,	 /* change, add or remove a backend */
	ADMIN_KILL,	 /* end sessions */
	ADMIN_DRAIN,	 /* drain the process, or a forward */
	ADMIN_LOG_LEVEL, /* tell or change the level of the log */
	ADMIN_RELOAD,	 /* let a new process take over: the same program */
	ADMIN_UPGRADE,	 /* ... the program that is on disk now */
	ADMIN_VERB_COUNT
};

/* What ADMIN_BACKEND does. */
enum admin_action {
	ADMIN_BACKEND_NONE,
	ADMIN_BACKEND_UP,
	ADMIN_BACKEND_DOWN,
	ADMIN_BACKEND_DRAIN,
	ADMIN_BACKEND_WEIGHT,
	ADMIN_BACKEND_MAXCONN,
	ADMIN_BACKEND_ADD,
	ADMIN_BACKEND_REMOVE,
};

struct admin_who {
	struct cidr block;
	bool is_block; /* a prefix length was given */
	unsigned port; /* 0: none was given */
};

struct admin_request {
	enum admin_verb verb;
	bool json;
	unsigned word_count;		/* words read so far, without verb and options */
	char line[ADMIN_REQUEST_BYTES]; /* all words and options so far, without `json` */

	struct admin_who who; /* of who, ban, unban, kill and sessions */
	bool has_who;
	/* `who`, or a backend's name, or a session's id, as the administrator wrote it */
	char given[ADMIN_GIVEN_BYTES];
	uint64_t for_ms;		     /* how long a ban is to last; 0: for ever */
	char forward[CONFIG_NAME_LIMIT + 1]; /* "": none was given */
	enum admin_action action;
	uint64_t value;			   /* of weight or maxconn */
	char backend[ADMIN_BACKEND_BYTES]; /* to add, with its parameters; or to remove, or meant */
	bool has_id;			   /* WHO of kill is the id of a session: boot_id, id */
	uint64_t boot_id, id;
	enum query_order order;
	uint64_t limit; /* 0: none was given */
	bool has_level;
	enum log_level level;
};

/* The verb called `word`; ADMIN_VERB_COUNT where there is none. */
enum admin_verb admin_verb_find(const char *word);

/*
 * Reads WHO from the whole of `text`. Returns NULL on success; otherwise the reason and the remedy
 * in words, a static string. `who` is unspecified then.
 */
const char *admin_who_parse(const char *text, struct admin_who *who);

/*
 * The block that a ban of `address` covers: its /64, which one household or host mostly has. Where
 * many hosts share the /64 (cidr_client_of()): the address alone, with its link if it names one
 * (cidr_address_on_link()).
 */
struct cidr admin_client_of(const struct in6_addr *address);

/*
 * Read a request word by word: the verb, then each word or OPTION=VALUE, then the end. Each returns
 * NULL, or the reason and the remedy in words, a static string.
 */
const char *admin_request_begin(struct admin_request *request, const char *verb);
const char *admin_request_take(struct admin_request *request, const char *word);
const char *admin_request_end(const struct admin_request *request);

/* Whether the verb has the option, by its name without dashes: `for` of ban. */
bool admin_request_has_option(enum admin_verb verb, const char *name);

/* Reads a line without its newline. Returns as admin_who_parse(). */
const char *admin_request_parse(const char *line, struct admin_request *request);

/* Prints a request as the line that admin_request_parse() reads, with a newline; returns `line`. */
const char *admin_request_print(const struct admin_request *request,
				char line[ADMIN_REQUEST_BYTES]);
