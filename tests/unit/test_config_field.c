/* SPDX-License-Identifier: MIT */
#include "config/config_field.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "support.h"

TestSuite(config_field, .fini = support_check_leaks);

struct number_row {
	const char *text;
	int64_t value; /* -1: refused */
	const char *reason;
};

static void check_numbers(const char *name, const struct number_row *rows, size_t count)
{
	static struct config owner; /* larger than all the structs that have fields */
	const struct option_spec *option = options_find(name, strlen(name));
	uint64_t *value = (uint64_t *)((char *)&owner + option->offset);
	struct fault fault = {0};

	for (size_t i = 0; i < count; i++) {
		int result;

		*value = 77;
		result = config_field_set(&owner, option, rows[i].text, &fault);

		cr_expect_eq(result, rows[i].value < 0 ? -EINVAL : 0, "'%s'", rows[i].text);
		cr_expect_eq(*value, rows[i].value < 0 ? 77 : (uint64_t)rows[i].value, "'%s'",
			     rows[i].text);
		if (result)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].reason), "%s",
					   support_text(&fault));
	}
}

Test(config_field, tos)
{
	static const struct number_row rows[] = {
		{"0", 0, ""},	       {"252", 252, ""},	{"0xb8", 0xb8, ""},
		{"0XB8", 0xb8, ""},    {"ef", 0xb8, ""},	{"EF", 0xb8, ""},
		{"le", 0x04, ""},      {"cs0", 0, ""},		{"cs1", 0x20, ""},
		{"cs7", 0xe0, ""},     {"af11", 0x28, ""},	{"af41", 0x88, ""},
		{"af43", 0x98, ""},    {"af44", -1, "neither"}, {"cs8", -1, "neither"},
		{"1", -1, "ECN"},      {"255", -1, "ECN"},	{"256", -1, "neither"},
		{"-4", -1, "neither"}, {"", -1, "neither"},	{"0x", -1, "neither"},
		{"8 ", -1, "neither"}, {"0xg0", -1, "neither"}, {"af", -1, "neither"},
	};

	check_numbers("tos", rows, ARRAY_COUNT(rows));
}

Test(config_field, mark)
{
	static const struct number_row rows[] = {
		{"1", 1, ""},
		{"4294967295", UINT32_MAX, ""},
		{"0xffffffff", UINT32_MAX, ""},
		{"0x10", 16, ""},
		{"0", -1, "not a mark"},
		{"4294967296", -1, "not a mark"},
		{"-1", -1, "not a "},
		{"", -1, "not a mark"},
		{"1/2", -1, "not a mark"},
		{"0x-1", -1, "not a"},
		{"99999999999999999999", -1, "not a mark"},
	};

	check_numbers("mark", rows, ARRAY_COUNT(rows));
}

struct ports_row {
	const char *text;
	unsigned first, last; /* 0: refused */
};

Test(config_field, ports)
{
	static const struct ports_row rows[] = {
		{"40000-49999", 40000, 49999},
		{"1-65535", 1, 65535},
		{"7-7", 7, 7},
		{"0-9", 0, 0},
		{"9-8", 0, 0},
		{"1-65536", 0, 0},
		{"1", 0, 0},
		{"1-", 0, 0},
		{"-1", 0, 0},
		{"1-2-3", 0, 0},
		{"1 - 2", 0, 0},
		{"", 0, 0},
		{"1-99999999999999999999", 0, 0},
	};
	const struct option_spec *option =
		options_find("source-port-range", strlen("source-port-range"));
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config_forward_options options = {0};
		const struct sock_ports *ports = &options.tuning.ports;
		int result = config_field_set(&options, option, rows[i].text, &fault);

		cr_expect_eq(result, rows[i].first ? 0 : -EINVAL, "'%s'", rows[i].text);
		cr_expect_eq(ports->first, rows[i].first, "'%s'", rows[i].text);
		cr_expect_eq(ports->last, rows[i].last, "'%s'", rows[i].text);
	}
}

Test(config_field, modes)
{
	static const struct number_row rows[] = {
		{"0660", 0660, ""}, {"660", 0660, ""}, {"0", 0, ""},   {"777", 0777, ""},
		{"1777", -1, ""},   {"00660", -1, ""}, {"8", -1, ""},  {"rw", -1, ""},
		{"", -1, ""},	    {"066 ", -1, ""},  {"-1", -1, ""},
	};

	check_numbers("unix-mode", rows, ARRAY_COUNT(rows));
}
