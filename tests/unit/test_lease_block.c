/* SPDX-License-Identifier: MIT */
#include "identity/lease_block.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(lease_block, .fini = support_check_leaks);

static const uint8_t key[SIPHASH_KEY_BYTES] = "a key for tests";

static uint32_t v4(const char *text)
{
	struct in_addr address;

	cr_assert_eq(inet_pton(AF_INET, text, &address), 1);
	return ntohl(address.s_addr);
}

static int init(struct lease_block *block, const char *text, struct fault *fault)
{
	struct cidr cidr;

	cr_assert_null(cidr_parse(text, &cidr));
	return lease_block_init(block, &cidr, key, fault);
}

static struct in6_addr make_prefix(uint64_t number)
{
	struct in6_addr prefix = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8}};

	for (unsigned i = 0; i < 4; i++)
		prefix.s6_addr[4 + i] = (uint8_t)(number >> 8 * (3 - i));
	return prefix;
}

Test(lease_block, blocks)
{
	static const struct {
		const char *block;
		bool taken;
	} rows[] = {
		{"240.0.0.0/4", true},	 {"127.64.0.0/10", true},    {"100.64.0.0/10", true},
		{"198.18.0.0/15", true}, {"10.0.0.0/8", true},	     {"0.0.0.0/0", true},
		{"127.0.0.0/8", true},	 {"169.254.0.0/16", true},   {"169.254.7.0/24", true},
		{"192.0.2.4/30", true},	 {"192.0.2.0/30", true},     {"192.0.2.252/30", true},
		{"192.0.2.4/31", false}, {"192.0.2.4/32", false},    {"0.0.0.0/8", false},
		{"0.1.0.0/16", false},	 {"224.0.0.0/4", false},     {"239.1.0.0/30", false},
		{"127.0.0.0/24", false}, {"127.0.0.64/26", false},   {"127.255.255.0/24", false},
		{"127.0.0.0/23", true},	 {"127.255.254.0/23", true}, {"224.0.0.0/3", true},
		{"0.0.0.0/7", true},	 {"255.255.255.0/24", true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct lease_block block;
		int result = init(&block, rows[i].block, &fault);

		cr_expect_eq(!result, rows[i].taken, "%s: %s", rows[i].block, support_text(&fault));
		cr_expect_eq(*support_text(&fault) == '\0', rows[i].taken);
		cr_expect(rows[i].taken || strstr(support_text(&fault), "; give "), "%s: %s",
			  rows[i].block, support_text(&fault));
	}
}

Test(lease_block, usable)
{
	static const struct {
		const char *block;
		const char *address;
		bool usable;
	} rows[] = {
		{"240.0.0.0/4", "240.0.0.1", true},	  {"240.0.0.0/4", "240.0.0.0", false},
		{"240.0.0.0/4", "250.1.2.0", false},	  {"240.0.0.0/4", "250.1.2.255", false},
		{"240.0.0.0/4", "255.255.255.254", true}, {"240.0.0.0/4", "255.255.255.255", false},
		{"240.0.0.0/4", "239.1.1.1", false},	  {"127.64.0.0/10", "127.64.0.1", true},
		{"127.64.0.0/10", "127.128.0.1", false},  {"127.0.0.0/8", "127.0.0.9", false},
		{"127.0.0.0/8", "127.0.1.9", true},	  {"127.0.0.0/8", "127.255.255.9", false},
		{"0.0.0.0/0", "0.1.2.3", false},	  {"0.0.0.0/0", "1.1.2.3", true},
		{"0.0.0.0/0", "230.1.2.3", false},	  {"0.0.0.0/0", "169.254.2.3", false},
		{"169.0.0.0/8", "169.254.2.3", false},	  {"169.254.0.0/15", "169.254.2.3", false},
		{"169.254.0.0/15", "169.255.2.3", true},  {"169.254.0.0/16", "169.254.2.3", true},
		{"169.254.2.0/30", "169.254.2.2", true},  {"10.1.2.16/28", "10.1.2.16", false},
		{"10.1.2.16/28", "10.1.2.31", false},	  {"10.1.2.16/28", "10.1.2.30", true},
		{"10.1.2.16/28", "10.1.2.32", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct lease_block block;

		cr_assert_eq(init(&block, rows[i].block, &fault), 0);
		cr_expect_eq(lease_block_is_usable(&block, v4(rows[i].address)), rows[i].usable,
			     "%s of %s", rows[i].address, rows[i].block);
	}
}

/* All candidates are usable and the same each time; all are in the region of the first. */
Test(lease_block, candidates)
{
	static const char *const blocks[] = {"240.0.0.0/4",   "127.0.0.0/8",  "0.0.0.0/0",
					     "198.18.0.0/15", "10.9.8.0/24",  "10.9.8.16/28",
					     "10.9.8.4/30",   "127.0.0.0/23", "224.0.0.0/3"};

	for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
		struct fault fault = {0};
		struct lease_block block;

		cr_assert_eq(init(&block, blocks[i], &fault), 0);
		for (uint64_t client = 0; client < 300; client++) {
			struct in6_addr prefix = make_prefix(client);
			struct lease_draw draw, again;
			uint32_t address, same;
			unsigned count = 0;

			lease_draw_init(&draw, &block, &prefix);
			lease_draw_init(&again, &block, &prefix);
			for (; lease_draw_next(&draw, &address); count++) {
				cr_assert(lease_draw_next(&again, &same) && same == address);
				cr_assert(lease_block_is_usable(&block, address));
				cr_assert_eq(lease_block_region(&block, address),
					     lease_block_region(&block, draw.first));
				cr_assert_lt(lease_block_region(&block, address),
					     lease_block_region_count(&block));
			}
			cr_assert_eq(count, LEASE_CANDIDATES, "%s", blocks[i]);
		}
	}
}

/* Candidates that all versions must draw; computed by another program. */
Test(lease_block, known_candidates)
{
	static const char *const expected[] = {"248.143.213.188", "248.143.201.98",
					       "248.143.198.62", "248.143.220.51"};
	struct in6_addr prefix = make_prefix(7);
	struct fault fault = {0};
	struct lease_block block;
	struct lease_draw draw;
	uint32_t address;

	cr_assert_eq(init(&block, "240.0.0.0/4", &fault), 0);
	lease_draw_init(&draw, &block, &prefix);
	for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
		struct in_addr found;
		char text[INET_ADDRSTRLEN];

		cr_assert(lease_draw_next(&draw, &address));
		found.s_addr = htonl(address);
		cr_expect_str_eq(inet_ntop(AF_INET, &found, text, sizeof(text)), expected[i]);
	}
}

/*
 * Chi-squared over 240 cells, of the first candidates and of the seconds within their regions; with
 * 239 degrees of freedom a fair draw exceeds 330 once in 10,000 times, and this one is fixed.
 */
Test(lease_block, candidates_are_uniform)
{
	enum { CELLS = 240, CLIENTS = 240000 };
	static unsigned first[CELLS], second[CELLS];
	struct fault fault = {0};
	double chi_first = 0, chi_second = 0;
	const double mean = (double)CLIENTS / CELLS;
	struct lease_block block;

	cr_assert_eq(init(&block, "240.0.0.0/4", &fault), 0);
	for (uint64_t client = 0; client < CLIENTS; client++) {
		struct in6_addr prefix = make_prefix(client);
		struct lease_draw draw;
		uint32_t address;

		lease_draw_init(&draw, &block, &prefix);
		cr_assert(lease_draw_next(&draw, &address));
		first[(uint64_t)(address - block.network) * CELLS >> 28]++;
		cr_assert(lease_draw_next(&draw, &address));
		second[(uint64_t)(address & ((1U << block.region_bits) - 1)) * CELLS >>
		       block.region_bits]++;
	}
	for (unsigned i = 0; i < CELLS; i++) {
		chi_first += (first[i] - mean) * (first[i] - mean) / mean;
		chi_second += (second[i] - mean) * (second[i] - mean) / mean;
	}
	cr_expect_lt(chi_first, 330);
	cr_expect_lt(chi_second, 400); /* .0 and .255 are left out: cells differ by 3 % */
	cr_expect_gt(chi_first, 160);
}
