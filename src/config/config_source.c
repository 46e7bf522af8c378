/* SPDX-License-Identifier: MIT */
#include "config/config_source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "os/host.h"

/* Whether a block is a /4 or smaller, and neither "this network" nor multicast: RFC 6890. */
static bool is_unicast(const struct cidr *block)
{
	uint32_t first = cidr_v4_of(&block->network);

	return block->bits >= 96 + 4 && first >> 24 != 0 && first >> 28 != 14;
}

/* Reads the block of a lease pool. `text` is the whole value. */
static int parse_pool(struct config_source *source, const char *text, const char *block,
		      bool loopback, struct fault *fault)
{
	const char *problem = cidr_parse(block, &source->pool);
	struct fault words;

	if (!problem && (!cidr_is_v4(&source->pool) || source->pool.bits > 96 + 30))
		problem = "is no block of IPv4 addresses of /30 or larger; give one such as "
			  "240.0.0.0/4";
	if (!problem && !loopback && !is_unicast(&source->pool))
		problem = "has addresses that no host can have, or most of all there are; give a "
			  "block such as 240.0.0.0/4 or 100.64.0.0/10";
	if (!problem && loopback &&
	    (source->pool.bits < 96 + 8 ||
	     cidr_v4_of(&source->pool.network) >> 24 != IN_LOOPBACKNET))
		problem = "is not within 127.0.0.0/8; give a block of it, or use pseudo:CIDR";
	if (problem) {
		fault_set_words(&words, NULL, NULL, problem);
		return fault_set(fault, NULL, text, "%s %s; %s", block, words.reason, words.remedy);
	}
	source->kind = CONFIG_SOURCE_POOL;
	return 0;
}

/* Reads an address without a port. */
static bool parse_address(struct config_source *source, const char *text)
{
	struct addr *address = &source->address;

	if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->length_bytes = sizeof(address->v4);
	} else if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->length_bytes = sizeof(address->v6);
	}
	source->kind = CONFIG_SOURCE_ADDRESS;
	return address->length_bytes;
}

/* The rest of `text` after `word` and a colon; "" if `text` is `word`; NULL if neither. */
static const char *after_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(text, word, length) || (text[length] && text[length] != ':'))
		return NULL;
	return text[length] ? text + length + 1 : "";
}

static int parse(struct config_source *source, const char *text, struct fault *fault)
{
	static const char embedded[] = "embedded";
	const char *mode = text, *block;

	if (!strncmp(text, embedded, strlen(embedded)) &&
	    (!text[strlen(embedded)] || text[strlen(embedded)] == ',')) {
		source->embedded = true;
		mode = text[strlen(embedded)] ? text + strlen(embedded) + 1 : "none";
	}
	if (!strcmp(mode, "none"))
		return 0;
	if ((block = after_word(mode, "pseudo")))
		return parse_pool(source, text, *block ? block : CONFIG_PSEUDO_POOL, false, fault);
	if ((block = after_word(mode, "loopback")))
		return parse_pool(source, text, *block ? block : CONFIG_LOOPBACK_POOL, true, fault);
	if (parse_address(source, mode))
		return 0;
	return fault_set(fault, NULL, text,
			 "not a way to choose an address; give none, an address, pseudo[:CIDR], "
			 "loopback[:CIDR] or embedded[,one of these]");
}

int config_source_parse(struct config_source *source, const char *text, struct fault *fault)
{
	struct config_source parsed = {0};
	int result = parse(&parsed, text, fault);

	/* a half of a refused value would cause further faults */
	if (!result)
		*source = parsed;
	return result;
}

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

bool config_source_is_shared(const struct config_forward_options *a,
			     const struct config_forward_options *b)
{
	return cidr_equal(&a->source.pool, &b->source.pool);
}

static int check_pair(const struct config_forward *forward, const struct config_forward *other,
		      struct fault *fault)
{
	const struct config_forward_options *a = &forward->options, *b = &other->options;
	char block[CIDR_TEXT_BYTES];

	if (a->source.kind != CONFIG_SOURCE_POOL || b->source.kind != CONFIG_SOURCE_POOL)
		return 0;
	cidr_print(&a->source.pool, block);
	if (!config_source_is_shared(a, b)) {
		if (cidr_overlap(&a->source.pool, &b->source.pool))
			return config_fault_listen(
				fault, forward,
				"--source pool %s overlaps another listener's, and two clients "
				"could get one address; give the same block or one apart",
				block);
		if (a->pseudo_state && b->pseudo_state &&
		    host_is_same_file(a->pseudo_state, b->pseudo_state))
			return config_fault_listen(fault, forward,
						   "--source pool %s has the --pseudo-state file "
						   "of another block; give each block its own",
						   block);
		return 0;
	}
	/* after a refused value, the options may differ for this reason */
	if (forward->broken || other->broken)
		return 0;
	if (a->pseudo_prefix != b->pseudo_prefix || a->pseudo_leases != b->pseudo_leases ||
	    !is_same_text(a->pseudo_key, b->pseudo_key) ||
	    !is_same_text(a->pseudo_state, b->pseudo_state))
		return config_fault_listen(
			fault, forward,
			"--source pool %s is another listener's too, with other --pseudo options; "
			"give them before the first --listen, for both",
			block);
	return 0;
}

static bool is_v4_source(const struct config_source *source)
{
	return source->embedded || source->kind == CONFIG_SOURCE_POOL ||
	       source->address.any.sa_family == AF_INET;
}

static int check_families(const struct config_forward *forward, struct fault *fault)
{
	const struct config_source *source = &forward->options.source;
	char address[CONFIG_BACKEND_TEXT_BYTES], value[sizeof("embedded,") + sizeof(address)];
	bool v4 = is_v4_source(source);

	if (source->kind == CONFIG_SOURCE_NONE && !source->embedded)
		return 0;
	if (source->embedded && source->address.any.sa_family == AF_INET6) {
		snprintf(value, sizeof(value), "embedded,%s",
			 addr_print_host(&source->address, address));
		return fault_set(fault, "source", value,
				 "IPv4 addresses for some clients and an IPv6 one for all others "
				 "reach no backend both; give an IPv4 one");
	}
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (forward->backends[i].addr.any.sa_family != (v4 ? AF_INET : AF_INET6))
			return config_fault_listen(
				fault, forward,
				"--source gives IPv%c addresses, which cannot reach backend %s; "
				"give that one a listener of its own",
				v4 ? '4' : '6',
				config_print_backend(&forward->backends[i], address));
	return 0;
}

int config_source_check(const struct config *config, const struct config_forward *forward,
			struct fault *fault)
{
	int result = check_families(forward, fault);

	for (const struct config_forward *other = config->forwards; other < forward && !result;
	     other++)
		result = check_pair(forward, other, fault);
	return result;
}
