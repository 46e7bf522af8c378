/* SPDX-License-Identifier: MIT */
#include "base/addr.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/util.h"
#include "support.h"

TestSuite(addr, .fini = support_check_leaks);

struct valid_row {
	const char *text;
	const char *printed; /* NULL: as `text` */
	unsigned port;
	int family;
};

Test(addr, valid)
{
	static const struct valid_row rows[] = {
		{"[::]:2000", NULL, 2000, AF_INET6},
		{"[::1]:0", NULL, 0, AF_INET6},
		{"[2001:db8::1]:65535", NULL, 65535, AF_INET6},
		{"[2001:DB8::DEAD]:80", "[2001:db8::dead]:80", 80, AF_INET6},
		{"[2001:db8:0:0:0:0:0:1]:80", "[2001:db8::1]:80", 80, AF_INET6},
		{"[2001:0db8:0001::]:080", "[2001:db8:1::]:80", 80, AF_INET6},
		/* RFC 5952: the longest run of zeros, the first of equals, never a single one */
		{"[2001:0:0:1:0:0:0:1]:1", "[2001:0:0:1::1]:1", 1, AF_INET6},
		{"[2001:db8:0:0:1:0:0:1]:1", "[2001:db8::1:0:0:1]:1", 1, AF_INET6},
		{"[2001:db8:0:1:1:1:1:1]:1", NULL, 1, AF_INET6},
		{"[::ffff:192.0.2.1]:80", NULL, 80, AF_INET6},
		{"[::ffff:c000:201]:80", "[::ffff:192.0.2.1]:80", 80, AF_INET6},
		{"[fe80::1%4294967295]:80", NULL, 80, AF_INET6},
		{"0.0.0.0:2000", NULL, 2000, AF_INET},
		{"127.0.0.1:0", NULL, 0, AF_INET},
		{"192.0.2.1:65535", NULL, 65535, AF_INET},
		{"255.255.255.255:00080", "255.255.255.255:80", 80, AF_INET},
	};
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct valid_row *row = &rows[i];
		struct addr address;
		const char *problem = addr_parse(row->text, &address);

		cr_expect_null(problem, "%s: %s", row->text, problem);
		if (problem)
			continue;
		cr_expect_eq(addr_print(&address, text), text);
		cr_expect_str_eq(text, row->printed ? row->printed : row->text, "%s became %s",
				 row->text, text);
		cr_expect_eq(addr_port(&address), row->port, "%s", row->text);
		cr_expect_eq(address.any.sa_family, row->family, "%s", row->text);
		cr_expect_eq(address.length_bytes, row->family == AF_INET
							   ? sizeof(struct sockaddr_in)
							   : sizeof(struct sockaddr_in6));
	}
}

struct invalid_row {
	const char *text;
	const char *reason; /* a part of it */
};

Test(addr, invalid)
{
	static const struct invalid_row rows[] = {
		{"", "is empty"},
		{"[", "closing ']'"},
		{"[::1", "closing ']'"},
		{"[::1:80", "closing ']'"},
		{"[::1]", "has no port"},
		{"[::1]80", "has no port"},
		{"[::1] :80", "has no port"},
		{"[::1]:", "no port after"},
		{"[]:80", "IPv6 address between the brackets"},
		{"[::1 ]:80", "IPv6 address between the brackets"},
		{"[1.2.3.4]:80", "IPv6 address between the brackets"},
		{"[::g]:80", "IPv6 address between the brackets"},
		{"[1:2:3:4:5:6:7:8:9]:80", "IPv6 address between the brackets"},
		{"[::1::2]:80", "IPv6 address between the brackets"},
		{"[00001::]:80", "IPv6 address between the brackets"},
		{"[%lo]:80", "IPv6 address between the brackets"},
		{"[fe80::1%]:80", "names an interface"},
		{"[fe80::1%0]:80", "names an interface"},
		{"[fe80::1%4294967296]:80", "names an interface"},
		{"[fe80::1%no-such-if]:80", "names an interface"},
		{"[1111:2222:3333:4444:5555:6666:7777:8888"
		 "111111111111111111111111111111111111111111]:1",
		 "too long"},
		{"[::1]:http", "not a number"},
		{"[::1]:80x", "not a number"},
		{"[::1]: 80", "not a number"},
		{"[::1]:-1", "not a number"},
		{"[::1]:65536", "above 65535"},
		{"[::1]:4294967376", "above 65535"},
		{"::1:80", "without brackets"},
		{"2001:db8::1", "without brackets"},
		{":80", "no address before"},
		{"127.0.0.1", "has no port"},
		{"127.0.0.1:", "no port after"},
		{"127.0.0.1:65536", "above 65535"},
		{"127.0.0.1:x", "not a number"},
		{"127.0.0:80", "not an IPv4 address"},
		{"127.0.0.256:80", "not an IPv4 address"},
		{"127.0.0.1.2:80", "not an IPv4 address"},
		{" 127.0.0.1:80", "not an IPv4 address"},
		{"0127.0.0.1:80", "not an IPv4 address"},
		{"localhost:80", "names are not looked up"},
		{"a-name-that-is-longer-than-any-address.example:80", "names are not looked up"},
		{"*:80", "not an IPv4 address"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address;
		const char *problem = addr_parse(rows[i].text, &address);

		cr_expect_not_null(problem, "'%s' was accepted", rows[i].text);
		if (problem)
			cr_expect_not_null(strstr(problem, rows[i].reason), "'%s': %s",
					   rows[i].text, problem);
	}
}

struct listen_row {
	const char *text;
	const char *reason; /* part of the reason; NULL: the text is an endpoint */
};

Test(addr, why_not_endpoint)
{
	static const struct listen_row rows[] = {
		{"[::]:80", NULL},
		{"[::1]:80", NULL},
		{"[2001:db8::1]:80", NULL},
		{"[fe80::1%1]:80", NULL},
		{"0.0.0.0:80", NULL},
		{"127.0.0.1:80", NULL},
		{"[::ffff:127.0.0.1]:80", "IPv4 address in IPv6 form"},
		{"[fe80::1]:80", "needs its interface"},
		{"[ff02::1%1]:80", "many hosts"},
		{"224.0.0.1:80", "many hosts"},
		{"239.255.255.255:80", "many hosts"},
		{"240.0.0.1:80", NULL},
		{"255.255.255.255:80", "many hosts"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address;
		const char *problem;

		cr_assert_null(addr_parse(rows[i].text, &address));
		problem = addr_why_not_endpoint(&address);
		if (rows[i].reason)
			cr_expect(problem && strstr(problem, rows[i].reason), "%s: %s",
				  rows[i].text, problem);
		else
			cr_expect_null(problem, "%s: %s", rows[i].text, problem);
	}
}

Test(addr, wildcards)
{
	static const struct {
		const char *text;
		bool wildcard, v6;
	} rows[] = {
		{"[::]:0", true, true},	      {"[::]:80", true, true},
		{"0.0.0.0:80", true, false},  {"[::1]:80", false, false},
		{"0.0.0.1:80", false, false}, {"127.0.0.1:0", false, false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address;

		cr_assert_null(addr_parse(rows[i].text, &address));
		cr_expect_eq(addr_is_wildcard(&address), rows[i].wildcard, "%s", rows[i].text);
		cr_expect_eq(addr_is_v6_wildcard(&address), rows[i].v6, "%s", rows[i].text);
	}
}

struct loopback_row {
	const char *text;
	bool loopback;
};

Test(addr, loopback)
{
	static const struct loopback_row rows[] = {
		{"127.0.0.1:80", true},
		{"127.255.255.254:80", true},
		{"[::1]:80", true},
		{"128.0.0.1:80", false},
		{"126.255.255.255:80", false},
		{"0.0.0.0:80", false},
		{"1.0.0.127:80", false},
		{"[::]:80", false},
		{"[::2]:80", false},
		{"[2001:db8::1]:80", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address;

		cr_assert_null(addr_parse(rows[i].text, &address));
		cr_expect_eq(addr_is_loopback(&address), rows[i].loopback, "%s", rows[i].text);
	}
}

Test(addr, scope_by_name)
{
	char text[ADDR_TEXT_BYTES], expected[ADDR_TEXT_BYTES];
	unsigned index = if_nametoindex("lo");
	struct addr address;

	if (!index)
		cr_skip_test("this host has no interface 'lo'");
	cr_assert_null(addr_parse("[fe80::1%lo]:80", &address));
	cr_assert_eq(address.v6.sin6_scope_id, index);
	snprintf(expected, sizeof(expected), "[fe80::1%%%u]:80", index);
	cr_assert_str_eq(addr_print(&address, text), expected);
}

/*
 * Every address fits into ADDR_TEXT_BYTES when printed, and reading the text gives the same
 * address.
 */
Test(addr, printed_addresses_are_read_back)
{
	uint64_t state = 7;

	for (unsigned i = 0; i < 20000; i++) {
		struct addr address = {0}, back;
		char text[ADDR_TEXT_BYTES];
		uint64_t words[2] = {support_random(&state), support_random(&state)};
		uint64_t more = support_random(&state);

		if (i % 3 == 0) {
			address.length_bytes = sizeof(address.v4);
			address.v4.sin_family = AF_INET;
			address.v4.sin_addr.s_addr = (uint32_t)words[0];
		} else {
			/* runs of zeros are the hard case of printing */
			words[0] &= more & 1 ? 0xffff0000ffffULL : UINT64_MAX;
			words[1] &= more & 2 ? 0xffff0000ULL : UINT64_MAX;
			address.length_bytes = sizeof(address.v6);
			address.v6.sin6_family = AF_INET6;
			memcpy(&address.v6.sin6_addr, words, sizeof(words));
			address.v6.sin6_scope_id = more & 4 ? (uint32_t)(more >> 32) : 0;
		}
		addr_set_port(&address, (unsigned)(more >> 8 & 0xffff));
		addr_print(&address, text);
		cr_assert_lt(strlen(text), ADDR_TEXT_BYTES - 1);
		cr_assert_null(addr_parse(text, &back), "%s", text);
		cr_assert(addr_equal(&address, &back), "%s", text);
		cr_assert_eq(addr_port(&back), more >> 8 & 0xffff, "%s", text);
	}
}

Test(addr, none_is_printed_as_a_dash)
{
	struct sockaddr_storage storage = {.ss_family = AF_NETLINK};
	char text[ADDR_TEXT_BYTES];
	struct addr address;

	memset(&address, 0xff, sizeof(address));
	addr_from_sockaddr(&address, &storage);
	cr_expect_eq(address.length_bytes, 0);
	cr_expect_str_eq(addr_print(&address, text), "-");
	storage.ss_family = AF_UNSPEC;
	addr_from_sockaddr(&address, &storage);
	cr_expect_str_eq(addr_print(&address, text), "-");
}

Test(addr, from_sockaddr)
{
	static const char *const rows[] = {"[2001:db8::7%3]:51234", "192.0.2.1:80"};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct sockaddr_storage storage = {0};
		struct addr address, copy;

		cr_assert_null(addr_parse(rows[i], &address));
		memcpy(&storage, &address.any, address.length_bytes);
		addr_from_sockaddr(&copy, &storage);
		cr_expect(addr_equal(&address, &copy), "%s", rows[i]);
	}
}

/* A socket for both families shows its IPv4 peers as IPv4-mapped addresses. */
Test(addr, from_an_ipv4_mapped_sockaddr)
{
	struct sockaddr_storage storage = {0};
	struct addr address, copy;
	char text[ADDR_TEXT_BYTES];

	cr_assert_null(addr_parse("[::ffff:192.0.2.1]:8080", &address));
	memcpy(&storage, &address.any, address.length_bytes);
	addr_from_sockaddr(&copy, &storage);
	cr_expect_str_eq(addr_print(&copy, text), "192.0.2.1:8080");
	cr_expect_eq(copy.any.sa_family, AF_INET);
	cr_expect_eq(copy.length_bytes, sizeof(copy.v4));
}

struct equal_row {
	const char *a, *b;
	bool equal;
};

Test(addr, equal)
{
	static const struct equal_row rows[] = {
		{"[::1]:80", "[0:0:0:0:0:0:0:1]:80", true},
		{"[::1]:80", "[::1]:81", false},
		{"[::1]:80", "[::2]:80", false},
		{"[fe80::1%1]:80", "[fe80::1%1]:80", true},
		{"[fe80::1%1]:80", "[fe80::1%2]:80", false},
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr a, b;

		cr_assert_null(addr_parse(rows[i].a, &a));
		cr_assert_null(addr_parse(rows[i].b, &b));
		cr_expect_eq(addr_equal(&a, &b), rows[i].equal, "%s and %s", rows[i].a, rows[i].b);
		cr_expect_eq(addr_equal(&b, &a), rows[i].equal, "%s and %s", rows[i].b, rows[i].a);
	}
}

static void set_port_too_high(void *address)
{
	addr_set_port(address, 65536);
}

Test(addr, a_port_above_65535_is_a_programming_error)
{
	struct addr address;

	cr_assert_null(addr_parse("[::1]:80", &address));
	cr_assert(support_aborts(set_port_too_high, &address));
}

#define TEN "0123456789"

struct local_row {
	const char *text;
	size_t length;
	socklen_t name_bytes; /* 0: refused */
};

Test(addr, local_sockets)
{
	static const char longest[] = "unix:/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "0123456";
	static const struct local_row rows[] = {
		{"unix:/run/x", 11, 2 + 6 + 1},
		{"unix:@name", 10, 2 + 5},
		{"unix:/a b=c", 7, 2 + 2 + 1},
		{"unix:@a", 7, 2 + 2},
		{longest, 112, 2 + 107 + 1},
		{longest, 113, 0},
		{"unix:", 5, 0},
		{"unix:/", 6, 0},
		{"unix:@", 6, 0},
		{"unix:run/x", 10, 0},
		{"unix:name", 9, 0},
		{"unix", 4, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct sockaddr_un name;
		struct addr address, copy;
		char text[ADDR_TEXT_BYTES];
		socklen_t bytes;
		const char *problem =
			addr_parse_local(rows[i].text, rows[i].length, &name, &address);

		cr_expect_eq(!problem, rows[i].name_bytes > 0, "row %zu", i);
		if (problem)
			continue;
		cr_expect(addr_is_local(&address));
		cr_expect_eq((const void *)addr_sockaddr(&address, &bytes), &name);
		cr_expect_eq(bytes, rows[i].name_bytes, "row %zu: %u", i, bytes);
		addr_print(&address, text);
		cr_expect_eq(strlen(text), rows[i].length, "%s", text);
		cr_expect_eq(strncmp(text, rows[i].text, rows[i].length), 0, "%s", text);
		cr_expect_eq(addr_port(&address), 0);
		addr_set_port(&address, 80);
		cr_expect(!addr_is_loopback(&address));
		copy = address;
		cr_expect(addr_equal(&address, &copy));
	}
}

Test(addr, a_local_peer_has_no_name)
{
	struct sockaddr_storage storage = {.ss_family = AF_UNIX};
	struct sockaddr_un name;
	struct addr peer, named;
	char text[ADDR_TEXT_BYTES];

	addr_from_sockaddr(&peer, &storage);
	cr_expect(addr_is_local(&peer));
	cr_expect_str_eq(addr_print(&peer, text), "unix");
	cr_assert_null(addr_parse_local("unix:@x", 7, &name, &named));
	cr_expect(!addr_equal(&peer, &named));
	cr_expect(addr_equal(&peer, &peer), "nothing tells two without a name apart");
}
