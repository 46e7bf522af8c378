/* SPDX-License-Identifier: MIT */
#include "admin/admin_request.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(admin_request, .fini = support_check_leaks);

Test(admin_request, who)
{
	static const struct {
		const char *text;
		const char *block;
		bool is_block;
		unsigned port;
	} rows[] = {
		{"240.1.2.3", "240.1.2.3", false, 0},
		{"240.1.2.3:41234", "240.1.2.3", false, 41234},
		{"2001:db8::5", "2001:db8::5", false, 0},
		{"[2001:db8::5]:51234", "2001:db8::5", false, 51234},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1", false, 80},
		{"2001:db8::/64", "2001:db8::/64", true, 0},
		{"2001:db8::5/128", "2001:db8::5", true, 0},
		{"192.0.2.1/32", "192.0.2.1", true, 0},
		{"[2001:db8::5]", "2001:db8::5", false, 0},
		{"[::ffff:192.0.2.1]", "192.0.2.1", false, 0},
		{"192.0.2.0/24", "192.0.2.0/24", true, 0},
		{"::1", "::1", false, 0},
		{"fe80::53", "fe80::53", false, 0},
		{"fe80::53%3", "fe80::53%3", false, 0},
		{"[fe80::53%3]", "fe80::53%3", false, 0},
		{"[fe80::53%4294967295]:51234", "fe80::53%4294967295", false, 51234},
		{"fe80::53%lo", "fe80::53%1", false, 0},
		{"fe80::/64", "fe80::/64", true, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct admin_who who;
		char text[CIDR_TEXT_BYTES];
		const char *problem = admin_who_parse(rows[i].text, &who);

		cr_assert_null(problem, "%s: %s", rows[i].text, problem);
		cr_expect_str_eq(cidr_print_on_link(&who.block, text), rows[i].block);
		cr_expect_eq(who.is_block, rows[i].is_block, "%s", rows[i].text);
		cr_expect_eq(who.port, rows[i].port, "%s", rows[i].text);
	}
}

Test(admin_request, nobody)
{
	static const struct {
		const char *text;
		const char *says;
	} rows[] = {
		{"", "not an address"},
		{"nobody", "not an address; write it as in"},
		{"240.1.2", "not an address"},
		{"240.1.2.3:0", "port 0"},
		{"240.1.2.3:x", "port"},
		{"[2001:db8::5", "has"},
		{"2001:db8::5]", "not an address"},
		{"[2001:db8::5]x", "has"},
		{"[2001:db8::/64]", "no IPv6 address"},
		{"[2001:db8::5]/128", "has"},
		{"[192.0.2.1]", "no IPv6 address"},
		{"2001:db8::5/64", "bits set behind"},
		{"2001:db8::/129", "0 to 128"},
		{"2001:db8::5%3", "only link-local addresses have"},
		{"[2001:db8::5%3]:80", "only link-local addresses have"},
		{"fe80::5%", "an interface after the '%'"},
		{"fe80::5%nonesuch", "an interface after the '%'"},
		{"fe80::%3/64", "a block is of all links"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct admin_who who;
		const char *problem = admin_who_parse(rows[i].text, &who);

		cr_expect(problem && strstr(problem, rows[i].says), "%s: %s", rows[i].text,
			  problem ? problem : "accepted");
	}
}

Test(admin_request, clients)
{
	static const struct {
		const char *address;
		const char *client;
	} rows[] = {
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8::", "2001:db8::/64"},
		{"192.0.2.1", "192.0.2.1"},
		{"::1", "::1"},
		{"64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
		{"fe80::1", "fe80::1"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cidr address, client;
		char text[CIDR_TEXT_BYTES];

		cr_assert_null(cidr_parse(rows[i].address, &address));
		client = admin_client_of(&address.network);
		cr_expect_str_eq(cidr_print(&client, text), rows[i].client);
	}
}

Test(admin_request, valid_lines)
{
	static const struct {
		const char *line;
		enum admin_verb verb;
		const char *given;
		uint64_t for_ms;
		bool json;
	} rows[] = {
		{"who 240.1.2.3", ADMIN_WHO, "240.1.2.3", 0, false},
		{"who 240.1.2.3:41234 json", ADMIN_WHO, "240.1.2.3:41234", 0, true},
		{"ban 2001:db8::/64", ADMIN_BAN, "2001:db8::/64", 0, false},
		{"ban 2001:db8::/64 for=3600000", ADMIN_BAN, "2001:db8::/64", 3600000, false},
		{"ban 240.1.2.3 for=1 json", ADMIN_BAN, "240.1.2.3", 1, true},
		{"unban 240.1.2.3", ADMIN_UNBAN, "240.1.2.3", 0, false},
		{"bans", ADMIN_BANS, "", 0, false},
		{"bans json", ADMIN_BANS, "", 0, true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct admin_request request;
		char line[ADMIN_REQUEST_BYTES], wanted[ADMIN_REQUEST_BYTES];
		const char *problem = admin_request_parse(rows[i].line, &request);

		cr_assert_null(problem, "%s: %s", rows[i].line, problem);
		cr_expect_eq(request.verb, rows[i].verb, "%s", rows[i].line);
		cr_expect_str_eq(request.given, rows[i].given);
		cr_expect_eq(request.for_ms, rows[i].for_ms, "%s", rows[i].line);
		cr_expect_eq(request.json, rows[i].json, "%s", rows[i].line);
		snprintf(wanted, sizeof(wanted), "%s\n", rows[i].line);
		cr_expect_str_eq(admin_request_print(&request, line), wanted);
	}
}

Test(admin_request, invalid_lines)
{
	static const struct {
		const char *line;
		const char *says;
	} rows[] = {
		{"", "not known"},
		{" who 240.1.2.3", "not known"},
		{"WHO 240.1.2.3", "not known"},
		{"whom 240.1.2.3", "not known"},
		{"who", "lacks WHO"},
		{"who ", "lacks WHO"},
		{"who  240.1.2.3", "a blank too many"},
		{"who x", "not an address"},
		{"who 240.1.2.3  json", "a blank too many"},
		{"who 240.1.2.3 json json", "not known there"},
		{"who 240.1.2.3 for=5", "not known there"},
		{"ban 240.1.2.3 for=", "not known there"},
		{"ban 240.1.2.3 for=0", "not known there"},
		{"ban 240.1.2.3 for=-1", "not known there"},
		{"ban 240.1.2.3 for=1 for=2", "not known there"},
		{"ban 240.1.2.3 for=99999999999999999999", "not known there"},
		{"bans 240.1.2.3", "not known there"},
		{"who 00000000000000000000000000000000000000000000000000000000000000000000000",
		 "too long"},
	};
	char overlong[ADMIN_REQUEST_BYTES + 1];
	struct admin_request request;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *problem = admin_request_parse(rows[i].line, &request);

		cr_expect(problem && strstr(problem, rows[i].says), "'%s': %s", rows[i].line,
			  problem ? problem : "accepted");
	}
	memset(overlong, 'x', sizeof(overlong));
	overlong[sizeof(overlong) - 1] = '\0';
	cr_expect_not_null(admin_request_parse(overlong, &request));
}

/* The words of the commands that change something, as they are read. */
Test(admin_request, changes)
{
	static const struct {
		const char *line;
		enum admin_action action;
		const char *given;
		const char *forward;
		const char *backend;
		uint64_t value;
	} rows[] = {
		{"backend 192.0.2.1:80 up", ADMIN_BACKEND_UP, "192.0.2.1:80", "", "", 0},
		{"backend web/192.0.2.1:80 down", ADMIN_BACKEND_DOWN, "web/192.0.2.1:80", "", "",
		 0},
		{"backend unix:/a drain", ADMIN_BACKEND_DRAIN, "unix:/a", "", "", 0},
		{"backend a:80 weight=256", ADMIN_BACKEND_WEIGHT, "a:80", "", "", 256},
		{"backend a:80 maxconn=16777215 json", ADMIN_BACKEND_MAXCONN, "a:80", "", "",
		 16777215},
		{"backend add web a:80", ADMIN_BACKEND_ADD, "", "web", "a:80", 0},
		{"backend add web a:80 weight=2 check", ADMIN_BACKEND_ADD, "", "web",
		 "a:80 weight=2 check", 0},
		{"backend remove web a:80", ADMIN_BACKEND_REMOVE, "", "web", "a:80", 0},
		{"backends web", ADMIN_BACKEND_NONE, "", "web", "", 0},
		{"drain", ADMIN_BACKEND_NONE, "", "", "", 0},
		{"drain web", ADMIN_BACKEND_NONE, "", "web", "", 0},
		{"kill backend=a:80", ADMIN_BACKEND_NONE, "", "", "a:80", 0},
		{"sessions forward=web backend=a:80 client=::1 sort=age limit=256",
		 ADMIN_BACKEND_NONE, "", "web", "a:80", 0},
		{"kill 0123456789abcdef-18446744073709551615", ADMIN_BACKEND_NONE,
		 "0123456789abcdef-18446744073709551615", "", "", 0},
		{"kill 2001:db8::/64", ADMIN_BACKEND_NONE, "2001:db8::/64", "", "", 0},
		{"log-level debug", ADMIN_BACKEND_NONE, "", "", "", 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct admin_request request;
		char line[ADMIN_REQUEST_BYTES], wanted[ADMIN_REQUEST_BYTES];
		const char *problem = admin_request_parse(rows[i].line, &request);

		cr_assert_null(problem, "%s: %s", rows[i].line, problem);
		cr_expect_eq(request.action, rows[i].action, "%s", rows[i].line);
		cr_expect_str_eq(request.given, rows[i].given, "%s", rows[i].line);
		cr_expect_str_eq(request.forward, rows[i].forward, "%s", rows[i].line);
		cr_expect_str_eq(request.backend, rows[i].backend, "%s", rows[i].line);
		cr_expect_eq(request.value, rows[i].value, "%s", rows[i].line);
		cr_expect_eq(request.has_id, !!strstr(rows[i].line, "abcdef-"), "%s", rows[i].line);
		snprintf(wanted, sizeof(wanted), "%s\n", rows[i].line);
		cr_expect_str_eq(admin_request_print(&request, line), wanted);
	}
}

Test(admin_request, refused_changes)
{
	static const struct {
		const char *line;
		const char *says;
	} rows[] = {
		{"backend", "lacks what to do"},
		{"backend a:80", "lacks what to do"},
		{"backend a:80 sideways", "is no change of a backend"},
		{"backend a:80 upwards", "is no change of a backend"},
		{"backend a:80 weight=", "is no number"},
		{"backend a:80 weight=257", "too large"},
		{"backend a:80 maxconn=-1", "is no number"},
		{"backend a:80 up down", "not known there"},
		{"backend add web", "lacks the backend's address"},
		{"backend add we/b a:80", "no name for a forward"},
		{"backend remove web a:80 weight=2", "not known there"},
		{"kill", "lacks WHO"},
		{"kill nobody", "is no session's id"},
		{"kill 0123456789abcdef-", "is no session's id"},
		{"kill 0123456789abcdef-18446744073709551616", "is no session's id"},
		{"kill 0123456789abcdef-07", "is no session's id"},
		{"kill ::1 backend=a:80", "not known there"},
		{"sessions ::1", "not known there"},
		{"sessions sort=name", "is no order"},
		{"sessions limit=0", "from 1 to 256"},
		{"sessions limit=257", "from 1 to 256"},
		{"sessions for=5", "not known there"},
		{"log-level loud", "is no level"},
		{"stats now", "not known there"},
		{"drain a b", "not known there"},
	};
	struct admin_request request;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *problem = admin_request_parse(rows[i].line, &request);

		cr_expect(problem && strstr(problem, rows[i].says), "'%s': %s", rows[i].line,
			  problem ? problem : "accepted");
	}
}
