/* SPDX-License-Identifier: MIT */
#include "config/config_conflict.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

TestSuite(config_conflict, .fini = support_check_leaks);

#define BACKEND "192.0.2.1:9"
#define WORDS	16

static void set_all(struct config *config, const char *const words[WORDS])
{
	for (size_t i = 0; i < WORDS && words[i]; i += 2)
		support_must_set(config, words[i], words[i + 1]);
}

struct pair_row {
	const char *one, *other;
	const char *device, *other_device; /* NULL: none */
	bool dual_stack;		   /* of the first */
	const char *told;		   /* of the other; NULL: both can be there */
	const char *told_reversed;	   /* where that is something else */
};

#define IS_GIVEN "given twice; put all its backends behind one --listen"
#define MOVE(x)	 x "; give one of them another port or address"

static const struct pair_row pair_rows[] = {
	{"[::1]:80", "[::1]:80", NULL, NULL, false, IS_GIVEN, NULL},
	{"[::1]:80", "[::1]:81", NULL, NULL, false, NULL, NULL},
	{"[::1]:80", "[::2]:80", NULL, NULL, false, NULL, NULL},
	{"[::]:0", "[::]:0", NULL, NULL, false, NULL, NULL},
	{"[::]:80", "[::1]:80", NULL, NULL, false, MOVE("is within [::]:80"),
	 MOVE("covers [::1]:80")},
	{"0.0.0.0:80", "127.0.0.1:80", NULL, NULL, false, MOVE("is within 0.0.0.0:80"),
	 MOVE("covers 127.0.0.1:80")},
	{"[fe80::1%1]:80", "[fe80::1%2]:80", NULL, NULL, false, NULL, NULL},
	{"[fe80::1%1]:80", "[::]:80", NULL, NULL, false, MOVE("covers [fe80::1%1]:80"),
	 MOVE("is within [::]:80")},
	{"[::]:80", "0.0.0.0:80", NULL, NULL, false, NULL, NULL},
	{"[::]:80", "0.0.0.0:80", NULL, NULL, true, MOVE("is within [::]:80"),
	 MOVE("covers 0.0.0.0:80")},
	{"[::]:80", "127.0.0.1:80", NULL, NULL, true, MOVE("is within [::]:80"),
	 MOVE("covers 127.0.0.1:80")},
	{"[::1]:80", "127.0.0.1:80", NULL, NULL, true, NULL, NULL},
	{"[::]:80", "[::]:80", "lo", "eth0", false, NULL, NULL},
	{"[::]:80", "[::1]:80", "lo", "eth0", false, NULL, NULL},
	{"[::]:80", "[::]:80", "lo", "lo", false, IS_GIVEN, NULL},
	{"[::]:80", "[::]:80", "lo", NULL, false, IS_GIVEN, NULL},
	{"[::]:80", "[::1]:80", NULL, "lo", false, MOVE("is within [::]:80"),
	 MOVE("covers [::1]:80")},
	{"[::1]:80-90", "[::1]:85", NULL, NULL, false, MOVE("is within [::1]:80-90"),
	 MOVE("covers [::1]:85")},
	{"[::1]:80-90", "[::1]:80-90", NULL, NULL, false, IS_GIVEN, NULL},
	{"[::1]:80-90", "[::]:90-95", NULL, NULL, false, MOVE("shares ports with [::1]:80-90"),
	 MOVE("shares ports with [::]:90-95")},
	{"[::1]:80-90", "[::1]:91-95", NULL, NULL, false, NULL, NULL},
	{"unix:/x", "unix:/x", NULL, NULL, false, IS_GIVEN, NULL},
	{"unix:/x", "unix:/./x", NULL, NULL, false, IS_GIVEN, NULL},
	{"unix:/x", "unix:/y", NULL, NULL, false, NULL, NULL},
	{"unix:@x", "unix:@x", NULL, NULL, false, IS_GIVEN, NULL},
	{"unix:@x", "unix:@y", NULL, NULL, false, NULL, NULL},
	{"unix:@x", "[::1]:80", NULL, NULL, false, NULL, NULL},
};

static void check_pair(const struct pair_row *row, bool reversed)
{
	const char *told = reversed && row->told_reversed ? row->told_reversed : row->told;
	const char *const listens[] = {row->one, row->other};
	const char *const devices[] = {row->device, row->other_device};
	struct fault fault = {0};
	char wanted[FAULT_TEXT_BYTES];
	struct config config;

	config_init(&config);
	for (unsigned i = 0; i < 2; i++) {
		unsigned of = reversed ? 1 - i : i;
		const char *const words[WORDS] = {"listen",
						  listens[of],
						  "backend",
						  BACKEND,
						  devices[of] ? "bind-device" : NULL,
						  devices[of]};
		const char *const dual_stack[WORDS] = {"dual-stack", of ? "no" : "yes"};

		set_all(&config, words);
		if (row->dual_stack)
			set_all(&config, dual_stack);
	}
	cr_expect(!config_conflict_of_listeners(&config, &config.forwards[0], &fault));
	cr_expect_eq(config_conflict_of_listeners(&config, &config.forwards[1], &fault),
		     told ? -EINVAL : 0, "%s and %s", row->one, row->other);
	snprintf(wanted, sizeof(wanted), "--listen '%s': %s", listens[!reversed], told);
	if (told)
		cr_expect_str_eq(support_text(&fault), wanted, "%s", support_text(&fault));
	config_finish(&config);
}

Test(config_conflict, two_listeners)
{
	for (size_t i = 0; i < ARRAY_COUNT(pair_rows); i++) {
		check_pair(&pair_rows[i], false);
		check_pair(&pair_rows[i], true);
	}
}

struct single_row {
	const char *words[WORDS];
	const char *told; /* NULL: nothing */
};

static void check_monitoring(const char *const forward[WORDS], const struct single_row *row)
{
	struct fault fault = {0};
	struct config config;

	config_init(&config);
	set_all(&config, forward);
	set_all(&config, row->words);
	cr_expect_eq(config_conflict_of_monitoring(&config, &config.forwards[0], &fault),
		     row->told ? -EINVAL : 0, "%s", support_text(&fault));
	cr_expect_str_eq(support_text(&fault), row->told ? row->told : "", "%s",
			 support_text(&fault));
	config_finish(&config);
}

Test(config_conflict, metrics)
{
	static const struct single_row rows[] = {
		{{"metrics", "[::1]:9"}, NULL},
		{{"metrics", "[::1]:80"},
		 "--metrics '[::1]:80': is within [::]:80; give another port"},
		{{"metrics", "[::]:80"},
		 "--metrics '[::]:80': is a listener's address; give another port"},
		{{"metrics", "127.0.0.1:80"}, NULL},
		{{"metrics", "127.0.0.1:80", "dual-stack", "yes"},
		 "--metrics '127.0.0.1:80': is within [::]:80; give another port"},
		{{"metrics", "[::1]:80", "bind-device", "eth0"},
		 "--metrics '[::1]:80': is within [::]:80; give another port"},
		{{"metrics", "[::]:0"}, NULL},
		{{NULL}, NULL},
	};
	static const char *const forward[WORDS] = {"listen", "[::]:80", "backend", BACKEND};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_monitoring(forward, &rows[i]);
}

Test(config_conflict, admin)
{
	static const struct single_row rows[] = {
		{{"admin", "/x"}, "--admin '/x': is a listener's socket; give another path"},
		{{"admin", "/./x"}, "--admin '/./x': is a listener's socket; give another path"},
		{{"admin", "/y"}, NULL},
	};
	static const char *const local[WORDS] = {"listen", "unix:/x", "backend", BACKEND};
	static const char *const abstract[WORDS] = {"listen", "unix:@/x", "backend", BACKEND};
	static const struct single_row fine = {{"admin", "/x"}, NULL};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_monitoring(local, &rows[i]);
	check_monitoring(abstract, &fine);
}

Test(config_conflict, backends)
{
	static const struct single_row rows[] = {
		{{"listen", "[::]:80", "backend", "[::1]:80"}, "backend [::1]:80"},
		{{"listen", "[::]:80", "backend", "[::1]:81"}, NULL},
		{{"listen", "[::]:80", "backend", "[2001:db8::1]:80"}, NULL},
		{{"listen", "[::]:80", "backend", "127.0.0.1:80"}, NULL},
		{{"listen", "[::]:80", "backend", "127.9.9.9:80", "dual-stack", "yes"},
		 "backend 127.9.9.9:80"},
		{{"listen", "[::]:80", "backend", "0.0.0.0:80", "dual-stack", "yes"},
		 "backend 0.0.0.0:80"},
		{{"listen", "0.0.0.0:80", "backend", "127.0.0.1:80"}, "backend 127.0.0.1:80"},
		{{"listen", "0.0.0.0:80", "backend", "localhost:80"}, NULL},
		{{"listen", "0.0.0.0:80", "backend", "127.0.0.1:80", "bind-device", "eth0"}, NULL},
		{{"listen", "0.0.0.0:80", "backend", "127.0.0.1:80", "bind-device", "lo"},
		 "backend 127.0.0.1:80"},
		{{"listen", "[::]:80-90", "backend", "[::1]:85"}, "backend [::1]:85"},
		{{"listen", "[::]:80-90", "backend", "[::1]:80-90"}, "backend [::1]:80"},
		{{"listen", "[::]:80-90", "backend", "[::1]:81-91"}, NULL},
		{{"listen", "[::]:80-90", "backend", "[::]:85"}, "is a backend of its own"},
		{{"listen", "127.0.0.1:80", "backend", "0.0.0.0:80"}, "backend 0.0.0.0:80"},
		{{"listen", "[::1]:80", "backend", "[::]:80"}, "backend [::]:80"},
		{{"listen", "127.0.0.2:80", "backend", "0.0.0.0:80"}, NULL},
		{{"listen", "unix:/x", "backend", "unix:/../x"}, "is a backend of its own"},
		{{"listen", "unix:/x", "backend", "unix:/y"}, NULL},
		{{"listen", "[::]:0", "backend", "[::1]:80"}, NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		set_all(&config, rows[i].words);
		cr_expect_eq(config_conflict_of_backends(&config.forwards[0], &fault),
			     rows[i].told ? -EINVAL : 0, "row %zu", i);
		if (rows[i].told)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].told),
					   "row %zu: %s", i, support_text(&fault));
		config_finish(&config);
	}
}
