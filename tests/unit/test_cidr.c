/* SPDX-License-Identifier: MIT */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(cidr, .fini = support_check_leaks);

Test(cidr, valid)
{
	static const struct {
		const char *text;
		const char *printed; /* NULL: as `text` */
		unsigned bits;
	} rows[] = {
		{"::/0", NULL, 0},
		{"2001:db8::/32", NULL, 32},
		{"2001:DB8:0:0::/33", "2001:db8::/33", 33},
		{"2001:db8::1", NULL, 128},
		{"2001:db8::1/128", "2001:db8::1", 128},
		{"0.0.0.0/0", NULL, 96},
		{"192.0.2.0/24", NULL, 120},
		{"192.0.2.128/25", NULL, 121},
		{"192.0.2.1", NULL, 128},
		{"192.0.2.1/32", "192.0.2.1", 128},
		{"::ffff:192.0.2.0/120", "192.0.2.0/24", 120},
		{"::ffff:0:0/96", "0.0.0.0/0", 96},
		{"::/95", NULL, 95},
	};
	char text[CIDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cidr cidr;
		const char *problem = cidr_parse(rows[i].text, &cidr);

		cr_expect_null(problem, "%s: %s", rows[i].text, problem);
		if (problem)
			continue;
		cr_expect_eq(cidr.bits, rows[i].bits, "%s", rows[i].text);
		cr_expect_str_eq(cidr_print(&cidr, text),
				 rows[i].printed ? rows[i].printed : rows[i].text);
	}
}

Test(cidr, invalid)
{
	static const struct {
		const char *text;
		const char *says;
	} rows[] = {
		{"", "not an address block"},	     {"/8", "not an address block"},
		{"name/8", "not an address block"},  {"[::1]/128", "not an address block"},
		{"1.2.3/8", "not an address block"}, {"10.0.0.0/", "no number"},
		{"10.0.0.0/-1", "no number"},	     {"10.0.0.0/8/8", "no number"},
		{"10.0.0.0/33", "0 to 32"},	     {"::/129", "0 to 128"},
		{"10.0.0.1/8", "bits set behind"},   {"2001:db8::1/64", "bits set behind"},
		{"::ffff:0.0.0.0/90", "bits set"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cidr cidr;
		const char *problem = cidr_parse(rows[i].text, &cidr);

		cr_expect(problem && strstr(problem, rows[i].says), "%s: %s", rows[i].text,
			  problem ? problem : "accepted");
	}
}

Test(cidr, contains)
{
	static const struct {
		const char *block;
		const char *endpoint;
		bool inside;
	} rows[] = {
		{"::/0", "[2001:db8::1]:1", true},
		{"::/0", "192.0.2.1:1", true},
		{"0.0.0.0/0", "192.0.2.1:1", true},
		{"0.0.0.0/0", "[::ffff:192.0.2.1]:1", true},
		{"0.0.0.0/0", "[2001:db8::1]:1", false},
		{"2001:db8::/33", "[2001:db8:7fff::1]:1", true},
		{"2001:db8::/33", "[2001:db8:8000::1]:1", false},
		{"192.0.2.128/25", "192.0.2.127:1", false},
		{"192.0.2.128/25", "192.0.2.255:1", true},
		{"2001:db8::1", "[2001:db8::1]:7", true},
		{"2001:db8::1", "[2001:db8::2]:7", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct in6_addr address;
		struct addr endpoint;
		struct cidr cidr;

		cr_assert_null(cidr_parse(rows[i].block, &cidr));
		cr_assert_null(addr_parse(rows[i].endpoint, &endpoint));
		address = cidr_address_of(&endpoint);
		cr_expect_eq(cidr_contains(&cidr, &address), rows[i].inside, "%s in %s",
			     rows[i].endpoint, rows[i].block);
	}
}

Test(cidr, clients)
{
	static const struct {
		const char *address, *client;
	} rows[] = {
		{"[2001:db8:1:2:3::4]:1", "2001:db8:1:2::/64"},
		{"192.0.2.1:1", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1"},
		{"[::1]:1", "::1"},
		{"[64:ff9b::808:808]:1", "64:ff9b::808:808"},
		{"[64:ff9b:0:0:0:1::]:1", "64:ff9b::/64"},
		{"[fe80::1]:1", "fe80::1"},
		{"[fe80:0:0:1::1]:1", "fe80:0:0:1::/64"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char text[CIDR_TEXT_BYTES];
		struct in6_addr address;
		struct addr endpoint;
		struct cidr client;

		cr_assert_null(addr_parse(rows[i].address, &endpoint));
		address = cidr_address_of(&endpoint);
		client = cidr_client_of(&address, 64);
		cr_expect_str_eq(cidr_print(&client, text), rows[i].client);
	}
}

Test(cidr, parts)
{
	static const struct addr none;
	struct in6_addr address = cidr_address_of(&none);
	struct addr endpoint;

	cr_expect(IN6_IS_ADDR_UNSPECIFIED(&address));
	cr_assert_null(addr_parse("192.0.2.1:1", &endpoint));
	address = cidr_address_of(&endpoint);
	cr_expect_eq(cidr_v4_of(&address), 0xc0000201);
}

/* Only a block of a single link-local address can have a link. */
Test(cidr, links)
{
	static const struct {
		const char *endpoint;
		const char *on_link;
		const char *on_all_links;
	} rows[] = {
		{"[fe80::53%3]:80", "fe80::53%3", "fe80::53"},
		{"[fe80::53%4294967295]:80", "fe80::53%4294967295", "fe80::53"},
		{"[fe80::53]:80", "fe80::53", "fe80::53"},
		{"[2001:db8::53%3]:80", "2001:db8::53", "2001:db8::53"},
		{"192.0.2.1:80", "192.0.2.1", "192.0.2.1"},
	};
	struct addr elsewhere;

	cr_assert_null(addr_parse("[fe80::53%4]:80", &elsewhere));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cidr block = {.bits = 128}, all;
		char text[CIDR_TEXT_BYTES];
		struct addr endpoint;

		cr_assert_null(addr_parse(rows[i].endpoint, &endpoint));
		block.network = cidr_address_on_link(&endpoint);
		all = cidr_on_all_links(&block);
		cr_expect_str_eq(cidr_print_on_link(&block, text), rows[i].on_link);
		cr_expect_str_eq(cidr_print_on_link(&all, text), rows[i].on_all_links);
		cr_expect(cidr_means(&block, &endpoint), "%s", rows[i].endpoint);
		cr_expect(cidr_means(&all, &endpoint), "%s", rows[i].endpoint);
		cr_expect_eq(cidr_means(&block, &elsewhere), i == 2, "%s", rows[i].endpoint);
	}
}
