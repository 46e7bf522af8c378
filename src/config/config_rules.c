#include "config/config_rules.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

bool config_rules_hold(const struct option_spec *option)
{
	return option->type == OPTION_ALLOW || option->type == OPTION_DENY ||
	       option->type == OPTION_ALLOW_FILE || option->type == OPTION_DENY_FILE;
}

const char *config_rules_next(const char **at, struct cidr *cidr, char word[CIDR_TEXT_BYTES])
{
	size_t length;
	const char *begin = units_next_item(at, &length);

	snprintf(word, CIDR_TEXT_BYTES, "%.*s", (int)MIN(length, CIDR_TEXT_BYTES), begin);
	return cidr_parse(word, cidr);
}

int config_rules_add(struct config_forward_options *options, const struct option_spec *option,
		     const char *text, struct fault *fault)
{
	bool file = option->type == OPTION_ALLOW_FILE || option->type == OPTION_DENY_FILE;
	bool allow = option->type == OPTION_ALLOW || option->type == OPTION_ALLOW_FILE;
	char word[CIDR_TEXT_BYTES];
	struct cidr cidr;

	if (options->rule_count == CONFIG_RULE_LIMIT)
		return fault_set(fault, NULL, text,
				 "one too many; %d such options per listener are the limit, put "
				 "the blocks into a file",
				 CONFIG_RULE_LIMIT);
	if (file && !*text)
		return fault_set(fault, NULL, "", "empty; give %s", option->argument);
	for (const char *at = file ? NULL : text; at;) {
		const char *problem = config_rules_next(&at, &cidr, word);

		if (problem)
			return fault_set_words(fault, NULL, word, problem);
	}
	options->rules[options->rule_count++] =
		(struct config_rule){.text = text, .allow = allow, .file = file};
	return 0;
}

const struct config_value *config_rules_value(const struct config_forward *forward,
					      const struct config_rule *rule)
{
	const struct config_values *values = &forward->values;
	unsigned i = 0;

	/* each value has a text of its own */
	while (i < values->count && values->list[i].text != rule->text)
		i++;
	CHECK(i < values->count);
	return &values->list[i];
}

bool config_rules_are_same(const struct config_forward_options *a,
			   const struct config_forward_options *b)
{
	if (a->rule_count != b->rule_count)
		return false;
	for (unsigned i = 0; i < a->rule_count; i++)
		if (a->rules[i].allow != b->rules[i].allow ||
		    a->rules[i].file != b->rules[i].file ||
		    strcmp(a->rules[i].text, b->rules[i].text))
			return false;
	return true;
}
