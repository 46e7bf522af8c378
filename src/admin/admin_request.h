/* SPDX-License-Identifier: MIT */
/*
 * The request of an administrator: one line from the command (`sixpipe who`, ban, unban, bans) to
 * the admin socket. Both the command and the server use this file.
 *
 *	VERB [WHO] [for=MILLISECONDS] [json]
 *
 * WHO is an IPv6 or IPv4 address, a block of them (2001:db8::/64), or an address with a port
 * ([2001:db8::5]:51234, 240.1.2.3:41234). An IPv6 address without a port may be in brackets too. A
 * link-local address may name its link by number or name (fe80::5%3, [fe80::5%eth0]:51234); without
 * a link it means all links.
 */
#pragma once

#include <stdbool.h>

#include "base/cidr.h"
#include "limits/bans.h"

/* The longest line, with its newline. */
#define ADMIN_REQUEST_BYTES 256

enum admin_verb {
	ADMIN_WHO,   /* tell the sessions of this client or source address */
	ADMIN_BAN,   /* refuse a client from now on, and end its sessions */
	ADMIN_UNBAN, /* remove a ban */
	ADMIN_BANS,  /* list the bans */
	ADMIN_VERB_COUNT
};

struct admin_who {
	struct cidr block;
	bool is_block; /* a prefix length was given */
	unsigned port; /* 0: none was given */
};

struct admin_request {
	enum admin_verb verb;
	struct admin_who who;	      /* not set for ADMIN_BANS */
	char given[BANS_GIVEN_BYTES]; /* `who` as the administrator wrote it */
	uint64_t for_ms;	      /* how long a ban is to last; 0: for ever */
	bool json;
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

/* Reads a line without its newline. Returns as admin_who_parse(). */
const char *admin_request_parse(const char *line, struct admin_request *request);

/* Prints a request as the line that admin_request_parse() reads, with a newline; returns `line`. */
const char *admin_request_print(const struct admin_request *request,
				char line[ADMIN_REQUEST_BYTES]);
