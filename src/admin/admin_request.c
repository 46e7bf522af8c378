/* SPDX-License-Identifier: MIT */
#include "admin/admin_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/check.h"
#include "base/units.h"

#define NETWORK_BITS 64 /* of an IPv6 address: the rest names the host */

static const char *const words[ADMIN_VERB_COUNT] = {
	[ADMIN_WHO] = "who",
	[ADMIN_BAN] = "ban",
	[ADMIN_UNBAN] = "unban",
	[ADMIN_BANS] = "bans",
};

enum admin_verb admin_verb_find(const char *word)
{
	unsigned verb = 0;

	while (verb < ADMIN_VERB_COUNT && strcmp(words[verb], word))
		verb++;
	return (enum admin_verb)verb;
}

/* Whether the text is [v6]:port, [v6] or v4:port. A bare IPv6 address has at least two colons. */
static bool is_endpoint(const char *text)
{
	const char *colon = strchr(text, ':');

	return *text == '[' || (colon && !strchr(colon + 1, ':'));
}

/* [v6] without a port. */
static bool is_bracketed(const char *text)
{
	return *text == '[' && text[strlen(text) - 1] == ']';
}

/* fe80::53%3 */
static bool has_link(const char *text)
{
	return strchr(text, ':') && strchr(text, '%');
}

/* Reads an address with a port, or one without a port but in brackets or with a link. */
static const char *parse_endpoint(const char *text, bool has_port, struct admin_who *who)
{
	bool is_bare = *text != '[';
	char with_port[ADDR_TEXT_BYTES];
	struct addr endpoint;
	const char *problem;

	snprintf(with_port, sizeof(with_port), "%s%s%s:1", is_bare ? "[" : "", text,
		 is_bare ? "]" : "");
	problem = addr_parse(has_port ? text : with_port, &endpoint);
	if (problem)
		return problem;
	if (has_link(text) && !IN6_IS_ADDR_LINKLOCAL(&endpoint.v6.sin6_addr))
		return "has a '%' and an interface, which only link-local addresses have; leave "
		       "these out";
	who->port = has_port ? addr_port(&endpoint) : 0;
	who->is_block = false;
	who->block = (struct cidr){.network = cidr_address_on_link(&endpoint), .bits = 128};
	return who->port || !has_port ? NULL : "has port 0; give another, or the address alone";
}

const char *admin_who_parse(const char *text, struct admin_who *who)
{
	const char *problem;

	if (is_endpoint(text))
		return parse_endpoint(text, !is_bracketed(text), who);
	who->port = 0;
	who->is_block = strchr(text, '/');
	if (has_link(text))
		return who->is_block ? "has an interface, and a block is of all links; leave the "
				       "'%' and what follows it out, or the '/'"
				     : parse_endpoint(text, false, who);
	problem = cidr_parse(text, &who->block);
	if (problem && !who->is_block)
		return "is not an address; write it as in 2001:db8::5, fe80::5%3, 240.1.2.3, "
		       "2001:db8::/64 or 240.1.2.3:41234";
	return problem;
}

struct cidr admin_client_of(const struct in6_addr *address)
{
	/* an address that holds its link is outside of fe80::/64 */
	return cidr_client_of(address, IN6_IS_ADDR_LINKLOCAL(address) ? 128 : NETWORK_BITS);
}

static const char *parse_who(const char *word, struct admin_request *request)
{
	if (!word || !*word)
		return "lacks WHO: an address, a block of addresses, or an address and port";
	if (strlen(word) >= sizeof(request->given))
		return "has a WHO that is too long";
	strcpy(request->given, word);
	return admin_who_parse(word, &request->who);
}

static const char *parse_option(const char *word, struct admin_request *request)
{
	if (!*word)
		return "has a blank too many";
	if (!strcmp(word, "json") && !request->json) {
		request->json = true;
		return NULL;
	}
	if (request->verb == ADMIN_BAN && !request->for_ms && !strncmp(word, "for=", 4) &&
	    !units_parse_count(word + 4, &request->for_ms) && request->for_ms)
		return NULL;
	return "has a word that is not known, or not there; is the command of another version?";
}

const char *admin_request_parse(const char *line, struct admin_request *request)
{
	char copy[ADMIN_REQUEST_BYTES];
	char *rest = copy;
	const char *problem = NULL;

	*request = (struct admin_request){0};
	if (strlen(line) >= sizeof(copy))
		return "is too long";
	strcpy(copy, line);
	request->verb = admin_verb_find(strsep(&rest, " "));
	if (request->verb == ADMIN_VERB_COUNT)
		return "is not known; there are who, ban, unban and bans";
	if (request->verb != ADMIN_BANS)
		problem = parse_who(strsep(&rest, " "), request);
	while (!problem && rest && *rest)
		problem = parse_option(strsep(&rest, " "), request);
	return problem;
}

const char *admin_request_print(const struct admin_request *request, char line[ADMIN_REQUEST_BYTES])
{
	char for_ms[32] = "";
	int length;

	if (request->for_ms)
		snprintf(for_ms, sizeof(for_ms), " for=%" PRIu64, request->for_ms);
	length = snprintf(line, ADMIN_REQUEST_BYTES, "%s%s%s%s%s\n", words[request->verb],
			  *request->given ? " " : "", request->given, for_ms,
			  request->json ? " json" : "");
	CHECK(length > 0 && length < ADMIN_REQUEST_BYTES);
	return line;
}
