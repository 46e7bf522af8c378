/* SPDX-License-Identifier: MIT */
#include "limits/prefix_set.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(prefix_set, .fini = support_check_leaks);

static struct cidr block_of(const char *text)
{
	struct cidr cidr;

	cr_assert_null(cidr_parse(text, &cidr), "%s", text);
	return cidr;
}

/* Rules in words: "+10.0.0.0/8 -::/0", + allows and - denies. */
static struct prefix_set *set_of(const char *rules)
{
	struct prefix_set *set;
	char words[512], *rest = words;
	const char *word;

	snprintf(words, sizeof(words), "%s", rules);
	cr_assert_eq(prefix_set_create(&set), 0);
	while ((word = strtok_r(rest, " ", &rest))) {
		struct cidr cidr = block_of(word + 1);

		cr_assert_eq(prefix_set_add(set, &cidr, *word == '+' ? PREFIX_ALLOW : PREFIX_DENY),
			     0);
	}
	cr_assert_eq(prefix_set_compile(set), 0);
	return set;
}

Test(prefix_set, first_match_decides)
{
	static const struct {
		const char *rules;
		const char *address;
		bool allowed;
	} rows[] = {
		{"+192.0.2.0/24", "192.0.1.255", false},
		{"+192.0.2.0/24", "192.0.2.0", true},
		{"+192.0.2.0/24", "192.0.2.255", true},
		{"+192.0.2.0/24", "192.0.3.0", false},
		{"-192.0.2.0/24", "192.0.2.9", false},
		{"-192.0.2.0/24", "192.0.3.9", true},
		{"-192.0.2.7 +192.0.2.0/24", "192.0.2.7", false},
		{"-192.0.2.7 +192.0.2.0/24", "192.0.2.8", true},
		{"+192.0.2.0/24 -192.0.2.7", "192.0.2.7", true},
		{"+2001:db8::/32 -::/0", "2001:db8::1", true},
		{"+2001:db8::/32 -::/0", "2001:db9::1", false},
		{"+2001:db8::/32 -::/0", "192.0.2.1", false},
		{"+0.0.0.0/0 -::/0", "192.0.2.1", true},
		{"+0.0.0.0/0", "2001:db8::1", false},
		{"-0.0.0.0/0 +::/0", "255.255.255.255", false},
		{"-0.0.0.0/0 +::/0", "::1:0:0:0", true},
		{"-0.0.0.0/0 +::/0", "::fffe:ffff:ffff", true},
		/* the same block again, and a block within a block within a block */
		{"+10.0.0.0/8 -10.0.0.0/8", "10.0.0.1", true},
		{"+10.1.1.0/24 -10.1.0.0/16 +10.0.0.0/8", "10.1.1.1", true},
		{"+10.1.1.0/24 -10.1.0.0/16 +10.0.0.0/8", "10.1.2.1", false},
		{"+10.1.1.0/24 -10.1.0.0/16 +10.0.0.0/8", "10.2.2.1", true},
		{"-10.1.0.0/16 +10.1.1.0/24 +10.0.0.0/8", "10.1.1.1", false},
		{"-10.1.1.0/24 +10.0.0.0/8 -10.1.0.0/16", "10.1.2.1", true},
		/* neighbours */
		{"+10.0.0.0/9 -10.128.0.0/9", "10.127.255.255", true},
		{"+10.0.0.0/9 -10.128.0.0/9", "10.128.0.0", false},
		/* the ends of the space */
		{"+::", "::", true},
		{"+::", "::1", false},
		{"+ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
		{"+ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", false},
		{"-8000::/1 +::/0", "8000::", false},
		{"-8000::/1 +::/0", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct prefix_set *set = set_of(rows[i].rules);
		struct in6_addr address = block_of(rows[i].address).network;

		cr_expect_eq(prefix_set_verdict(set, &address) == PREFIX_ALLOW, rows[i].allowed,
			     "%s among %s", rows[i].address, rows[i].rules);
		prefix_set_destroy(set);
	}
}

Test(prefix_set, what_no_rule_matches)
{
	static const struct {
		const char *rules;
		bool allowed;
	} rows[] = {
		{"", true},
		{"-10.0.0.0/8", true},
		{"+10.0.0.0/8", false},
		{"-10.0.0.0/8 +10.0.0.1 -11.0.0.0/8", false},
	};
	struct in6_addr address = block_of("192.0.2.1").network;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct prefix_set *set = set_of(rows[i].rules);

		cr_expect_eq(prefix_set_verdict(set, &address) == PREFIX_ALLOW, rows[i].allowed,
			     "row %zu", i);
		prefix_set_destroy(set);
	}
}

/* Every prefix length at once, the longest first and the shortest first. */
Test(prefix_set, nested_at_every_length)
{
	const struct in6_addr inner = block_of("5555:5555:5555:5555:5555:5555:5555:5555").network;

	for (unsigned shortest_first = 0; shortest_first < 2; shortest_first++) {
		struct prefix_set *set;

		cr_assert_eq(prefix_set_create(&set), 0);
		for (unsigned i = 0; i <= 128; i++) {
			unsigned bits = shortest_first ? i : 128 - i;
			struct cidr block = {cidr_mask(&inner, bits), bits};

			cr_assert_eq(prefix_set_add(set, &block, bits % 2), 0);
		}
		cr_assert_eq(prefix_set_compile(set), 0);
		for (unsigned differs = 0; differs <= 128; differs++) {
			/* as many bits in common as it says */
			struct in6_addr address = inner;

			if (differs < 128)
				address.s6_addr[differs / 8] ^= (uint8_t)(0x80U >> differs % 8);
			cr_expect_eq(prefix_set_verdict(set, &address),
				     shortest_first ? 0 : differs % 2, "%u", differs);
		}
		prefix_set_destroy(set);
	}
}

/* Against going through the rules in order ----------------------------------------------------- */

#define MODEL_RULES 60

/* Addresses that differ in a few bits only, so that blocks nest and meet. */
static struct in6_addr random_address(uint64_t *state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
	struct in6_addr address;

	memset(&address, support_random(state) % 4 ? 0 : 0xff, sizeof(address));
	if (support_random(state) % 2)
		address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	for (unsigned changes = (unsigned)(support_random(state) % 5); changes; changes--)
		address.s6_addr[support_random(state) % 4 * 4 + support_random(state) % 2] =
			values[support_random(state) % sizeof(values)];
	return address;
}

static uint32_t naive_rule(const struct cidr *rules, uint32_t count, const struct in6_addr *address)
{
	for (uint32_t i = 0; i < count; i++)
		if (cidr_contains(&rules[i], address))
			return i;
	return count;
}

/* The address before the first of a block, or behind its last. */
static struct in6_addr neighbour(const struct cidr *block, bool before)
{
	struct in6_addr address = block->network;

	if (!before)
		for (unsigned bit = block->bits; bit < 128; bit++)
			address.s6_addr[bit / 8] |= (uint8_t)(0x80U >> bit % 8);
	for (int i = 15; i >= 0; i--) {
		address.s6_addr[i] = (uint8_t)(address.s6_addr[i] + (before ? -1 : 1));
		if (address.s6_addr[i] != (before ? 0xff : 0))
			break;
	}
	return address;
}

static void compare(const struct prefix_set *set, const struct cidr *rules, uint32_t count,
		    struct in6_addr address)
{
	uint32_t rule = naive_rule(rules, count, &address);
	enum prefix_verdict verdict = prefix_set_verdict(set, &address);

	/* every third rule denies, also the first; if a rule allows, other addresses are denied */
	if (rule == count)
		cr_assert_eq(verdict, count > 1 ? PREFIX_DENY : PREFIX_ALLOW);
	else
		cr_assert_eq(verdict, rule % 3 ? PREFIX_ALLOW : PREFIX_DENY);
}

Test(prefix_set, decides_as_going_through_the_rules)
{
	uint64_t state = 1;

	for (unsigned round = 0; round < 400; round++) {
		uint32_t count = (uint32_t)(support_random(&state) % MODEL_RULES);
		struct cidr rules[MODEL_RULES];
		struct prefix_set *set;

		cr_assert_eq(prefix_set_create(&set), 0);
		for (uint32_t i = 0; i < count; i++) {
			struct in6_addr address = random_address(&state);

			rules[i].bits = (unsigned)(support_random(&state) % 129);
			rules[i].network = cidr_mask(&address, rules[i].bits);
			cr_assert_eq(
				prefix_set_add(set, &rules[i], i % 3 ? PREFIX_ALLOW : PREFIX_DENY),
				0);
		}
		cr_assert_eq(prefix_set_compile(set), 0);
		for (uint32_t i = 0; i < count; i++) {
			compare(set, rules, count, rules[i].network);
			compare(set, rules, count, neighbour(&rules[i], true));
			compare(set, rules, count, neighbour(&rules[i], false));
		}
		for (unsigned i = 0; i < 200; i++)
			compare(set, rules, count, random_address(&state));
		prefix_set_destroy(set);
	}
}

/* So many rules that one step too many per rule would show, and a search rule by rule, too. */
Test(prefix_set, hundred_thousand_and_the_limit)
{
	struct cidr block = {.network = {.s6_addr = {0x20}}, .bits = 48};
	struct in6_addr address;
	struct prefix_set *set;

	cr_assert_eq(prefix_set_create(&set), 0);
	for (uint32_t i = 0; i < PREFIX_SET_RULE_LIMIT; i++) {
		/* one in two of the /48 in a row, in no order */
		uint32_t position = (uint32_t)(i * 7919ULL % PREFIX_SET_RULE_LIMIT * 2);

		for (unsigned byte = 0; byte < 4; byte++)
			block.network.s6_addr[5 - byte] = (uint8_t)(position >> 8 * byte);
		cr_assert_eq(prefix_set_add(set, &block, PREFIX_ALLOW), 0);
	}
	cr_assert_eq(prefix_set_add(set, &block, PREFIX_ALLOW), -E2BIG);
	cr_assert_eq(prefix_set_rule_count(set), PREFIX_SET_RULE_LIMIT);
	cr_assert_eq(prefix_set_compile(set), 0);
	for (uint32_t i = 0; i < PREFIX_SET_RULE_LIMIT; i += 997) {
		address = prefix_set_rule(set, i).network;
		address.s6_addr[15] = 1;
		cr_assert_eq(prefix_set_verdict(set, &address), PREFIX_ALLOW);
		address.s6_addr[5] ^= 1;
		cr_assert_eq(prefix_set_verdict(set, &address), PREFIX_DENY);
	}
	prefix_set_destroy(set);
}

/* Files ---------------------------------------------------------------------------------------- */

struct text_file {
	int fd;
	char path[32];
};

static void file_open(struct text_file *file, const char *bytes, size_t count)
{
	file->fd = memfd_create("rules", MFD_CLOEXEC);
	cr_assert_geq(file->fd, 0);
	cr_assert_eq(write(file->fd, bytes, count), (ssize_t)count);
	snprintf(file->path, sizeof(file->path), "/proc/self/fd/%d", file->fd);
}

/* What is told of a file: the first fault, and the numbers of all lines, as in ":2:4". */
struct told {
	unsigned count;
	char first[FAULT_TEXT_BYTES];
	char lines[64];
};

static void tell(void *listener, struct fault *fault)
{
	struct told *told = listener;
	const char *number = strchr(fault->value, ':');
	size_t length = strlen(told->lines);

	cr_assert_not_null(number, "%s", fault->value);
	if (!told->count++)
		fault_print(fault, told->first);
	snprintf(told->lines + length, sizeof(told->lines) - length, "%s", number);
}

static int add_file(struct prefix_set *set, const char *path, struct told *told)
{
	const struct prefix_set_faults faults = {.tell = tell, .listener = told};

	*told = (struct told){0};
	return prefix_set_add_file(set, path, PREFIX_ALLOW, &faults);
}

/* How a set of one rule takes a file: "" and the rules added, or the first error. */
static uint32_t take_file(const char *bytes, size_t count, char error[FAULT_TEXT_BYTES])
{
	struct cidr first = block_of("2001:db8:ffff::/48");
	struct text_file file;
	struct prefix_set *set;
	struct told told;
	uint32_t added;
	int result;

	file_open(&file, bytes, count);
	cr_assert_eq(prefix_set_create(&set), 0);
	cr_assert_eq(prefix_set_add(set, &first, PREFIX_DENY), 0);
	result = add_file(set, file.path, &told);
	strcpy(error, told.first);
	cr_expect_eq(!result, !*error, "%d, %s", result, error);
	if (result) {
		cr_expect_eq(result, -EINVAL);
		cr_assert(!strncmp(error, file.path, strlen(file.path)), "%s", error);
		memmove(error, error + strlen(file.path), strlen(error + strlen(file.path)) + 1);
	}
	added = prefix_set_rule_count(set) - 1;
	prefix_set_destroy(set);
	close(file.fd);
	return added;
}

#define ROW(text) text, sizeof(text) - 1

Test(prefix_set, files_taken)
{
	static const struct {
		const char *bytes;
		size_t count;
		uint32_t rules;
	} rows[] = {
		{ROW(""), 0},
		{ROW("\n\n# nothing\n   \t \n"), 0},
		{ROW("10.0.0.0/8\n2001:db8::/32\n"), 2},
		{ROW("10.0.0.0/8\n2001:db8::1"), 2},
		{ROW("\xef\xbb\xbf"
		     "10.0.0.0/8\n"),
		 1},
		{ROW("\xef\xbb\xbf# nothing\n"), 0},
		{ROW("\xef\xbb\xbf"), 0},
		{ROW("  10.0.0.0/8\t# ten\r\n#\r\n192.0.2.1#one\r\n"), 2},
	};
	char error[FAULT_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(take_file(rows[i].bytes, rows[i].count, error), rows[i].rules,
			     "row %zu", i);
		cr_expect_str_eq(error, "", "row %zu", i);
	}
}

Test(prefix_set, files_refused)
{
	static const struct {
		const char *bytes;
		size_t count;
		const char *error; /* behind the path; how it begins */
	} rows[] = {
		{ROW("friend"), ":1: 'friend' is not an address block"},
		{ROW("::1\n\n# \n10.0.0.1/8\n"), ":4: '10.0.0.1/8' has bits set behind"},
		{ROW("::1\n10.0.0.0/8 10.0.0.0/9\n"), ":2: '10.0.0.0/8 10.0.0.0/9' has no number"},
		{ROW("10.0.0.0/33"), ":1: '10.0.0.0/33' has a prefix longer than 32"},
		{ROW("::1\n::\0002\n"), ":2: the line holds a NUL byte"},
		{ROW("::1\n# \0\n"), ":2: the line holds a NUL byte"},
		{ROW("::1\n\xef\xbb\xbf::2\n"), ":2: '???::2' is not an address block"},
		{ROW("\0"), ":1: the line holds a NUL byte"},
		{ROW("\x1b[1m\xc3\xa4\n"), ":1: '?[1m?"
					   "?' is not an address block"},
	};
	char error[FAULT_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(take_file(rows[i].bytes, rows[i].count, error), 0, "row %zu", i);
		cr_expect(!strncmp(error, rows[i].error, strlen(rows[i].error)), "row %zu: %s", i,
			  error);
	}
}

Test(prefix_set, every_bad_line_is_told)
{
	static const struct {
		const char *bytes;
		size_t count;
		const char *lines;
	} rows[] = {
		{ROW("::1/129\n::1\nfoo # bar\n\n10.1.2.3/8\n::2\n1.2.3.4/33"), ":1:3:5:7"},
		{ROW("foo\n::\0001\nbar\n"), ":1:2"},
	};
	char long_line[2 * PREFIX_SET_LINE_LIMIT];
	struct text_file file;
	struct prefix_set *set;
	struct told told;

	cr_assert_eq(prefix_set_create(&set), 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		file_open(&file, rows[i].bytes, rows[i].count);
		cr_expect_eq(add_file(set, file.path, &told), -EINVAL);
		cr_expect_str_eq(told.lines, rows[i].lines, "row %zu: %s", i, told.lines);
		close(file.fd);
	}
	memset(long_line, ' ', sizeof(long_line));
	memcpy(long_line + sizeof(long_line) - 5, "\nfoo", 4);
	file_open(&file, long_line, sizeof(long_line));
	cr_expect_eq(add_file(set, file.path, &told), -EINVAL);
	cr_expect_str_eq(told.lines, ":1:2", "%s", told.lines);
	cr_expect_eq(prefix_set_rule_count(set), 0);
	close(file.fd);
	prefix_set_destroy(set);
}

Test(prefix_set, lines_have_a_limit)
{
	char text[PREFIX_SET_LINE_LIMIT + 4], error[FAULT_TEXT_BYTES];

	memset(text, ' ', sizeof(text));
	memcpy(text, "::1", 3);
	text[PREFIX_SET_LINE_LIMIT] = '\n';
	cr_expect_eq(take_file(text, PREFIX_SET_LINE_LIMIT + 1, error), 1, "%s", error);
	cr_expect_eq(take_file(text, PREFIX_SET_LINE_LIMIT, error), 1, "%s", error);
	text[PREFIX_SET_LINE_LIMIT] = ' ';
	cr_expect_eq(take_file(text, PREFIX_SET_LINE_LIMIT + 1, error), 0);
	cr_expect(strstr(error, ":1: the line is too long"), "%s", error);
	/* what a message shows of a line has one too */
	memset(text, 'x', sizeof(text));
	cr_expect_eq(take_file(text, PREFIX_SET_LINE_LIMIT, error), 0);
	cr_expect_lt(strlen(error), 200);
}

Test(prefix_set, files_that_cannot_be_read)
{
	static const struct {
		const char *path;
		int result;
	} rows[] = {
		{"/proc/no such file", -ENOENT},
		{"/proc", -EISDIR},
	};
	struct prefix_set *set;
	struct told told;

	cr_assert_eq(prefix_set_create(&set), 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(add_file(set, rows[i].path, &told), rows[i].result);
		cr_expect_eq(told.count, 0);
	}
	prefix_set_destroy(set);
	prefix_set_destroy(NULL);
}

/* Misuse --------------------------------------------------------------------------------------- */

static void add_to_compiled(void *set)
{
	struct cidr block = block_of("::/0");

	prefix_set_add(set, &block, PREFIX_ALLOW);
}

static void look_up(void *set)
{
	prefix_set_verdict(set, &in6addr_any);
}

Test(prefix_set, misuse_aborts)
{
	struct prefix_set *set;

	cr_assert_eq(prefix_set_create(&set), 0);
	cr_expect(support_aborts(look_up, set));
	cr_assert_eq(prefix_set_compile(set), 0);
	cr_expect_not(support_aborts(look_up, set));
	cr_expect(support_aborts(add_to_compiled, set));
	prefix_set_destroy(set);
}
