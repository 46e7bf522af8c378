/* SPDX-License-Identifier: MIT */
/* resolver.h: the search list of resolv.conf(5). test_resolver.c has the rest. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "resolver_fixture.h"
#include "support.h"

TestSuite(resolver_search, .fini = support_check_leaks);

#define STEPS_MOST 4
#define SILENCE	   ((enum dns_code)16)

/* A question that must be asked, and its answer: DNS_OK is an address where the row has one, otherwise none. */
struct step {
	const char *asked; /* NULL: none is left */
	enum dns_code code;
};

struct row {
	const char *name;
	struct step steps[STEPS_MOST];
	const char *error; /* NULL: the last step has an address */
};

static const struct row rows[] = {
	{"web", {{"web.one.example", DNS_OK}}, NULL},
	{"web", {{"web.one.example", DNS_NXDOMAIN}, {"web.two.example", DNS_OK}}, NULL},
	{"web", {{"web.one.example", DNS_SERVFAIL}, {"web.two.example", DNS_OK}}, NULL},
	{"web", {{"web.one.example", DNS_REFUSED}, {"web.two.example", DNS_OK}}, NULL},
	{"web",
	 {{"web.one.example", DNS_SERVFAIL}, {"web.two.example", DNS_SERVFAIL}, {"web", DNS_OK}},
	 NULL},
	{"web",
	 {{"web.one.example", DNS_SERVFAIL},
	  {"web.two.example", DNS_NXDOMAIN},
	  {"web", DNS_NXDOMAIN}},
	 "SERVFAIL"},
	{"web",
	 {{"web.one.example", DNS_NXDOMAIN},
	  {"web.two.example", DNS_NXDOMAIN},
	  {"web", DNS_NXDOMAIN}},
	 "NXDOMAIN"},
	/* the silence of a server is waited for once more, not once per domain */
	{"web", {{"web.one.example", SILENCE}, {"web", DNS_OK}}, NULL},
	{"web", {{"web.one.example", SILENCE}, {"web", DNS_NXDOMAIN}}, "timed out"},
	/* as many dots as ndots: first as it is, and what is said of that counts in the end */
	{"web.sub", {{"web.sub", DNS_OK}}, NULL},
	{"web.sub", {{"web.sub", DNS_SERVFAIL}, {"web.sub.one.example", DNS_OK}}, NULL},
	{"web.sub",
	 {{"web.sub", DNS_NXDOMAIN},
	  {"web.sub.one.example", DNS_SERVFAIL},
	  {"web.sub.two.example", DNS_NXDOMAIN}},
	 "NXDOMAIN"},
	{"web.", {{"web", DNS_OK}}, NULL},
	{"web.", {{"web", DNS_SERVFAIL}}, "SERVFAIL"},
};

static void write_resolv_conf(char path[32], const char *rest)
{
	int fd;

	strcpy(path, "/tmp/sixpipe-test-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_geq(dprintf(fd, "nameserver 127.0.0.1:%u\n%s", fixture.peer.port, rest), 0);
	close(fd);
}

static void open_with(const char *rest, uint64_t timeout_ms)
{
	struct resolver_options options = {.lookup = {.timeout_ms = timeout_ms, .tries = 1},
					   .retry_ms = 60000,
					   .min_ttl_ms = 1,
					   .max_ttl_ms = 3600000};
	struct fault fault = {0};
	char path[32];

	dns_peer_open(&fixture.peer);
	write_resolv_conf(path, rest);
	options.lookup.resolv_conf = path;
	cr_assert_eq(resolver_create(&fixture.resolver, &options, &fault), 0, "%s",
		     support_text(&fault));
	memset(&fixture.told, 0, sizeof(fixture.told));
	unlink(path);
}

static void serve(const struct step *step, const struct row *row, size_t index)
{
	struct dns_message answer;
	char asked[256];

	fixture_await_query();
	dns_peer_asked_name(&fixture.peer, asked);
	cr_expect_str_eq(asked, step->asked, "row %zu: '%s', not '%s'", index, asked, step->asked);
	if (step->code == SILENCE)
		return;
	dns_begin(&answer, &fixture.peer, step->code);
	if (step->code == DNS_OK && !row->error)
		dns_put_a(&answer, 60, V4(10, 0, 0, 1));
	dns_send(&fixture.peer, &answer);
}

static bool has_silence(const struct row *row)
{
	for (size_t i = 0; i < STEPS_MOST; i++)
		if (row->steps[i].code == SILENCE)
			return true;
	return false;
}

Test(resolver_search, as_glibc_does)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		open_with("search one.example two.example\n",
			  has_silence(&rows[i]) ? 100 : SUPPORT_PATIENCE_MS);
		fixture_add(rows[i].name);
		for (size_t j = 0; j < STEPS_MOST && rows[i].steps[j].asked; j++)
			serve(&rows[i].steps[j], &rows[i], i);
		fixture_await_calls(1);
		cr_expect(!dns_peer_take(&fixture.peer), "row %zu", i);
		cr_expect_eq(fixture.told.state,
			     rows[i].error ? RESOLVER_FAILING : RESOLVER_RESOLVED, "row %zu", i);
		if (rows[i].error)
			cr_expect_str_eq(fixture.told.error, rows[i].error, "row %zu: %s", i,
					 fixture.told.error);
		else
			fixture_expect_addresses("10.0.0.1");
		fixture_close();
	}
}

/* A name that is there without an address of this family is said so, whatever the others failed with. */
Test(resolver_search, no_address_counts_more_than_a_failure)
{
	static const struct row row = {"web",
				       {{"web.one.example", DNS_SERVFAIL},
					{"web.two.example", DNS_OK},
					{"web", DNS_NXDOMAIN}},
				       "no address"};

	open_with("search one.example two.example\n", SUPPORT_PATIENCE_MS);
	fixture_add(row.name);
	for (size_t i = 0; i < 3; i++)
		serve(&row.steps[i], &row, i);
	fixture_await_calls(1);
	cr_expect_str_eq(fixture.told.error, row.error, "%s", fixture.told.error);
	fixture_close();
}

Test(resolver_search, ndots_and_the_root)
{
	static const struct row row = {
		"a.b", {{"a.b.one.example", DNS_NXDOMAIN}, {"a.b", DNS_OK}}, NULL};

	open_with("search one.example .\noptions ndots:2\n", SUPPORT_PATIENCE_MS);
	fixture_add(row.name);
	for (size_t i = 0; i < 2; i++)
		serve(&row.steps[i], &row, i);
	fixture_await_calls(1);
	fixture_expect_addresses("10.0.0.1");
	fixture_close();
}
