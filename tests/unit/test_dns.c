/* SPDX-License-Identifier: MIT */
#include "config/dns.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(dns, .fini = support_check_leaks);

#define TEN    "aaaaaaaaaa"
#define LABEL  TEN TEN TEN TEN TEN TEN "aaa" /* 63 */
#define LABELS LABEL "." LABEL "." LABEL "." /* 192 */

Test(dns, names)
{
	static const struct {
		const char *name;
		const char *says; /* NULL: it is one */
	} rows[] = {
		{"a", NULL},
		{"localhost", NULL},
		{"Backend-1.example.COM", NULL},
		{"my_service", NULL},
		{"_http._tcp.example", NULL},
		{"a.example.", NULL},
		{"1.2.3.a", NULL},
		{"0x7f.a1", NULL},
		{LABEL ".a", NULL},
		{LABELS LABEL, "too long"},
		{LABELS TEN TEN TEN TEN TEN TEN "a", NULL}, /* 253 */
		{LABELS TEN TEN TEN TEN TEN TEN "a.", NULL},
		{LABELS TEN TEN TEN TEN TEN TEN "aa", "253"},
		{"", "empty"},
		{".", "empty"},
		{"..", "two dots"},
		{".a", "begins with one"},
		{"a..b", "two dots"},
		{"a..", "two dots"},
		{LABEL "a.b", "63"},
		{"-a.b", "'-'"},
		{"a-.b", "'-'"},
		{"a b", "letters"},
		{"a:80", "letters"},
		{"a/b", "letters"},
		{"a\n", "letters"},
		{"b\xc3\xbc"
		 "cher.example",
		 "letters"},
		{"[::1]", "letters"},
		{"192.0.2.1", "number"},
		{"192.0.2", "number"},
		{"1", "number"},
		{"a.1.", "number"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *problem = dns_why_not_name(rows[i].name);

		if (!rows[i].says)
			cr_expect_null(problem, "'%s' %s", rows[i].name, problem);
		else
			cr_expect(problem && strstr(problem, rows[i].says), "'%s' %s", rows[i].name,
				  problem ? problem : "is one");
	}
}

Test(dns, servers)
{
	static const struct {
		const char *text;
		const char *printed;
	} rows[] = {
		{"192.0.2.53", "192.0.2.53:53"},
		{"192.0.2.53:5353", "192.0.2.53:5353"},
		{"2001:db8::53", "[2001:db8::53]:53"},
		{"[2001:db8::53]", "[2001:db8::53]:53"},
		{"[2001:db8::53]:5353", "[2001:db8::53]:5353"},
		{"::1,127.0.0.1", "[::1]:53 127.0.0.1:53"},
		{"fe80::53%lo", "[fe80::53%1]:53"},
		{"[fe80::53%1]", "[fe80::53%1]:53"},
		{"[fe80::53%1]:5353", "[fe80::53%1]:5353"},
		{" 1.1.1.1, 1.1.1.2 ", "1.1.1.1:53 1.1.1.2:53"},
		{"1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8",
		 "1.1.1.1:53 1.1.1.2:53 1.1.1.3:53 1.1.1.4:53 1.1.1.5:53 1.1.1.6:53 1.1.1.7:53 "
		 "1.1.1.8:53"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr servers[DNS_SERVERS_MOST];
		char item[ADDR_TEXT_BYTES], one[ADDR_TEXT_BYTES], printed[512] = "";
		unsigned count;
		const char *problem = dns_parse_servers(rows[i].text, servers, &count, item);

		cr_assert_null(problem, "%s: '%s' %s", rows[i].text, item, problem);
		for (unsigned j = 0; j < count; j++) {
			strcat(printed, j ? " " : "");
			strcat(printed, addr_print(&servers[j], one));
		}
		cr_expect_str_eq(printed, rows[i].printed);
	}
}

Test(dns, not_servers)
{
	static const struct {
		const char *text;
		const char *item;
		const char *says;
	} rows[] = {
		{"", "", "empty"},
		{"1.1.1.1,", "", "empty"},
		{",1.1.1.1", "", "empty"},
		{"1.1.1.1,dns.example", "dns.example", "not an address"},
		{"1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2", "not an address"},
		{"1.1.1.1:", "1.1.1.1:", "not an address"},
		{"1.1.1.1:0", "1.1.1.1:0", "port 0"},
		{"1.1.1.1:65536", "1.1.1.1:65536", "not an address"},
		{"[::1", "[::1", "not an address"},
		{"fe80::1", "fe80::1", "needs its interface"},
		{"fe80::1%nosuch0", "fe80::1%nosuch0", "does not have"},
		{"[fe80::1%nosuch0]:53", "[fe80::1%nosuch0]:53", "does not have"},
		{"[2001:db8::1%1]:53", "[2001:db8::1%1]:53", "only a link-local address"},
		{"fe80:1::1%1", "fe80:1::1%1", "fe80::/64"},
		{"1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9",
		 "1.1.1.9", "too many"},
		{"1.1.1.1:00000000000000000000000000000000000000000000000000000000000000000000000000"
		 "00000000000000000000000000000000000000000000000000000000000000000000000000"
		 "0000053",
		 NULL, "too long"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr servers[DNS_SERVERS_MOST];
		char item[ADDR_TEXT_BYTES];
		unsigned count;
		const char *problem = dns_parse_servers(rows[i].text, servers, &count, item);

		cr_expect(problem && strstr(problem, rows[i].says), "%s: %s", rows[i].text,
			  problem ? problem : "accepted");
		if (rows[i].item)
			cr_expect_str_eq(item, rows[i].item);
	}
}

Test(dns, lines_of_resolv_conf)
{
	static const struct {
		const char *line;
		const char *printed; /* NULL: none is named */
		const char *says;
	} rows[] = {
		{"nameserver 192.0.2.53\n", "192.0.2.53:53", NULL},
		{"nameserver\t 2001:db8::53 # comment\r\n", "[2001:db8::53]:53", NULL},
		{"nameserver fe80::53%lo", "[fe80::53%1]:53", NULL},
		{"nameserver fe80::53\n", "fe80::53", "needs its interface"},
		{"nameserver fe80::53%nosuch0\n", "fe80::53%nosuch0", "does not have"},
		{"nameserver dns.example\n", "dns.example", "not an address"},
		{"nameserver\n", "", "empty"},
		{"# nameserver 192.0.2.53\n", NULL, NULL},
		{"nameservers 192.0.2.53\n", NULL, NULL},
		{"search example\n", NULL, NULL},
		{"", NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char item[ADDR_TEXT_BYTES], printed[ADDR_TEXT_BYTES];
		const char *problem = NULL;
		struct addr server;
		bool named = dns_parse_nameserver(rows[i].line, &server, item, &problem);

		cr_expect_eq(named, rows[i].printed != NULL, "row %zu", i);
		if (!named)
			continue;
		cr_expect_str_eq(problem ? item : addr_print(&server, printed), rows[i].printed);
		cr_expect_eq(problem != NULL, rows[i].says != NULL, "row %zu: %s", i, problem);
		if (problem && rows[i].says)
			cr_expect(strstr(problem, rows[i].says), "row %zu: %s", i, problem);
	}
}
