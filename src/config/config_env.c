#include "config/config_env.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "config/config_origin.h"

#define PREFIX	     CONFIG_VARIABLE_PREFIX
#define BACKEND_MOST 512 /* longer texts are no addresses, and are shown in part */
#define BLANKS	     " \t\n"

/* --help, --check and similar flags are for one call, not for every call. */
static bool has_variable(const struct option_spec *option)
{
	return option->group != OPTION_GROUP_GENERAL || option->type != OPTION_FLAG;
}

static bool is_forward(const struct option_spec *option)
{
	return option->type == OPTION_LISTEN || option->type == OPTION_BACKEND;
}

static const struct option_spec *find_option(const char *variable, size_t length)
{
	size_t count;
	const struct option_spec *options = options_list(&count);
	char name[CONFIG_VARIABLE_BYTES];

	for (size_t i = 0; i < count; i++)
		if (strlen(config_origin_variable(&options[i], name)) == length &&
		    !memcmp(name, variable, length))
			return &options[i];
	return NULL;
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

static int fail_unknown(const char *variable, struct fault *fault)
{
	const struct option_spec *near = NULL;
	size_t prefix_length = strlen(PREFIX), length = strlen(variable);
	char word[CONFIG_VARIABLE_BYTES], name[CONFIG_VARIABLE_BYTES];

	if (length - prefix_length < sizeof(word)) {
		for (size_t i = prefix_length; i < length; i++)
			word[i - prefix_length] =
				variable[i] == '_' ? '-'
						   : (char)tolower((unsigned char)variable[i]);
		near = options_suggest(word, length - prefix_length);
	}
	if (near && has_variable(near))
		return fault_set_object(fault, NULL, variable, "no such variable; did you mean %s?",
					config_origin_variable(near, name));
	return fault_set_object(fault, NULL, variable,
				"no such variable; unset it, or see sixpipe --help all for the "
				"options that have one");
}

/* Checks a name of `length` bytes. Returns 0, or -EINVAL with `fault` for an unknown variable. */
static int check_variable(const char *variable, size_t length, struct fault *fault)
{
	const struct option_spec *option = find_option(variable, length);
	char shown[FAULT_VALUE_BYTES];

	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(length, sizeof(shown)), variable);
	if (!option)
		return is_of_a_service(variable, length) ? 0 : fail_unknown(shown, fault);
	if (has_variable(option))
		return 0;
	return fault_set_object(fault, NULL, shown, "--%s is for the command line alone; unset it",
				option->name);
}

const char *config_env_find(char *const *environment, const struct option_spec *option)
{
	char name[CONFIG_VARIABLE_BYTES];
	size_t length = strlen(config_origin_variable(option, name));

	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, length) && (*environment)[length] == '=' &&
		    (*environment)[length + 1])
			return *environment + length + 1;
	return NULL;
}

void config_env_set_options(struct config *config, char *const *environment)
{
	size_t count;
	const struct option_spec *options = options_list(&count);
	struct fault fault;

	for (char *const *at = environment; at && *at; at++) {
		const char *equals = strchr(*at, '=');

		if (!strncmp(*at, PREFIX, strlen(PREFIX)) && equals && equals[1] &&
		    check_variable(*at, (size_t)(equals - *at), &fault))
			config_errors_add(&config->errors, &fault);
	}
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_ENVIRONMENT};
	/* in the order of the table: the user cannot choose the order of the variables */
	for (size_t i = 0; i < count; i++) {
		const char *value = config_env_find(environment, &options[i]);

		if (value && has_variable(&options[i]) && !is_forward(&options[i]) &&
		    config_set(config, &options[i], value, &fault))
			config_errors_add(&config->errors, &fault);
	}
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
		char value[BACKEND_MOST];

		snprintf(value, sizeof(value), "%.*s", (int)MIN(length, sizeof(value)), values);
		result = config_set(config, option, value, fault);
		values += length;
		values += strspn(values, BLANKS);
	}
	return result;
}

int config_env_add_forward(struct config *config, char *const *environment, bool backend_optional,
			   struct fault *fault)
{
	const struct option_spec *listen = options_find("listen", strlen("listen"));
	const struct option_spec *backend = options_find("backend", strlen("backend"));
	const char *listener = config_env_find(environment, listen);
	const char *backends = config_env_find(environment, backend);
	int result;

	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_ENVIRONMENT};
	if (!listener && backends)
		return fault_set(fault, "backend", backends,
				 "comes without a listener; set SIXPIPE_LISTEN as well");
	if (!listener)
		return 0;
	result = config_set(config, listen, listener, fault);
	if (!result && backends)
		result = add_backends(config, backend, backends, fault);
	if (!result && !backend_optional && !config->forwards[0].backend_count)
		result = fault_set(fault, "listen", listener,
				   "has no backend; set SIXPIPE_BACKEND as well");
	return result;
}
