/*
 * Who may connect: an ordered list of allowed and denied blocks of addresses. The first rule whose
 * block holds the address decides. An address that no rule matches is denied if any rule allows
 * something or a file of such rules was added, be it empty, and allowed otherwise: a list of friends
 * shuts everybody else out, a list of foes lets everybody else in. nginx, for one, differs: there it is allowed, whatever the
 * rules are. Both families share one space, in which IPv4 is ::ffff:0:0/96
 * (cidr.h): ::/0 matches IPv4 clients too, 0.0.0.0/0 only them.
 *
 * Rules are added at the start, then compiled once into sorted ranges that do not overlap; from then
 * on the set never changes, and any number of threads may look addresses up without a lock. A
 * look-up is a binary search: some 20 steps for 500,000 rules.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"

/* So many rules take up to 61 MB, and 96 MB more while they are compiled. */
#define PREFIX_SET_RULE_LIMIT 1000000

/* Characters of a line in a file, comment included, its end not. */
#define PREFIX_SET_LINE_LIMIT 1000

/* Room for any fault that prefix_set_add_file() tells of a path that is not overlong. */
#define PREFIX_SET_FAULT_BYTES 512

/* The number of the rule that decided, where none did. */
#define PREFIX_SET_NO_RULE UINT32_MAX

enum prefix_verdict { PREFIX_DENY, PREFIX_ALLOW };

struct prefix_set;

/* Who is told what is wrong with a line of a file, "path:line: reason", whose bytes are lent. */
struct prefix_set_faults {
	void (*tell)(void *listener, const char *fault);
	void *listener;
};

/* Creates an empty set. Returns 0 or -ENOMEM. */
int prefix_set_create(struct prefix_set **set);

/* NULL is allowed. */
void prefix_set_destroy(struct prefix_set *set);

/*
 * Adds a rule behind those there are; rules are numbered from 0 in this order. Not after
 * prefix_set_compile(). Returns 0, -E2BIG at PREFIX_SET_RULE_LIMIT, or -ENOMEM.
 */
int prefix_set_add(struct prefix_set *set, const struct cidr *cidr, enum prefix_verdict verdict);

/*
 * Adds a rule for each line of a file: a block or an address, as cidr_parse() takes it, with blanks
 * around it if you like, and a byte order mark before the first. A '#' begins a comment; lines without a block are passed over.
 * Returns 0; or -errno, and then the set has the rules it had. All lines that are no block or too long
 * are told (-EINVAL), and the first that holds a NUL (-EINVAL), where no memory is left, or that is one too
 * many (-E2BIG), behind which nothing is read. Of a file that cannot be read nothing is told but the -errno. May
 * block: open(2).
 */
int prefix_set_add_file(struct prefix_set *set, const char *path, enum prefix_verdict verdict,
			const struct prefix_set_faults *faults);

/*
 * Makes the set ready for look-ups; once. The time is that of sorting the rules. Returns 0 or
 * -ENOMEM, after which the set is to be destroyed.
 */
int prefix_set_compile(struct prefix_set *set);

/*
 * Looks an address up (cidr_address_of() gives an endpoint's) in a compiled set. Unless `rule` is
 * NULL, it gets the number of the rule that decided or PREFIX_SET_NO_RULE.
 */
enum prefix_verdict prefix_set_verdict(const struct prefix_set *set, const struct in6_addr *address,
				       uint32_t *rule);

uint32_t prefix_set_rule_count(const struct prefix_set *set);

/* The block of a rule, for messages. */
struct cidr prefix_set_rule(const struct prefix_set *set, uint32_t rule);
