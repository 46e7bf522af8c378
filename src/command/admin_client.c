/* SPDX-License-Identifier: MIT */
#include "command/admin_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "admin/admin_request.h"
#include "base/check.h"
#include "base/units.h"
#include "base/util.h"
#include "command/client.h"
#include "config/usage.h"

#define VARIABLE "SIXPIPE_ADMIN"

/* The longest line of a fault. */
#define TAKEOVER_LINE_BYTES 4096

struct ask {
	struct admin_request request;
	const char *path;
};

/* The command line ----------------------------------------------------------------------------- */

/* Takes an argument that is no option. Its blanks divide it, as in 'ADDRESS weight=3'. */
static int take_words(struct ask *ask, const char *argument, struct fault *fault)
{
	char words[ADMIN_REQUEST_BYTES], *rest = words, *word;
	bool is_empty = !*argument;

	if (strlen(argument) >= sizeof(words))
		return fault_set(fault, NULL, argument, "is too long");
	strcpy(words, argument);
	while ((word = strsep(&rest, " \t\n"))) {
		const char *problem =
			*word || is_empty ? admin_request_take(&ask->request, word) : NULL;

		if (problem)
			return fault_set_words(fault, NULL, word, problem);
	}
	return 0;
}

/* Takes an option of the request, as NAME=VALUE. */
static int take_option(struct ask *ask, const char *name, const char *value, struct fault *fault)
{
	char word[ADMIN_REQUEST_BYTES];
	const char *problem;
	uint64_t duration_ms;
	int length;

	if (!value || !*value)
		return fault_set(fault, name, NULL, "has no value; give one");
	if (!strcmp(name, "for")) {
		if (units_parse_duration(value, &duration_ms) || !duration_ms)
			return fault_set(fault, name, value,
					 "not a duration; write 10m, 1h or 1d, or leave it out for "
					 "a ban without end");
		length = snprintf(word, sizeof(word), "for=%" PRIu64, duration_ms);
	} else {
		length = snprintf(word, sizeof(word), "%s=%s", name, value);
	}
	if (length >= (int)sizeof(word))
		return fault_set(fault, name, value, "is too long");
	problem = admin_request_take(&ask->request, word);
	return problem ? fault_set_words(fault, name, value, problem) : 0;
}

/* Reads argument *at, and its value where it takes one. Returns 0 or -EINVAL. */
static int take_argument(struct ask *ask, char **argv, int *at, struct fault *fault)
{
	/* as the table of admin_request.c has them; the names are static for the fault */
	static const char *const options[] = {"for",	"forward", "backend",
					      "client", "sort",	   "limit"};
	const char *argument = argv[*at], *value;
	char dashed[32];

	if (!strcmp(argument, "--json")) {
		ask->request.json = true;
		return 0;
	}
	if (client_take_value(argv, at, "--admin", &value)) {
		ask->path = value;
		return value ? 0 : fault_set(fault, "admin", NULL, "has no value; give one");
	}
	for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
		snprintf(dashed, sizeof(dashed), "--%s", options[i]);
		if (admin_request_has_option(ask->request.verb, options[i]) &&
		    client_take_value(argv, at, dashed, &value))
			return take_option(ask, options[i], value, fault);
	}
	return *argument == '-' ? fault_set(fault, NULL, argument,
					    "not known; %s --help tells what is", argv[0])
				: take_words(ask, argument, fault);
}

/* Returns 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct ask *ask, struct fault *fault)
{
	const char *problem = admin_request_begin(&ask->request, argv[0]);

	CHECK(!problem);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
		if (take_argument(ask, argv, &i, fault))
			return -EINVAL;
	}
	problem = admin_request_end(&ask->request);
	if (problem)
		return fault_set_words(fault, NULL, NULL, problem);
	if (!ask->path)
		ask->path = getenv(VARIABLE);
	if (!ask->path || !*ask->path)
		ask->path = ADMIN_CLIENT_PATH;
	return 0;
}

/* Asking --------------------------------------------------------------------------------------- */

/* A takeover has a limit of its own, --takeover-timeout, after which it is answered. */
static bool is_takeover(const struct ask *ask)
{
	return ask->request.verb == ADMIN_RELOAD || ask->request.verb == ADMIN_UPGRADE;
}

static uint64_t limit_of(const struct ask *ask)
{
	return is_takeover(ask) ? ADMIN_CLIENT_TAKEOVER_LIMIT_MS : ADMIN_CLIENT_LIMIT_MS;
}

static int exchange(const struct ask *ask, struct client_answer *answer)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct addr address = {
		.local = {.family = AF_UNIX,
			  .path_bytes = (uint16_t)strnlen(ask->path, sizeof(name.sun_path)),
			  .name = &name},
		.length_bytes = sizeof(address.local)};
	char line[ADMIN_REQUEST_BYTES];

	if (strlen(ask->path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	strcpy(name.sun_path, ask->path);
	return client_ask(&address, admin_request_print(&ask->request, line), limit_of(ask),
			  answer);
}

int admin_client_split(char *text, size_t bytes, const char **message, const char **output)
{
	char *end = bytes ? memchr(text, '\n', bytes) : NULL;

	if (!end || *text < '0' || *text > '2' || (text[1] != ' ' && text[1] != '\n'))
		return -EPROTO;
	*end = '\0';
	*message = text[1] ? text + 2 : "";
	*output = end + 1;
	return *text - '0';
}

static int fail_unreached(const struct ask *ask, int problem)
{
	struct fault fault;
	const char *remedy = "is this sixpipe's --admin socket, and is sixpipe not ending?";

	if (problem == -ENOENT || problem == -ECONNREFUSED)
		remedy = "start sixpipe with --admin PATH, or name its path by --admin";
	else if (problem == -EACCES)
		remedy = "ask as root or as the user that sixpipe runs as; --admin-mode 0660 lets "
			 "its group ask too";
	else if (problem == -ETIMEDOUT)
		remedy =
			"it was given 10 s; is the process stopped, or busy with others' requests?";
	fault_set(&fault, NULL, NULL, "cannot reach %.200s: %s; %s", ask->path,
		  problem == -ETIMEDOUT ? "No answer" : strerror(-problem), remedy);
	return usage_fail(EXIT_FAILURE, &fault);
}

static void print_faults(int code, const char *lines)
{
	char line[TAKEOVER_LINE_BYTES];

	while (*lines) {
		size_t length = strcspn(lines, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)length, lines);
		usage_fail_text(code, line);
		lines += length + (lines[length] == '\n');
	}
}

int admin_client_main(int argc, char **argv)
{
	struct ask ask = {0};
	struct fault fault;
	const char *message, *output;
	struct client_answer answer = {0};
	int result = parse(argc, argv, &ask, &fault);

	if (result)
		return client_stop(argv[0], result < 0 ? &fault : NULL);
	result = exchange(&ask, &answer);
	if (!result)
		result = admin_client_split(answer.text, answer.bytes, &message, &output);
	if (result < 0) {
		result = fail_unreached(&ask, result);
	} else {
		/* the faults of a configuration: a line for each */
		if (result && is_takeover(&ask) && !ask.request.json)
			print_faults(result, output);
		else
			fputs(output, stdout);
		if (*message)
			usage_fail_text(result, message);
	}
	free(answer.text);
	return result;
}
