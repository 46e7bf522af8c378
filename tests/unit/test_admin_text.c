/* SPDX-License-Identifier: MIT */
#include "admin/admin_text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "stats/close_reason.h"
#include "support.h"

TestSuite(admin_text, .fini = support_check_leaks);

/* 2026-01-02 03:04:05.678 UTC is millisecond 5000 of the clock that sessions are timed by. */
static const struct admin_clock moment = {.now_ms = 5000, .unix_now_ms = 1767323045678};

static struct addr endpoint_of(const char *text)
{
	struct addr endpoint = {0};

	if (*text)
		cr_assert_null(addr_parse(text, &endpoint), "%s", text);
	return endpoint;
}

static struct cidr block_of(const char *text)
{
	struct cidr cidr;

	cr_assert_null(cidr_parse(text, &cidr), "%s", text);
	return cidr;
}

Test(admin_text, dates)
{
	static const struct {
		uint64_t time_ms;
		const char *date;
	} rows[] = {
		{5000, "2026-01-02T03:04:05.678Z"}, {4000, "2026-01-02T03:04:04.678Z"},
		{0, "2026-01-02T03:04:00.678Z"},    {5000 + 86400000, "2026-01-03T03:04:05.678Z"},
		{5322, "2026-01-02T03:04:06.000Z"}, {BANS_NEVER, "never"},
	};
	char text[LOG_DATE_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_str_eq(admin_date_print(&moment, rows[i].time_ms, text), rows[i].date);
}

/* What `print` writes, as text or as JSON; the caller frees it. */
#define PRINTED(json_, print)                                                                      \
	__extension__({                                                                            \
		char *printed;                                                                     \
		size_t printed_bytes;                                                              \
		struct admin_text text = {.json = (json_), .clock = moment};                       \
		text.out = open_memstream(&printed, &printed_bytes);                               \
		cr_assert_not_null(text.out);                                                      \
		print;                                                                             \
		cr_assert(!fclose(text.out));                                                      \
		printed;                                                                           \
	})

static void expect(char *printed, const char *wanted)
{
	cr_expect_str_eq(printed, wanted);
	free(printed);
}

Test(admin_text, sessions)
{
	struct session_record live = {
		.client = endpoint_of("[2001:db8::5]:51234"),
		.backend = endpoint_of("192.0.2.80:80"),
		.source = endpoint_of("240.1.2.3:41234"),
		.opened_ms = 4000,
		.bytes_up = 11,
		.bytes_down = 22,
	};
	struct session_record closed = {
		.client = endpoint_of("192.0.2.7:1"),
		.opened_ms = 4000,
		.closed_ms = 5000,
		.reason = CLOSE_connect_failed,
	};
	const struct session_record *records[] = {&live, &closed};
	struct forwards *forwards = calloc(1, sizeof(*forwards) + sizeof(forwards->list[0]));
	const struct config_forward forward = {.name = "web"};
	struct cidr lease = block_of("2001:db8::/64");
	struct admin_sessions sessions = {.forwards = forwards, .records = records, .count = 2};

	cr_assert(forwards);
	forwards->list[0].config = &forward;
	forwards->list[0].listen = endpoint_of("[::1]:2000");

	expect(PRINTED(false, admin_text_print_sessions(&text, &sessions)),
	       "state=live client=[2001:db8::5]:51234 forward=web listen=[::1]:2000 backend=192.0.2.80:80 "
	       "source=240.1.2.3:41234 since=2026-01-02T03:04:04.678Z bytes_up=11 bytes_down=22\n"
	       "state=closed client=192.0.2.7:1 forward=web listen=[::1]:2000 backend=- source=- "
	       "since=2026-01-02T03:04:04.678Z bytes_up=0 bytes_down=0 "
	       "closed=2026-01-02T03:04:05.678Z reason=connect_failed\n");
	expect(PRINTED(true, admin_text_print_sessions(&text, &sessions)),
	       "{\"lease\":null,\"sessions\":["
	       "{\"state\":\"live\",\"client\":\"[2001:db8::5]:51234\",\"forward\":\"web\",\"listen\":\"[::1]:2000\","
	       "\"backend\":\"192.0.2.80:80\",\"source\":\"240.1.2.3:41234\","
	       "\"since\":\"2026-01-02T03:04:04.678Z\",\"bytes_up\":11,\"bytes_down\":22},"
	       "{\"state\":\"closed\",\"client\":\"192.0.2.7:1\",\"forward\":\"web\",\"listen\":\"[::1]:2000\","
	       "\"backend\":null,\"source\":null,\"since\":\"2026-01-02T03:04:04.678Z\","
	       "\"bytes_up\":0,\"bytes_down\":0,\"closed\":\"2026-01-02T03:04:05.678Z\","
	       "\"reason\":\"connect_failed\"}],\"truncated\":false}\n");
	sessions.count = 0;
	sessions.truncated = true;
	sessions.lease = &lease;
	sessions.lease_source = "240.1.2.3";
	expect(PRINTED(false, admin_text_print_sessions(&text, &sessions)),
	       "state=lease client=2001:db8::/64 source=240.1.2.3\ntruncated=true\n");
	expect(PRINTED(true, admin_text_print_sessions(&text, &sessions)),
	       "{\"lease\":{\"client\":\"2001:db8::/64\",\"source\":\"240.1.2.3\"},\"sessions\":[],"
	       "\"truncated\":true}\n");
	free(forwards);
}

Test(admin_text, bans)
{
	const struct ban bans[] = {
		{.client = block_of("2001:db8::/64"),
		 .since_ms = 4000,
		 .expires_ms = 5000,
		 .given = "240.1.2.3"},
		{.client = block_of("192.0.2.7"),
		 .since_ms = 5000,
		 .expires_ms = BANS_NEVER,
		 .given = "\"\\%\n"},
	};
	const struct admin_holder previous = {block_of("2001:db8:1::/64"), 3000};

	expect(PRINTED(false, admin_text_print_bans(&text, bans, 1)),
	       "client=2001:db8::/64 given=240.1.2.3 since=2026-01-02T03:04:04.678Z "
	       "until=2026-01-02T03:04:05.678Z\n");
	expect(PRINTED(true, admin_text_print_bans(&text, bans, 2)),
	       "{\"bans\":[{\"client\":\"2001:db8::/64\",\"given\":\"240.1.2.3\","
	       "\"since\":\"2026-01-02T03:04:04.678Z\",\"until\":\"2026-01-02T03:04:05.678Z\"},"
	       "{\"client\":\"192.0.2.7\",\"given\":\"\\\"\\\\%\\n\","
	       "\"since\":\"2026-01-02T03:04:05.678Z\",\"until\":\"never\"}]}\n");
	expect(PRINTED(true, admin_text_print_bans(&text, bans, 0)), "{\"bans\":[]}\n");
	expect(PRINTED(false, admin_text_print_bans(&text, bans, 0)), "");
	expect(PRINTED(false, admin_text_print_ban(&text, &bans[0], 3, NULL)),
	       "client=2001:db8::/64 given=240.1.2.3 since=2026-01-02T03:04:04.678Z "
	       "until=2026-01-02T03:04:05.678Z sessions_reset=3\n");
	expect(PRINTED(false, admin_text_print_ban(&text, &bans[0], 3, &previous)),
	       "client=2001:db8::/64 given=240.1.2.3 since=2026-01-02T03:04:04.678Z "
	       "until=2026-01-02T03:04:05.678Z sessions_reset=3 "
	       "previous=2001:db8:1::/64 previous_closed=2026-01-02T03:04:03.678Z\n");
	expect(PRINTED(true, admin_text_print_ban(&text, &bans[0], 3, &previous)),
	       "{\"ban\":{\"client\":\"2001:db8::/64\",\"given\":\"240.1.2.3\","
	       "\"since\":\"2026-01-02T03:04:04.678Z\",\"until\":\"2026-01-02T03:04:05.678Z\"},"
	       "\"sessions_reset\":3,\"previous\":{\"client\":\"2001:db8:1::/64\","
	       "\"closed\":\"2026-01-02T03:04:03.678Z\"}}\n");
	expect(PRINTED(true, admin_text_print_ban(&text, &bans[0], 3, NULL)),
	       "{\"ban\":{\"client\":\"2001:db8::/64\",\"given\":\"240.1.2.3\","
	       "\"since\":\"2026-01-02T03:04:04.678Z\",\"until\":\"2026-01-02T03:04:05.678Z\"},"
	       "\"sessions_reset\":3,\"previous\":null}\n");
	expect(PRINTED(true, admin_text_print_unban(&text, &bans[0])),
	       "{\"unban\":{\"client\":\"2001:db8::/64\",\"given\":\"240.1.2.3\","
	       "\"since\":\"2026-01-02T03:04:04.678Z\",\"until\":\"2026-01-02T03:04:05.678Z\"}}\n");
}
