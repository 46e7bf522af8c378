/* SPDX-License-Identifier: MIT */
#include "admin/admin_request.h"

#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/check.h"
#include "base/units.h"
#include "base/util.h"

#define NETWORK_BITS 64 /* of an IPv6 address: the rest names the host */

static const char unknown[] =
	"is not known there, or is there twice; 'sixpipe --help commands' tells what is";
static const char too_long[] = "is too long";

/* WHO ------------------------------------------------------------------------------------------ */

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

/* Words ---------------------------------------------------------------------------------------- */

static const char *copy(char *to, size_t bytes, const char *word)
{
	if (strlen(word) >= bytes)
		return too_long;
	strcpy(to, word);
	return NULL;
}

static const char *read_who(struct admin_request *request, const char *word)
{
	if (strlen(word) >= BANS_GIVEN_BYTES)
		return "has a WHO that is too long";
	request->has_who = true;
	return admin_who_parse(word, &request->who);
}

static const char *take_who(struct admin_request *request, const char *word)
{
	if (request->word_count)
		return unknown;
	return strlen(word) < BANS_GIVEN_BYTES && !copy(request->given, BANS_GIVEN_BYTES, word)
		       ? read_who(request, word)
		       : "has a WHO that is too long";
}

static const char *read_forward(struct admin_request *request, const char *word)
{
	if (!config_is_name(word))
		return CONFIG_NO_NAME;
	return copy(request->forward, sizeof(request->forward), word);
}

static const char *take_forward(struct admin_request *request, const char *word)
{
	return request->word_count ? unknown : read_forward(request, word);
}

static const char *read_backend(struct admin_request *request, const char *word)
{
	return copy(request->backend, sizeof(request->backend), word);
}

/* kill: a session's id, backend=ADDRESS (an option), or a client. */
static const char *take_target(struct admin_request *request, const char *word)
{
	if (request->word_count || *request->backend)
		return unknown;
	request->has_id = session_id_parse(word, &request->boot_id, &request->id);
	if (request->has_id)
		return copy(request->given, sizeof(request->given), word);
	return take_who(request, word) ? "is no session's id, no backend=ADDRESS and no client; "
					 "write a client as in 2001:db8::5, 240.1.2.3, "
					 "2001:db8::/64 or 240.1.2.3:41234"
				       : NULL;
}

static const char *read_number(struct admin_request *request, const char *text, uint64_t most)
{
	if (units_parse_count(text, &request->value) || request->value > most)
		return "is no number, or too large; weight is 0 to 256, maxconn 0 (no limit) to "
		       "16777215";
	return NULL;
}
_Static_assert(POOL_WEIGHT_LIMIT == 256 && POOL_LIVE_LIMIT == 16777215, "as the words say");

/* up, down, drain, weight=N or maxconn=N */
static const char *read_action(struct admin_request *request, const char *word)
{
	static const struct {
		const char *word;
		enum admin_action action;
		uint64_t most; /* of the number that follows; 0: none does */
	} actions[] = {
		{"up", ADMIN_BACKEND_UP, 0},
		{"down", ADMIN_BACKEND_DOWN, 0},
		{"drain", ADMIN_BACKEND_DRAIN, 0},
		{"weight=", ADMIN_BACKEND_WEIGHT, POOL_WEIGHT_LIMIT},
		{"maxconn=", ADMIN_BACKEND_MAXCONN, POOL_LIVE_LIMIT},
	};

	for (size_t i = 0; i < ARRAY_COUNT(actions); i++) {
		size_t length = strlen(actions[i].word);

		if (strncmp(word, actions[i].word, length) || (!actions[i].most && word[length]))
			continue;
		request->action = actions[i].action;
		return actions[i].most ? read_number(request, word + length, actions[i].most)
				       : NULL;
	}
	return "is no change of a backend; give up, down, drain, weight=N or "
	       "maxconn=N";
}

/* Appends an address or a parameter to the backend that is to be added. */
static const char *append_backend(struct admin_request *request, const char *word)
{
	size_t length = strlen(request->backend);

	if (length + 1 + strlen(word) >= sizeof(request->backend))
		return too_long;
	sprintf(request->backend + length, "%s%s", length ? " " : "", word);
	return NULL;
}

/* NAME ACTION, or add FORWARD ADDRESS [PARAMETER ...], or remove FORWARD ADDRESS */
static const char *take_change(struct admin_request *request, const char *word)
{
	switch (request->word_count) {
	case 0:
		if (!strcmp(word, "add"))
			request->action = ADMIN_BACKEND_ADD;
		else if (!strcmp(word, "remove"))
			request->action = ADMIN_BACKEND_REMOVE;
		else
			return copy(request->given, sizeof(request->given), word);
		return NULL;
	case 1:
		return *request->given ? read_action(request, word) : read_forward(request, word);
	default:
		if (request->action == ADMIN_BACKEND_ADD ||
		    (request->action == ADMIN_BACKEND_REMOVE && request->word_count == 2))
			return append_backend(request, word);
		return unknown;
	}
}

static const char *take_level(struct admin_request *request, const char *word)
{
	if (request->word_count)
		return unknown;
	for (unsigned level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		if (strcmp(word, log_level_word((enum log_level)level)) != 0)
			continue;
		request->level = (enum log_level)level;
		request->has_level = true;
		return NULL;
	}
	return "is no level of the log; give error, warn, info or debug";
}

/* Options -------------------------------------------------------------------------------------- */

static const char *read_for(struct admin_request *request, const char *value)
{
	return request->for_ms || units_parse_count(value, &request->for_ms) || !request->for_ms
		       ? unknown
		       : NULL;
}

static const char *read_order(struct admin_request *request, const char *value)
{
	request->order = strcmp(value, "age") ? QUERY_BY_BYTES : QUERY_BY_AGE;
	return strcmp(value, "age") && strcmp(value, "bytes") ? "is no order; give bytes or age"
							      : NULL;
}

static const char *read_limit(struct admin_request *request, const char *value)
{
	return units_parse_count(value, &request->limit) || !request->limit ||
			       request->limit > ADMIN_LIST_MOST
		       ? "is no number from 1 to 256; give one"
		       : NULL;
}
_Static_assert(ADMIN_LIST_MOST == 256, "as the words say");

static const struct option {
	enum admin_verb verb;
	const char *name;
	const char *(*read)(struct admin_request *request, const char *value);
} options[] = {
	{ADMIN_BAN, "for", read_for},
	{ADMIN_SESSIONS, "forward", read_forward},
	{ADMIN_SESSIONS, "backend", read_backend},
	{ADMIN_SESSIONS, "client", read_who},
	{ADMIN_SESSIONS, "sort", read_order},
	{ADMIN_SESSIONS, "limit", read_limit},
	{ADMIN_KILL, "backend", read_backend},
};

/* The option that a word NAME=VALUE sets; NULL: the word is no option of the verb. */
static const struct option *find_option(enum admin_verb verb, const char *word)
{
	size_t length = strcspn(word, "=");

	for (size_t i = 0; i < ARRAY_COUNT(options); i++)
		if (options[i].verb == verb && strlen(options[i].name) == length &&
		    !strncmp(options[i].name, word, length))
			return &options[i];
	return NULL;
}

bool admin_request_has_option(enum admin_verb verb, const char *name)
{
	return find_option(verb, name) && !strchr(name, '=');
}

/* Verbs ---------------------------------------------------------------------------------------- */

static const char no_who[] = "lacks WHO: an address, a block of addresses, or an address and port";

static const struct verb {
	const char *word;
	/* reads a word that is no option; NULL: there is none */
	const char *(*take)(struct admin_request *request, const char *word);
	unsigned least_words;
	const char *lack; /* what is said of fewer */
} verbs[ADMIN_VERB_COUNT] = {
	[ADMIN_WHO] = {"who", take_who, 1, no_who},
	[ADMIN_BAN] = {"ban", take_who, 1, no_who},
	[ADMIN_UNBAN] = {"unban", take_who, 1, no_who},
	[ADMIN_BANS] = {"bans", NULL, 0, NULL},
	[ADMIN_STATS] = {"stats", NULL, 0, NULL},
	[ADMIN_SESSIONS] = {"sessions", NULL, 0, NULL},
	[ADMIN_BACKENDS] = {"backends", take_forward, 0, NULL},
	[ADMIN_BACKEND] =
		{"backend", take_change, 2,
		 "lacks what to do: give the name of a backend and up, down, drain, weight=N "
		 "or maxconn=N; or add FORWARD ADDRESS; or remove FORWARD ADDRESS"},
	[ADMIN_KILL] = {"kill", take_target, 0, NULL},
	[ADMIN_DRAIN] = {"drain", take_forward, 0, NULL},
	[ADMIN_LOG_LEVEL] = {"log-level", take_level, 0, NULL},
	[ADMIN_RELOAD] = {"reload", NULL, 0, NULL},
	[ADMIN_UPGRADE] = {"upgrade", NULL, 0, NULL},
};

enum admin_verb admin_verb_find(const char *word)
{
	unsigned verb = 0;

	while (verb < ADMIN_VERB_COUNT && strcmp(verbs[verb].word, word))
		verb++;
	return (enum admin_verb)verb;
}

const char *admin_request_begin(struct admin_request *request, const char *word)
{
	*request = (struct admin_request){.verb = admin_verb_find(word)};
	if (request->verb == ADMIN_VERB_COUNT)
		return "is not known; is the command of another version?";
	strcpy(request->line, word);
	return NULL;
}

const char *admin_request_take(struct admin_request *request, const char *word)
{
	const struct verb *verb = &verbs[request->verb];
	const struct option *option = strchr(word, '=') ? find_option(request->verb, word) : NULL;
	size_t length = strlen(request->line);
	const char *problem;

	if (!*word || word[strcspn(word, " \t\r\n")])
		return "has a blank too many";
	/* room for a blank, " json" and the newline */
	if (length + strlen(word) + sizeof("  json\n") > sizeof(request->line))
		return too_long;
	if (!strcmp(word, "json")) {
		problem = request->json ? unknown : NULL;
		request->json = true;
		return problem;
	}
	sprintf(request->line + length, " %s", word);
	if (option)
		return option->read(request, strchr(word, '=') + 1);
	problem = verb->take ? verb->take(request, word) : unknown;
	request->word_count++;
	return problem;
}

const char *admin_request_end(const struct admin_request *request)
{
	const struct verb *verb = &verbs[request->verb];

	if (request->word_count < verb->least_words)
		return verb->lack;
	if (request->verb == ADMIN_KILL && request->word_count && *request->backend)
		return unknown;
	if (request->verb == ADMIN_KILL && !request->word_count && !*request->backend)
		return "lacks WHO: a session's id, a client, or backend=ADDRESS";
	if (request->verb == ADMIN_BACKEND && !*request->given && !*request->backend)
		return "lacks the backend's address; give FORWARD and ADDRESS";
	return NULL;
}

const char *admin_request_parse(const char *line, struct admin_request *request)
{
	char words[ADMIN_REQUEST_BYTES];
	const char *problem;
	char *rest = words;

	*request = (struct admin_request){0};
	if (strlen(line) >= sizeof(words))
		return too_long;
	strcpy(words, line);
	problem = admin_request_begin(request, strsep(&rest, " "));
	while (!problem && rest && *rest)
		problem = admin_request_take(request, strsep(&rest, " "));
	return problem ? problem : admin_request_end(request);
}

const char *admin_request_print(const struct admin_request *request, char line[ADMIN_REQUEST_BYTES])
{
	int length = snprintf(line, ADMIN_REQUEST_BYTES, "%s%s\n", request->line,
			      request->json ? " json" : "");

	CHECK(length > 0 && length < ADMIN_REQUEST_BYTES);
	return line;
}
