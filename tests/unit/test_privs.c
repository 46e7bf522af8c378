/* SPDX-License-Identifier: MIT */
#include "control/privs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(privs, .fini = support_check_leaks);

#define NOBODY 65534

/* Ids that no sane host gives to anybody, and -1, which setresuid(2) takes for "no change". */
#define NO_ENTRY    "4000000321"
#define NO_ENTRY_ID 4000000321U
#define MINUS_ONE   "4294967295"
#define TEXT_256                                                                                   \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct known_row {
	const char *user;
	uid_t uid;
	gid_t gid;
	bool own_groups;
	const char *name;
};

static bool has_debian_names(void)
{
	return getpwuid(NOBODY) && !strcmp(getpwuid(NOBODY)->pw_name, "nobody") &&
	       getgrgid(NOBODY) && !strcmp(getgrgid(NOBODY)->gr_name, "nogroup") &&
	       getgrnam("daemon") && getgrnam("daemon")->gr_gid == 1;
}

Test(privs, no_user_is_no_change)
{
	struct fault fault = {0};
	struct privs_target target;

	memset(&target, 0xff, sizeof(target));
	cr_expect_eq(privs_resolve(NULL, &target, &fault), 0);
	cr_expect(!target.change);
}

Test(privs, known)
{
	static const struct known_row rows[] = {
		{"root", 0, 0, true, "root"},
		{"0", 0, 0, true, "root"},
		{"nobody", NOBODY, NOBODY, true, "nobody"},
		{"65534", NOBODY, NOBODY, true, "nobody"},
		{"nobody:daemon", NOBODY, 1, false, "nobody"},
		{"nobody:1", NOBODY, 1, false, "nobody"},
		{"65534:daemon", NOBODY, 1, false, "nobody"},
		{"root:nogroup", 0, NOBODY, false, "root"},
		{"nobody:" NO_ENTRY, NOBODY, NO_ENTRY_ID, false, "nobody"},
		/* a number without an entry is itself, and its namesake for a group */
		{NO_ENTRY, NO_ENTRY_ID, NO_ENTRY_ID, false, NO_ENTRY},
		{NO_ENTRY ":daemon", NO_ENTRY_ID, 1, false, NO_ENTRY},
		{NO_ENTRY ":0", NO_ENTRY_ID, 0, false, NO_ENTRY},
	};

	if (!has_debian_names())
		cr_skip_test("this host has no nobody, nogroup or daemon with the usual numbers");
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct known_row *row = &rows[i];
		/* root becomes even itself, for the groups */
		bool change = !geteuid() || row->uid != geteuid() || row->gid != getegid();
		struct fault fault = {0};
		struct privs_target target;
		int result = privs_resolve(row->user, &target, &fault);

		/* only root may become somebody else */
		cr_expect_eq(result, change && geteuid() ? -EPERM : 0, "%s: %s", row->user,
			     support_text(&fault));
		cr_expect_eq(target.user.uid, row->uid, "%s: %u", row->user, target.user.uid);
		cr_expect_eq(target.user.gid, row->gid, "%s: %u", row->user, target.user.gid);
		cr_expect_eq(target.own_groups, row->own_groups, "%s", row->user);
		cr_expect_eq(target.change, change, "%s", row->user);
		cr_expect_str_eq(target.name, row->name, "%s: %s", row->user, target.name);
	}
}

struct unknown_row {
	const char *user;
	const char *error; /* its beginning */
	const char *remedy;
};

Test(privs, unknown)
{
	static const struct unknown_row rows[] = {
		{"no-such-user", "--user 'no-such-user': no such user", "useradd"},
		{"", "--user '': a name is missing", "NAME:GROUP"},
		{":nogroup", "--user ':nogroup': a name is missing", "NAME:GROUP"},
		{":", "--user ':': a name is missing", "NAME:GROUP"},
		{"no-such-user:no-such-group", "--user 'no-such-user': no such user", "useradd"},
		{"root:no-such-group", "--user 'no-such-group': no such group", "groupadd"},
		{"root:", "--user 'root:': a name is missing", "NAME:GROUP"},
		{"root:root:root", "--user 'root:root': no such group", "groupadd"},
		{"root ", "--user 'root ': no such user", "useradd"},
		{"-1", "--user '-1': no such user", "useradd"},
		{MINUS_ONE, "--user '" MINUS_ONE "': no such user", "useradd"},
		{"root:" MINUS_ONE, "--user '" MINUS_ONE "': no such group", "groupadd"},
		{"18446744073709551616", "--user '18446744073709551616': no such", "useradd"},
		{"12x", "--user '12x': no such user", "useradd"},
		{TEXT_256, "--user 'aaaaaaaa", "too long"},
		{"root:" TEXT_256, "--user 'root:aaaaaaaa", "too long"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct privs_target target;
		int result = privs_resolve(rows[i].user, &target, &fault);

		cr_expect_eq(result, -EINVAL, "'%s': %d", rows[i].user, result);
		cr_expect_eq(strncmp(support_text(&fault), rows[i].error, strlen(rows[i].error)), 0,
			     "%s", support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), rows[i].remedy), "%s",
				   support_text(&fault));
	}
}

Test(privs, only_root_can_become_somebody_else)
{
	struct fault fault = {0};
	struct privs_target target;

	if (!geteuid())
		cr_assert(!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY));
	cr_expect_eq(privs_resolve("root", &target, &fault), -EPERM);
	cr_expect_not_null(strstr(support_text(&fault), "--user 'root': only root can"), "%s",
			   support_text(&fault));
	cr_expect_not_null(strstr(support_text(&fault), "start as root"), "%s",
			   support_text(&fault));
}

/* Who we are already needs no privilege. */
Test(privs, becoming_oneself_is_no_change)
{
	struct fault fault = {0};
	struct privs_target target;

	if (!geteuid())
		cr_assert(!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY));
	if (geteuid() != NOBODY || !has_debian_names())
		cr_skip_test("needs to be root, and a user 'nobody'");
	cr_expect_eq(privs_resolve("nobody", &target, &fault), 0, "%s", support_text(&fault));
	cr_expect(!target.change);
	cr_expect_eq(privs_resolve("65534:65534", &target, &fault), 0, "%s", support_text(&fault));
	cr_expect(!target.change);
}
