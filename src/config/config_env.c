/* SPDX-License-Identifier: MIT */
#include "config/config_env.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_origin.h"

#define PREFIX	    CONFIG_VARIABLE_PREFIX
#define FORWARD	    CONFIG_VARIABLE_FORWARD
#define NUMBER_MOST 65535
#define BLANKS	    " \t\n"

/* What the name of a variable says. */
struct variable {
	unsigned number; /* of its forward; 0: none */
	bool is_short;	 /* SIXPIPE_LISTEN or SIXPIPE_BACKEND: the same as with the number 1 */
	bool is_name;	 /* SIXPIPE_FORWARD_1_NAME */
	const struct option_spec *option; /* NULL: no option has this variable */
	const char *value;
};

/* Names ---------------------------------------------------------------------------------------- */

/* --help, --check and similar flags are for one call, not for every call. */
static bool has_variable(const struct option_spec *option)
{
	return option->group != OPTION_GROUP_GENERAL || option->type != OPTION_FLAG;
}

static bool is_endpoint(const struct option_spec *option)
{
	return option->type == OPTION_LISTEN || option->type == OPTION_BACKEND;
}

static bool is_same(const char *text, size_t length, const char *other)
{
	return strlen(other) == length && !memcmp(text, other, length);
}

/* The option that `word`, of `length` bytes, is in a variable: TIMEOUT_IDLE for timeout-idle. */
static const struct option_spec *find_option(const char *word, size_t length)
{
	char name[CONFIG_VARIABLE_BYTES];

	if (length >= sizeof(name))
		return NULL;
	for (size_t i = 0; i < length; i++) {
		if (islower((unsigned char)word[i]) || word[i] == '-')
			return NULL;
		name[i] = word[i] == '_' ? '-' : (char)tolower((unsigned char)word[i]);
	}
	return options_find(name, length);
}

/*
 * Reads "1_" to "65535_" without leading zeros. Returns the number and sets *end behind it, or
 * returns 0.
 */
static unsigned read_number(const char *text, const char **end)
{
	unsigned number = 0;

	if (*text == '0')
		return 0;
	for (; isdigit((unsigned char)*text) && number <= NUMBER_MOST; text++)
		number = number * 10 + (unsigned)(*text - '0');
	*end = text + 1;
	return *text == '_' && number <= NUMBER_MOST ? number : 0;
}

/* Reads a name of `length` bytes. Returns the part of the name that the option should be in. */
static const char *read_name(const char *name, size_t length, struct variable *variable)
{
	const char *word = name + strlen(PREFIX);

	memset(variable, 0, sizeof(*variable));
	if (!strncmp(name, FORWARD, strlen(FORWARD)))
		variable->number = read_number(name + strlen(FORWARD), &word);
	if (!variable->number)
		word = name + strlen(PREFIX);
	length -= (size_t)(word - name);
	variable->is_name = variable->number && is_same(word, length, "NAME");
	variable->option = find_option(word, length);
	variable->is_short = !variable->number && variable->option && is_endpoint(variable->option);
	if (variable->is_short)
		variable->number = 1;
	return word;
}

/* Prints the name of the variable; returns `name`. */
static const char *print_name(const struct variable *variable, char name[CONFIG_VARIABLE_BYTES])
{
	if (variable->option)
		return config_origin_variable(variable->option,
					      variable->is_short ? 0 : variable->number, name);
	snprintf(name, CONFIG_VARIABLE_BYTES, FORWARD "%u_NAME", variable->number);
	return name;
}

/* Variables that Kubernetes sets for a Service: NAME_SERVICE_HOST, NAME_PORT_80_TCP, ... */
static bool is_of_a_service(const char *variable, size_t length)
{
	static const char host[] = "_SERVICE_HOST", port[] = "_PORT", service[] = "_SERVICE";
	const char *end = variable + length;

	if (length >= strlen(host) && !memcmp(end - strlen(host), host, strlen(host)))
		return true;
	for (const char *at = strstr(variable, port); at && at < end; at = strstr(at + 1, port)) {
		const char *next = at + strlen(port);
		bool is_service = (size_t)(at - variable) >= strlen(service) &&
				  !memcmp(at - strlen(service), service, strlen(service));

		if (next == end ||
		    (*next == '_' && (is_service || isdigit((unsigned char)next[1]))))
			return true;
	}
	return false;
}

/*
 * `word` is the part of `name` behind SIXPIPE_ or behind the number of a forward, and is no option.
 */
static int fail_unknown(const char *name, const char *word, unsigned number, struct fault *fault)
{
	size_t length = strlen(word);
	char lower[CONFIG_VARIABLE_BYTES], other[CONFIG_VARIABLE_BYTES];
	const struct option_spec *near;

	if (!number && !strncmp(name, FORWARD, strlen(FORWARD)))
		return fault_set_object(fault, NULL, name,
					"has no forward number from 1 to %d; write " FORWARD
					"1_LISTEN and so on, and " FORWARD
					"1_NAME to give the forward a name",
					NUMBER_MOST);
	if (length >= sizeof(lower))
		length = 0;
	for (size_t i = 0; i < length; i++)
		lower[i] = word[i] == '_' ? '-' : (char)tolower((unsigned char)word[i]);
	near = options_suggest(lower, length);
	if (number && options_find_parameter(lower, length))
		return fault_set_object(fault, NULL, name,
					"%.*s is for one backend; write it behind the address, "
					"in " FORWARD "%u_BACKEND",
					(int)length, lower, number);
	if (near && has_variable(near) && (!number || options_is_of_forward(near)))
		return fault_set_object(fault, NULL, name, "no such variable; did you mean %s?",
					config_origin_variable(near, number, other));
	return fault_set_object(fault, NULL, name,
				"no such variable; unset it, or see sixpipe --help all for the "
				"options that have one");
}

/* Checks a name of `length` bytes. Returns 0, or -EINVAL with `fault` for an unknown variable. */
static int check_name(const char *name, size_t length, struct fault *fault)
{
	struct variable variable;
	size_t word = (size_t)(read_name(name, length, &variable) - name);
	const struct option_spec *option = variable.option;
	char shown[FAULT_VALUE_BYTES], other[CONFIG_VARIABLE_BYTES];

	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(length, sizeof(shown)), name);
	if (!option && (variable.is_name || is_of_a_service(name, length)))
		return 0;
	if (!option)
		return fail_unknown(shown, shown + word, variable.number, fault);
	if (!has_variable(option))
		return fault_set_object(fault, NULL, shown,
					"--%s is for the command line alone; unset it",
					option->name);
	if (variable.number && !options_is_of_forward(option))
		return fault_set_object(fault, NULL, shown,
					"--%s is of the whole process; set %s instead",
					option->name, config_origin_variable(option, 0, other));
	return 0;
}

/* Whether an entry of environ(7) is a variable of ours. Sets the length of its name. */
static bool is_ours(const char *entry, size_t *length)
{
	const char *equals = strchr(entry, '=');

	if (strncmp(entry, PREFIX, strlen(PREFIX)) || !equals || !equals[1])
		return false;
	*length = (size_t)(equals - entry);
	return true;
}

/* Options of the process and of all forwards -------------------------------------------------- */

const char *config_env_find(char *const *environment, const struct option_spec *option)
{
	char name[CONFIG_VARIABLE_BYTES];
	size_t length = strlen(config_origin_variable(option, 0, name));

	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, length) && (*environment)[length] == '=' &&
		    (*environment)[length + 1])
			return *environment + length + 1;
	return NULL;
}

void config_env_set_options(struct config *config, char *const *environment)
{
	size_t count, length;
	const struct option_spec *options = options_list(&count);
	struct fault fault;

	for (char *const *at = environment; at && *at; at++)
		if (is_ours(*at, &length) && check_name(*at, length, &fault))
			config_errors_add(&config->errors, &fault);
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_ENVIRONMENT};
	/* in the order of the table: the user cannot choose the order of the variables */
	for (size_t i = 0; i < count; i++) {
		const char *value = config_env_find(environment, &options[i]);

		if (value && has_variable(&options[i]) && !is_endpoint(&options[i]) &&
		    config_set(config, &options[i], value, &fault))
			config_errors_add(&config->errors, &fault);
	}
}

/* Forwards ------------------------------------------------------------------------------------- */

/* By number; then the name, then the options in the order of the table. */
static int compare(const void *left, const void *right)
{
	const struct variable *a = left, *b = right;
	uintptr_t option_a = (uintptr_t)a->option, option_b = (uintptr_t)b->option;

	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	if (option_a != option_b)
		return option_a < option_b ? -1 : 1;
	return (int)b->is_short - (int)a->is_short;
}

/* The variables of forwards, in order. The caller frees them. */
static struct variable *list_variables(char *const *environment, size_t *count)
{
	struct variable *list = NULL, variable;
	size_t length;

	*count = 0;
	for (char *const *at = environment; at && *at; at++) {
		if (!is_ours(*at, &length))
			continue;
		read_name(*at, length, &variable);
		if (!variable.number ||
		    (!variable.is_name &&
		     (!variable.option || !options_is_of_forward(variable.option))))
			continue;
		variable.value = *at + length + 1;
		list = config_grow(list, *count + 1, sizeof(variable));
		list[(*count)++] = variable;
	}
	if (*count)
		qsort(list, *count, sizeof(*list), compare);
	return list;
}

PRINTF_LIKE(3, 4)
static void fail(struct config *config, const struct variable *variable, const char *format, ...)
{
	char name[CONFIG_VARIABLE_BYTES];
	struct fault fault;
	va_list arguments;

	va_start(arguments, format);
	fault_set_list(&fault, NULL, variable->value, format, arguments);
	va_end(arguments);
	snprintf(fault.name, sizeof(fault.name), "%s", print_name(variable, name));
	config_errors_add(&config->errors, &fault);
}

/*
 * The length of an address and its parameters, up to the next address: only addresses have a colon.
 */
static size_t measure_backend(const char *values)
{
	size_t length = strcspn(values, BLANKS);

	for (;;) {
		size_t gap = strspn(values + length, BLANKS);
		size_t word = strcspn(values + length + gap, BLANKS);

		if (!word || memchr(values + length + gap, ':', word))
			return length;
		length += gap + word;
	}
}

static int add_backends(struct config *config, const struct option_spec *option, const char *values,
			struct fault *fault)
{
	int result = 0;

	for (values += strspn(values, BLANKS); *values && !result;) {
		size_t length = measure_backend(values);
		char *value = config_keep(&config->kept, length + 1);

		memcpy(value, values, length);
		value[length] = '\0';
		result = config_set(config, option, value, fault);
		values += length;
		values += strspn(values, BLANKS);
	}
	return result;
}

static void set_variable(struct config *config, const struct variable *variable)
{
	const struct option_spec *option = variable->option;
	struct fault fault;
	int result;

	config->origin.number = variable->is_short ? 0 : variable->number;
	if (option->type == OPTION_BACKEND)
		result = add_backends(config, option, variable->value, &fault);
	else
		result = config_set(config, option, variable->value, &fault);
	if (result)
		config_errors_add(&config->errors, &fault);
}

/*
 * Begins the forward of a group of variables, which begins with the name if there is one. Returns
 * whether the forward is there.
 */
static bool begin_forward(struct config *config, const struct variable *group,
			  const struct variable *listen)
{
	char number[16];
	const char *name = number;

	snprintf(number, sizeof(number), "%u", group->number);
	if (group->is_name && !config_is_name(group->value))
		fail(config, group, CONFIG_NO_NAME);
	else if (group->is_name && strspn(group->value, "0123456789") == strlen(group->value))
		fail(config, group,
		     "numbers are the names of forwards without a name; give a word");
	else if (group->is_name && config_find_forward(config, group->value))
		fail(config, group, "is the name of another forward; give each its own name");
	else if (group->is_name)
		name = group->value;
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_ENVIRONMENT,
						.number = listen->is_short ? 0 : listen->number};
	if (config_begin_forward(config, config_text_keep(&config->kept, name)))
		return true;
	fail(config, listen, CONFIG_TOO_MANY_FORWARDS);
	return false;
}

/* Adds the forward of `count` variables with one number. */
static void add_forward(struct config *config, const struct variable *group, size_t count)
{
	const struct variable missing = {
		.number = group->number,
		.is_short = group->is_short,
		.option = options_find("listen", strlen("listen")),
	};
	const struct variable *listen = group;
	char name[CONFIG_VARIABLE_BYTES];

	while (listen < group + count && listen->option != missing.option)
		listen++;
	if (listen == group + count) {
		fail(config, group, "comes without a listener; set %s as well",
		     print_name(&missing, name));
		return;
	}
	if (!begin_forward(config, group, listen))
		return;
	for (size_t i = group->is_name; i < count; i++) {
		if (i && group[i].option == group[i - 1].option)
			fail(config, &group[i],
			     "%s is set too, and means the same; unset one of them",
			     print_name(&group[i - 1], name));
		else
			set_variable(config, &group[i]);
	}
}

void config_env_add_forwards(struct config *config, char *const *environment)
{
	size_t count, next;
	struct variable *list = list_variables(environment, &count);

	for (size_t i = 0; i < count; i = next) {
		next = i + 1;
		while (next < count && list[next].number == list[i].number)
			next++;
		add_forward(config, &list[i], next - i);
	}
	config->early_forward_count = config->forward_count;
	free(list);
}
