/* SPDX-License-Identifier: MIT */
#include "admin/admin_whom.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "forward/forward.h"
#include "support.h"

TestSuite(admin_whom, .fini = support_check_leaks);

enum kind { SHARED, LEASED, EMBEDDED };

/* The forwards of the tests' configuration. */
enum listener { POOL_64, POOL_128, PLAIN };

struct told {
	const char *client, *source;
	enum kind kind;
	enum listener forward;
	uint64_t closed_ms;
};

struct row {
	const char *who;
	const char *lease;	 /* the client that has the lease; NULL: none has */
	struct told sessions[3]; /* in the order of an answer */
	const char *client;	 /* whom the ban is for; NULL: nobody */
	const char *previous;	 /* NULL: none */
	enum admin_code code;
	const char *says;
};

static struct config config;
static struct forwards *forwards;

static void begin(void)
{
	static const char *const words[][2] = {
		{"listen", "[::1]:1"},
		{"source", "loopback"},
		{"backend", "127.0.0.1:80"},
		{"listen", "[::1]:2"},
		{"source", "loopback:127.32.0.0/16"},
		{"pseudo-prefix", "128"},
		{"backend", "127.0.0.1:80"},
		{"listen", "[::1]:3"},
		{"backend", "127.0.0.1:80"},
	};
	struct fault fault = {0};

	config_init(&config);
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		support_must_set(&config, words[i][0], words[i][1]);
	cr_assert(!support_check(&config, &fault), "%s", support_text(&fault));
	cr_assert(!forwards_create(&forwards, &config, &config.errors));
	cr_assert(!forwards_make_sources(forwards, &config.errors));
}

static void end(void)
{
	forwards_destroy(forwards);
	config_finish(&config);
}

static struct session_record record_of(const struct told *session)
{
	struct session_record record = {.forward = session->forward,
					.closed_ms = session->closed_ms,
					.has_own_source = session->kind != SHARED,
					.is_embedded = session->kind == EMBEDDED};

	/* a client of a local socket has no name */
	if (*session->client)
		cr_assert_null(addr_parse(session->client, &record.client));
	else
		record.client = (struct addr){.local.family = AF_UNIX,
					      .length_bytes = sizeof(record.client.local)};
	cr_assert_null(addr_parse(session->source, &record.source));
	return record;
}

static void check(const struct row *row)
{
	struct session_record records[ARRAY_COUNT(row->sessions)];
	const struct session_record *found[ARRAY_COUNT(row->sessions)];
	struct admin_job job = {.tools = {.forwards = forwards}, .found = found};
	char text[CIDR_TEXT_BYTES];
	enum admin_code code = ADMIN_DONE;
	const char *problem;

	cr_assert_null(admin_who_parse(row->who, &job.request.who));
	if (row->lease)
		cr_assert_null(cidr_parse(row->lease, &job.lease));
	job.has_lease = row->lease;
	while (job.found_count < ARRAY_COUNT(found) && row->sessions[job.found_count].client) {
		records[job.found_count] = record_of(&row->sessions[job.found_count]);
		found[job.found_count] = &records[job.found_count];
		job.found_count++;
	}
	problem = admin_whom_choose(&job, &code);
	if (!row->client) {
		cr_expect(problem && strstr(problem, row->says), "%s: %s", row->who,
			  problem ? problem : cidr_print(&job.client, text));
		cr_expect_eq(code, row->code, "%s: %d", row->who, code);
		return;
	}
	cr_expect_null(problem, "%s: %s", row->who, problem);
	cr_expect_str_eq(cidr_print(&job.client, text), row->client, "%s: %s", row->who, text);
	cr_expect_eq(job.has_previous, !!row->previous, "%s", row->who);
	if (row->previous)
		cr_expect_str_eq(cidr_print(&job.previous.client, text), row->previous);
}

Test(admin_whom, of_a_pool, .init = begin, .fini = end)
{
	static const struct row rows[] = {
		{.who = "127.64.0.1", .lease = "2001:db8::/64", .client = "2001:db8::/64"},
		{.who = "127.64.0.1",
		 .lease = "2001:db8::/64",
		 .sessions = {{"[2001:db8::7]:1", "127.64.0.1:9", LEASED, POOL_64, 0}},
		 .client = "2001:db8::/64"},
		/* what the pool counts as one client, with a port too */
		{.who = "127.32.0.1",
		 .lease = "2001:db8::7",
		 .sessions = {{"[2001:db8::7]:1", "127.32.0.1:9", LEASED, POOL_128, 0},
			      {"[2001:db8::7]:2", "127.32.0.1:8", LEASED, POOL_128, 5}},
		 .client = "2001:db8::7"},
		{.who = "127.32.0.1:9",
		 .lease = "2001:db8::7",
		 .sessions = {{"[2001:db8::7]:1", "127.32.0.1:9", LEASED, POOL_128, 0}},
		 .client = "2001:db8::7"},
		/* it has changed hands */
		{.who = "127.64.0.1",
		 .lease = "2001:db8:3::/64",
		 .sessions = {{"[2001:db8:2::7]:1", "127.64.0.1:9", LEASED, POOL_64, 6},
			      {"[2001:db8:1::7]:1", "127.64.0.1:9", LEASED, POOL_64, 5}},
		 .client = "2001:db8:3::/64",
		 .previous = "2001:db8:2::/64"},
		{.who = "127.64.0.1",
		 .sessions = {{"[2001:db8:2::7]:1", "127.64.0.1:9", LEASED, POOL_64, 6},
			      {"[2001:db8:1::7]:1", "127.64.0.1:9", LEASED, POOL_64, 5}},
		 .client = "2001:db8:2::/64",
		 .previous = "2001:db8:1::/64"},
		{.who = "127.64.0.1:9",
		 .lease = "2001:db8:2::/64",
		 .sessions = {{"[2001:db8:1::7]:1", "127.64.0.1:9", LEASED, POOL_64, 5}},
		 .client = "2001:db8:1::/64"},
		{.who = "127.64.0.1:9",
		 .lease = "2001:db8:2::/64",
		 .sessions = {{"[2001:db8:2::7]:1", "127.64.0.1:9", LEASED, POOL_64, 0},
			      {"[2001:db8:1::7]:1", "127.64.0.1:9", LEASED, POOL_64, 5}},
		 .code = ADMIN_BAD,
		 .says = "more than one client"},
		/* forgotten, with its port and without */
		{.who = "127.64.0.1:9", .lease = "2001:db8::/64", .client = "2001:db8::/64"},
		{.who = "127.64.0.1", .code = ADMIN_NOBODY, .says = "no client has it now"},
		{.who = "127.64.0.1:9", .code = ADMIN_NOBODY, .says = "no client has it now"},
		/* another connection comes from there as well */
		{.who = "127.64.0.1",
		 .lease = "2001:db8::/64",
		 .sessions = {{"[2001:db8:9::7]:1", "127.64.0.1:9", SHARED, PLAIN, 0}},
		 .code = ADMIN_BAD,
		 .says = "clients share"},
		/* a client that has an address of the pool makes no other of it */
		{.who = "127.64.0.1",
		 .lease = "2001:db8::/64",
		 .sessions = {{"127.64.0.1:5", "127.0.0.1:9", SHARED, PLAIN, 0}},
		 .client = "2001:db8::/64"},
		/* clients of local sockets */
		{.who = "127.64.0.1", .lease = "::", .code = ADMIN_BAD, .says = "local socket"},
		{.who = "127.64.0.1",
		 .lease = "::",
		 .sessions = {{"", "127.64.0.1:9", LEASED, POOL_64, 0}},
		 .code = ADMIN_BAD,
		 .says = "local socket"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check(&rows[i]);
}

Test(admin_whom, of_no_pool, .init = begin, .fini = end)
{
	static const struct row rows[] = {
		{.who = "192.0.2.1", .client = "192.0.2.1"},
		{.who = "192.0.2.1:9", .code = ADMIN_NOBODY, .says = "is not known"},
		/* this host's own stand for everybody, before the first session too */
		{.who = "127.0.0.1", .code = ADMIN_BAD, .says = "clients share"},
		{.who = "127.0.0.1:9", .code = ADMIN_NOBODY, .says = "is not known"},
		{.who = "127.0.0.1",
		 .sessions = {{"[2001:db8::7]:1", "127.0.0.1:9", SHARED, PLAIN, 5}},
		 .code = ADMIN_BAD,
		 .says = "clients share"},
		{.who = "127.0.0.1:9",
		 .sessions = {{"[2001:db8::7]:1", "127.0.0.1:9", SHARED, PLAIN, 5}},
		 .client = "2001:db8::/64"},
		{.who = "[2001:db8::7]:1",
		 .sessions = {{"[2001:db8::7]:1", "127.0.0.1:9", SHARED, PLAIN, 0}},
		 .client = "2001:db8::/64"},
		/* a client on this host, which has an address that is no source; and that is one */
		{.who = "127.0.0.2",
		 .sessions = {{"127.0.0.2:1", "127.0.0.1:9", SHARED, PLAIN, 0}},
		 .client = "127.0.0.2"},
		{.who = "127.0.0.1",
		 .sessions = {{"127.0.0.1:1", "127.0.0.1:9", SHARED, PLAIN, 0}},
		 .code = ADMIN_BAD,
		 .says = "clients share"},
		/* clients with this address inside their own */
		{.who = "8.8.4.4",
		 .sessions = {{"[2002:808:404::7]:1", "8.8.4.4:9", EMBEDDED, PLAIN, 0},
			      {"[64:ff9b::8.8.4.4]:1", "8.8.4.4:9", EMBEDDED, PLAIN, 5}},
		 .client = "8.8.4.4"},
		{.who = "127.0.0.1:9",
		 .sessions = {{"", "127.0.0.1:9", SHARED, PLAIN, 0}},
		 .code = ADMIN_BAD,
		 .says = "local socket"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check(&rows[i]);
}
