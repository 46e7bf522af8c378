/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(config_rules, .fini = support_check_leaks);

Test(config_rules, all_four_options_keep_their_order)
{
	struct fault fault = {0};
	const struct config_rule *rules;
	struct config config;

	config_init(&config);
	cr_expect(!support_set(&config, "deny", "192.0.2.0/24,2001:db8::1", &fault));
	cr_expect(!support_set(&config, "allow-file", "friends", &fault));
	cr_expect(!support_set(&config, "allow", "::/0", &fault));
	cr_expect(!support_set(&config, "deny-file", "foes", &fault));
	cr_assert_eq(config.defaults.rule_count, 4);
	rules = config.defaults.rules;
	cr_expect(!rules[0].allow && !rules[0].file);
	cr_expect(rules[1].allow && rules[1].file);
	cr_expect(rules[2].allow && !rules[2].file);
	cr_expect(!rules[3].allow && rules[3].file);
	cr_expect_str_eq(rules[3].text, "foes");
	config_finish(&config);
}

struct invalid_row {
	const char *name;
	const char *text;
	const char *error; /* what it begins with */
};

Test(config_rules, what_is_no_block)
{
	static const struct invalid_row rows[] = {
		{"allow", "", "--allow '': "},
		{"allow", "192.0.2.0/24,", "--allow '': "},
		{"deny", "192.0.2.0/24,,::/0", "--deny '': "},
		{"deny", "::/0,192.0.2.0/33", "--deny '192.0.2.0/33': "},
		{"deny", "::/0, ,192.0.2.0", "--deny '': "},
		{"deny", "::/0, 192.0. 2.0", "--deny '192.0. 2.0': "},
		{"allow", "all", "--allow 'all': "},
		{"allow-file", "", "--allow-file '': empty; give FILE"},
		{"deny-file", "", "--deny-file '': empty; give FILE"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		cr_expect_eq(support_set(&config, rows[i].name, rows[i].text, &fault), -EINVAL,
			     "'%s'", rows[i].text);
		cr_expect_eq(strncmp(support_text(&fault), rows[i].error, strlen(rows[i].error)), 0,
			     "%s", support_text(&fault));
		cr_expect_eq(config.defaults.rule_count, 0);
		config_finish(&config);
	}
}

Test(config_rules, more_than_the_limit)
{
	struct fault fault = {0};
	struct config config;

	config_init(&config);
	for (unsigned i = 0; i < CONFIG_RULE_LIMIT; i++)
		cr_assert(!support_set(&config, "allow", "::1", &fault));
	cr_expect_eq(support_set(&config, "deny-file", "more", &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "64"), "%s", support_text(&fault));
	config_finish(&config);
}

Test(config_rules, the_same_list)
{
	static const char *const pairs[][2] = {
		{"allow", "::1"}, {"deny", "::1"}, {"allow", "::2"}, {"allow-file", "::1"}};

	for (size_t i = 0; i < ARRAY_COUNT(pairs); i++)
		for (size_t j = 0; j < ARRAY_COUNT(pairs); j++) {
			struct fault fault = {0};
			struct config one, two;

			config_init(&one);
			config_init(&two);
			cr_expect(config_rules_are_same(&one.defaults, &two.defaults));
			cr_expect(!support_set(&one, pairs[i][0], pairs[i][1], &fault));
			cr_expect(!config_rules_are_same(&one.defaults, &two.defaults));
			cr_expect(!support_set(&two, pairs[j][0], pairs[j][1], &fault));
			cr_expect_eq(config_rules_are_same(&one.defaults, &two.defaults), i == j);
			config_finish(&one);
			config_finish(&two);
		}
}
