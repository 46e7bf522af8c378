/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Two blocks either do not overlap, or one lies in the other. Sorted by first
 * address, and the larger first where these are equal, each block follows the blocks that it lies
 * in. One sweep over the sorted blocks, with a stack of the blocks that are open at that address
 * (at most one per prefix length), finds where the deciding rule changes: the deciding rule is the
 * one with the lowest number on the stack. A block that lies in a block with a lower number decides
 * nothing and is skipped.
 */
#include "limits/prefix_set.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define DEPTH_LIMIT 130		   /* prefix lengths 0 to 128, and the whole space below them */
#define SHOWN_BYTES 64		   /* of a line, in a message */
#define MARK	    "\xef\xbb\xbf" /* the byte order mark */

static const char not_a_text[] = "the line holds a NUL byte; this is not a text file";

typedef unsigned __int128 number; /* an address in host byte order */

struct rule {
	struct in6_addr network;
	uint8_t bits;
	uint8_t verdict; /* enum prefix_verdict */
};

/* A block on its way through the sweep. */
struct block {
	number first;
	number last;
	uint32_t rule;
	uint8_t verdict; /* enum prefix_verdict */
};

struct prefix_set {
	struct rule *rules;
	uint32_t rule_count;
	uint32_t rule_room;
	uint32_t range_count; /* 0: not compiled */
	bool allows;	      /* has rules that allow: where no rule matches, the verdict is deny */
	/* Range i begins at firsts[i] and ends before firsts[i + 1]; firsts[0] is ::. */
	number *firsts;
	uint8_t *verdicts; /* enum prefix_verdict of the rule that decides in range i */
};

/* The sweep's state. */
struct sweep {
	struct prefix_set *set;
	unsigned depth;
	struct block open[DEPTH_LIMIT];
};

int prefix_set_create(struct prefix_set **set)
{
	*set = calloc(1, sizeof(**set));
	return *set ? 0 : -ENOMEM;
}

void prefix_set_destroy(struct prefix_set *set)
{
	if (!set)
		return;
	free(set->rules);
	free(set->firsts);
	free(set->verdicts);
	free(set);
}

int prefix_set_add(struct prefix_set *set, const struct cidr *cidr, enum prefix_verdict verdict)
{
	CHECK(!set->range_count && cidr->bits <= 128);
	set->allows |= verdict == PREFIX_ALLOW;
	if (set->rule_count == PREFIX_SET_RULE_LIMIT)
		return -E2BIG;
	if (set->rule_count == set->rule_room) {
		uint32_t room = set->rule_room ? set->rule_room * 2 : 16;
		struct rule *rules = reallocarray(set->rules, room, sizeof(*rules));

		if (!rules)
			return -ENOMEM;
		set->rules = rules;
		set->rule_room = room;
	}
	set->rules[set->rule_count++] = (struct rule){
		.network = cidr_mask(&cidr->network, cidr->bits),
		.bits = (uint8_t)cidr->bits,
		.verdict = (uint8_t)verdict,
	};
	return 0;
}

/* Files ---------------------------------------------------------------------------------------- */

/*
 * Reads a line into `line`, without its end. Returns its length, or -1 at the end of the file or
 * when reading failed. `problem` says why the line cannot be used, or is NULL. Reading stops at a
 * NUL.
 */
static int read_line(FILE *file, char line[PREFIX_SET_LINE_LIMIT + 1], const char **problem)
{
	int length = 0, c;

	*problem = NULL;
	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		if (!c) {
			*problem = not_a_text;
			break;
		}
		if (length == PREFIX_SET_LINE_LIMIT)
			*problem = "the line is too long; give one address block per line";
		else
			line[length++] = (char)c;
	}
	line[length] = '\0';
	return c == EOF && (!length || ferror(file)) ? -1 : length;
}

/* Cuts off the comment, and the blanks around the rest; returns the rest. */
static char *trim(char *line)
{
	static const char blanks[] = " \t\r\v\f";
	size_t length;

	line[strcspn(line, "#")] = '\0';
	line += strspn(line, blanks);
	length = strlen(line);
	while (length && strchr(blanks, line[length - 1]))
		length--;
	line[length] = '\0';
	return line;
}

/* A piece of a line as it can be shown in a log. */
static const char *show(const char *text, char shown[SHOWN_BYTES])
{
	size_t i;

	for (i = 0; text[i] && i < SHOWN_BYTES - 1; i++)
		shown[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	shown[i] = '\0';
	return shown;
}

/* Adds the rule of a line, if there is one. Returns 0, or -errno with what is wrong. */
static int add_line(struct prefix_set *set, char *line, enum prefix_verdict verdict,
		    struct fault *fault)
{
	const char *text = trim(line), *problem;
	char shown[SHOWN_BYTES];
	struct fault words;
	struct cidr cidr;
	int result;

	if (!*text)
		return 0;
	problem = cidr_parse(text, &cidr);
	if (problem) {
		fault_set_words(&words, NULL, NULL, problem);
		return fault_set(fault, NULL, NULL, "'%s' %s; %s", show(text, shown), words.reason,
				 words.remedy);
	}
	result = prefix_set_add(set, &cidr, verdict);
	if (result == -E2BIG)
		fault_set(fault, NULL, NULL, "rule %u: %d are the limit; name larger blocks",
			  set->rule_count + 1, PREFIX_SET_RULE_LIMIT);
	else if (result)
		fault_set(fault, NULL, NULL, "rule %u: %s", set->rule_count + 1, strerror(-result));
	return result;
}

static int add_lines(struct prefix_set *set, FILE *file, enum prefix_verdict verdict,
		     const char *path, const struct prefix_set_faults *faults)
{
	char line[PREFIX_SET_LINE_LIMIT + 1];
	struct fault fault;
	const char *problem;
	unsigned long number_of_line = 0;
	int result = 0;

	while (read_line(file, line, &problem) >= 0) {
		/* some editors write a byte order mark, and --config takes it too */
		bool marked = !number_of_line++ && !strncmp(line, MARK, strlen(MARK));
		int of_line = problem ? fault_set_words(&fault, NULL, NULL, problem)
				      : add_line(set, marked ? line + strlen(MARK) : line, verdict,
						 &fault);

		if (!of_line)
			continue;
		result = of_line;
		fault.kind = FAULT_OF_OBJECT;
		snprintf(fault.value, sizeof(fault.value), "%.200s:%lu", path, number_of_line);
		faults->tell(faults->listener, &fault);
		if (of_line != -EINVAL || problem == not_a_text)
			return result;
	}
	if (ferror(file))
		return errno ? -errno : -EIO;
	return result;
}

int prefix_set_add_file(struct prefix_set *set, const char *path, enum prefix_verdict verdict,
			const struct prefix_set_faults *faults)
{
	uint32_t count_before = set->rule_count;
	FILE *file = fopen(path, "re");
	int result;

	if (!file)
		return -errno;
	/* an empty file of allowed blocks lets no client in, rather than all clients */
	set->allows |= verdict == PREFIX_ALLOW;
	result = add_lines(set, file, verdict, path, faults);
	if (result)
		set->rule_count = count_before;
	fclose(file);
	return result;
}

/* Compiling ------------------------------------------------------------------------------------ */

static number number_of(const struct in6_addr *address)
{
	uint64_t high, low;

	memcpy(&high, address->s6_addr, sizeof(high));
	memcpy(&low, &address->s6_addr[8], sizeof(low));
	return (number)be64toh(high) << 64 | be64toh(low);
}

static int compare_blocks(const void *left, const void *right)
{
	const struct block *a = left, *b = right;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last > b->last ? -1 : 1;
	return a->rule < b->rule ? -1 : a->rule > b->rule;
}

/* From `first` on, the top of the stack decides. */
static void begin_range(struct sweep *sweep, number first)
{
	struct prefix_set *set = sweep->set;
	uint8_t verdict = sweep->open[sweep->depth - 1].verdict;

	/* the range before is empty if it began at the same address */
	if (set->range_count && set->firsts[set->range_count - 1] == first)
		set->range_count--;
	if (set->range_count && set->verdicts[set->range_count - 1] == verdict)
		return;
	set->firsts[set->range_count] = first;
	set->verdicts[set->range_count++] = verdict;
}

/* Closes the blocks that end before `first`. */
static void close_before(struct sweep *sweep, number first)
{
	while (sweep->depth > 1 && sweep->open[sweep->depth - 1].last < first) {
		sweep->depth--;
		begin_range(sweep, sweep->open[sweep->depth].last + 1);
	}
}

static void open_block(struct sweep *sweep, const struct block *block)
{
	/* the top has the lowest number: only lower numbers are ever pushed */
	if (block->rule > sweep->open[sweep->depth - 1].rule)
		return;
	CHECK(sweep->depth < DEPTH_LIMIT);
	sweep->open[sweep->depth++] = *block;
	begin_range(sweep, block->first);
}

static void sweep_over(struct prefix_set *set, const struct block *blocks)
{
	struct sweep sweep = {.set = set, .depth = 1};
	const number end = ~(number)0;

	/* where no rule matches */
	sweep.open[0] = (struct block){.last = end,
				       .rule = UINT32_MAX,
				       .verdict = set->allows ? PREFIX_DENY : PREFIX_ALLOW};
	begin_range(&sweep, 0);
	for (uint32_t i = 0; i < set->rule_count; i++) {
		close_before(&sweep, blocks[i].first);
		open_block(&sweep, &blocks[i]);
	}
	close_before(&sweep, end);
}

static struct block *sort_blocks(const struct prefix_set *set)
{
	struct block *blocks = calloc((size_t)set->rule_count + 1, sizeof(*blocks));

	if (!blocks)
		return NULL;
	for (uint32_t i = 0; i < set->rule_count; i++) {
		const struct rule *rule = &set->rules[i];
		number first = number_of(&rule->network);
		/* a shift by 128 would be undefined */
		number inside = rule->bits < 128 ? ~(number)0 >> rule->bits : 0;

		blocks[i] = (struct block){.first = first,
					   .last = first | inside,
					   .rule = i,
					   .verdict = rule->verdict};
	}
	qsort(blocks, set->rule_count, sizeof(*blocks), compare_blocks);
	return blocks;
}

int prefix_set_compile(struct prefix_set *set)
{
	/* a block begins one range at its first address, and another one behind its end */
	size_t range_limit = 2 * (size_t)set->rule_count + 1;
	struct block *blocks;

	CHECK(!set->range_count);
	blocks = sort_blocks(set);
	set->firsts = calloc(range_limit, sizeof(*set->firsts));
	set->verdicts = calloc(range_limit, sizeof(*set->verdicts));
	if (!blocks || !set->firsts || !set->verdicts) {
		free(blocks);
		return -ENOMEM;
	}
	sweep_over(set, blocks);
	CHECK(set->range_count <= range_limit);
	free(blocks);
	return 0;
}

/* Looking up ----------------------------------------------------------------------------------- */

enum prefix_verdict prefix_set_verdict(const struct prefix_set *set, const struct in6_addr *address)
{
	number wanted = number_of(address);
	const number *base = set->firsts;
	uint32_t count = set->range_count;

	CHECK(count);
	/* the last range that begins at or before the address; no branch depends on the address */
	while (count > 1) {
		uint32_t half = count / 2;

		base = base[half] <= wanted ? base + half : base;
		count -= half;
	}
	return (enum prefix_verdict)set->verdicts[base - set->firsts];
}

uint32_t prefix_set_rule_count(const struct prefix_set *set)
{
	return set->rule_count;
}

struct cidr prefix_set_rule(const struct prefix_set *set, uint32_t rule)
{
	CHECK(rule < set->rule_count);
	return (struct cidr){.network = set->rules[rule].network, .bits = set->rules[rule].bits};
}
