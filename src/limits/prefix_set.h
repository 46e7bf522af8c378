/* SPDX-License-Identifier: MIT */
/*
 * The rules of --allow and --deny: an ordered list of allowed and denied blocks of addresses. The
 * first rule whose block contains the address decides. If no rule matches, the address is denied
 * where the list allows any block, or where a file of allowed blocks was added, even an empty one;
 * otherwise it is allowed. (nginx differs: there it is allowed in both cases.) Both families share
 * one space, in which IPv4 is ::ffff:0:0/96 (cidr.h): ::/0 matches IPv4 clients too, 0.0.0.0/0 only
 * them.
 *
 * Rules are added at the start, then compiled once into sorted ranges that do not overlap. From
 * then on the set never changes, and any number of threads may look addresses up without a lock. A
 * look-up is a binary search: some 20 steps for 500,000 rules.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/fault.h"

/* The most rules of a set. They take up to 55 MB, and 96 MB more while they are compiled. */
#define PREFIX_SET_RULE_LIMIT 1000000

/* The most characters of a line in a file, with its comment, without its end. */
#define PREFIX_SET_LINE_LIMIT 1000

enum prefix_verdict { PREFIX_DENY, PREFIX_ALLOW };

struct prefix_set;

/* Called with each fault of a file. Its object is "path:line". The fault is valid for the call. */
struct prefix_set_faults {
	void (*tell)(void *listener, struct fault *fault);
	void *listener;
};

/* Creates an empty set. Returns 0 or -ENOMEM. */
int prefix_set_create(struct prefix_set **set);

/* NULL is allowed. */
void prefix_set_destroy(struct prefix_set *set);

/*
 * Adds a rule at the end; rules are numbered from 0 in this order. Not after prefix_set_compile().
 * Returns 0, -E2BIG at PREFIX_SET_RULE_LIMIT, or -ENOMEM.
 */
int prefix_set_add(struct prefix_set *set, const struct cidr *cidr, enum prefix_verdict verdict);

/*
 * Adds a rule for each line of a file: a block or an address, as cidr_parse() takes it. Blanks
 * around it and a byte order mark before the first line are allowed. A '#' begins a comment; lines
 * without a block are skipped. Returns 0; or -errno, and then the set has the rules that it had
 * before:
 *
 *	-EINVAL	lines that are no block or too long, each told; reading goes on
 *	-EINVAL	a line with a NUL, told; reading ends
 *	-E2BIG, -ENOMEM	 the line with the first rule that has no room, told; reading ends
 *	other	the file cannot be read, not told
 *
 * May block: open(2).
 */
int prefix_set_add_file(struct prefix_set *set, const char *path, enum prefix_verdict verdict,
			const struct prefix_set_faults *faults);

/*
 * Makes the set ready for look-ups; once. Takes the time of sorting the rules. Returns 0 or
 * -ENOMEM; then the set must be destroyed.
 */
int prefix_set_compile(struct prefix_set *set);

/* Looks an address up (see cidr_address_of()) in a compiled set. */
enum prefix_verdict prefix_set_verdict(const struct prefix_set *set,
				       const struct in6_addr *address);

uint32_t prefix_set_rule_count(const struct prefix_set *set);

/* The block of a rule. */
struct cidr prefix_set_rule(const struct prefix_set *set, uint32_t rule);
