/* SPDX-License-Identifier: MIT */
#include "identity/embedded.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(embedded, .fini = support_check_leaks);

Test(embedded, rows)
{
	static const struct {
		const char *v6;
		const char *v4; /* NULL: none */
	} rows[] = {
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"::ffff:127.0.0.1", "127.0.0.1"},
		{"::ffff:0.0.0.0", NULL},
		{"::ffff:0.255.255.255", NULL},
		{"::ffff:1.0.0.0", "1.0.0.0"},
		{"::ffff:224.0.0.1", NULL},
		{"::ffff:239.255.255.255", NULL},
		{"::ffff:240.0.0.1", "240.0.0.1"},
		{"::ffff:255.255.255.255", NULL},
		{"64:ff9b::8.8.4.4", "8.8.4.4"},
		{"64:ff9b::1:808:404", NULL}, /* not within the /96 */
		{"64:ff9b:1::8.8.4.4", NULL}, /* RFC 8215: a prefix of local use */
		{"64:ff9b::10.0.0.1", NULL},
		{"2002:808:404::", "8.8.4.4"},
		{"2002:808:404:ffff:1:2:3:4", "8.8.4.4"},
		{"2002:a00:1::1", NULL},
		{"2003:808:404::", NULL},
		{"2001:db8::8.8.4.4", NULL},
		{"::8.8.4.4", NULL}, /* "IPv4-compatible", given up by RFC 4291 */
		{"::1", NULL},
		{"::", NULL},
		{"fe80::ffff:808:404", NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct in_addr v4 = {0x55555555}, untouched = v4;
		struct in6_addr v6;
		char text[INET_ADDRSTRLEN];
		bool found;

		cr_assert_eq(inet_pton(AF_INET6, rows[i].v6, &v6), 1);
		found = embedded_ipv4(&v6, &v4);
		cr_expect_eq(found, rows[i].v4 != NULL, "%s", rows[i].v6);
		if (found && rows[i].v4)
			cr_expect_str_eq(inet_ntop(AF_INET, &v4, text, sizeof(text)), rows[i].v4);
		else
			cr_expect_eq(v4.s_addr, untouched.s_addr, "%s", rows[i].v6);
	}
}

/* By the well-known prefix of NAT64. */
static bool is_taken(struct in_addr v4)
{
	struct in6_addr v6 = {.s6_addr = {0x00, 0x64, 0xff, 0x9b}};
	struct in_addr found;

	memcpy(&v6.s6_addr[12], &v4, sizeof(v4));
	return embedded_ipv4(&v6, &found);
}

/* The first and last of each special block, and their neighbours outside. */
Test(embedded, only_global_ones_by_translation)
{
	static const char *const special[][2] = {
		{"0.0.0.0", "0.255.255.255"},	    {"10.0.0.0", "10.255.255.255"},
		{"100.64.0.0", "100.127.255.255"},  {"127.0.0.0", "127.255.255.255"},
		{"169.254.0.0", "169.254.255.255"}, {"172.16.0.0", "172.31.255.255"},
		{"192.0.0.0", "192.0.0.255"},	    {"192.0.2.0", "192.0.2.255"},
		{"192.88.99.0", "192.88.99.255"},   {"192.168.0.0", "192.168.255.255"},
		{"198.18.0.0", "198.19.255.255"},   {"198.51.100.0", "198.51.100.255"},
		{"203.0.113.0", "203.0.113.255"},   {"224.0.0.0", "255.255.255.255"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(special); i++) {
		struct in_addr first, last;

		cr_assert(inet_pton(AF_INET, special[i][0], &first) == 1 &&
			  inet_pton(AF_INET, special[i][1], &last) == 1);
		cr_expect_not(is_taken(first), "%s", special[i][0]);
		cr_expect_not(is_taken(last), "%s", special[i][1]);
		first.s_addr = htonl(ntohl(first.s_addr) - 1);
		last.s_addr = htonl(ntohl(last.s_addr) + 1);
		if (first.s_addr != INADDR_NONE)
			cr_expect(is_taken(first), "before %s", special[i][0]);
		if (last.s_addr)
			cr_expect(is_taken(last), "after %s", special[i][1]);
	}
}
