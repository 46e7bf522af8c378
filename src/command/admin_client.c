/* SPDX-License-Identifier: MIT */
#include "command/admin_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "admin/admin_request.h"
#include "base/check.h"
#include "base/units.h"
#include "command/client.h"
#include "config/usage.h"

#define VARIABLE "SIXPIPE_ADMIN"

struct ask {
	struct admin_request request;
	const char *path;
};

/* The command line ----------------------------------------------------------------------------- */

static int set_who(struct ask *ask, const char *text, struct fault *fault)
{
	struct admin_request *request = &ask->request;
	const char *problem;

	if (request->verb == ADMIN_BANS)
		return fault_set(fault, NULL, text, "takes no address; leave it out");
	if (*request->given)
		return fault_set(fault, NULL, text, "one address at a time; ask again for this");
	problem = strlen(text) < sizeof(request->given) ? admin_who_parse(text, &request->who)
							: "is too long";
	if (problem)
		return fault_set_words(fault, NULL, text, problem);
	strcpy(request->given, text);
	return 0;
}

static int set_duration(struct ask *ask, const char *text, struct fault *fault)
{
	if (units_parse_duration(text, &ask->request.for_ms) || !ask->request.for_ms)
		return fault_set(fault, "for", text,
				 "not a duration; write 10m, 1h or 1d, or leave it out for a ban "
				 "without end");
	return 0;
}

/* Reads argument *at, and its value where it takes one. Returns 0 or -EINVAL. */
static int take_argument(struct ask *ask, char **argv, int *at, struct fault *fault)
{
	const char *argument = argv[*at], *value;

	if (!strcmp(argument, "--json")) {
		ask->request.json = true;
		return 0;
	}
	if (client_take_value(argv, at, "--admin", &value))
		ask->path = value;
	else if (ask->request.verb != ADMIN_BAN || !client_take_value(argv, at, "--for", &value))
		return *argument == '-' ? fault_set(fault, NULL, argument,
						    "not known; %s --help tells what is", argv[0])
					: set_who(ask, argument, fault);
	else if (value)
		return set_duration(ask, value, fault);
	return value ? 0
		     : fault_set(fault, argument + strlen("--"), NULL, "has no value; give one");
}

/* Returns 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct ask *ask, struct fault *fault)
{
	ask->request.verb = admin_verb_find(argv[0]);
	CHECK(ask->request.verb != ADMIN_VERB_COUNT);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
		if (take_argument(ask, argv, &i, fault))
			return -EINVAL;
	}
	if (ask->request.verb != ADMIN_BANS && !*ask->request.given)
		return fault_set(
			fault, NULL, NULL,
			"whom? give an address, a block of addresses, or an address and port");
	if (!ask->path)
		ask->path = getenv(VARIABLE);
	if (!ask->path || !*ask->path)
		ask->path = ADMIN_CLIENT_PATH;
	return 0;
}

/* Asking --------------------------------------------------------------------------------------- */

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
	return client_ask(&address, admin_request_print(&ask->request, line), ADMIN_CLIENT_LIMIT_MS,
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
		fputs(output, stdout);
		if (*message)
			usage_fail_text(result, message);
	}
	free(answer.text);
	return result;
}
