/* SPDX-License-Identifier: MIT */
#include "command/healthcheck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/client.h"
#include "config/config_address.h"
#include "config/usage.h"

#define VARIABLE     "SIXPIPE_METRICS"
#define ANSWER_BYTES 1024 /* holds the status and the first line of the body */

struct request {
	const char *path; /* "/ready", "/live" */
	bool optional;	  /* without an address, nothing is asked */
	struct addr address;
};

/* The command line --------------------------------------------------------------------------- */

/* A listener on all addresses is found on loopback. */
static void make_connectable(struct addr *address)
{
	if (addr_is_v6_wildcard(address))
		address->v6.sin6_addr = in6addr_loopback;
	else if (addr_is_wildcard(address))
		address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static int choose_address(struct request *request, const char *option, struct fault *fault)
{
	const char *text = option ? option : getenv(VARIABLE);
	const char *problem;
	int result = 0;

	/* as in config_env.h, an empty variable counts as unset */
	if (!option && text && !*text)
		text = NULL;
	if (!text && request->optional)
		return 0;
	if (!text)
		return fault_set(fault, NULL, NULL,
				 "no address to ask; give --metrics ADDRESS, or set " VARIABLE);
	problem = addr_parse(text, &request->address);
	if (problem)
		result = config_address_explain(CONFIG_ADDRESS_MONITORING,
						CONFIG_ORIGIN_COMMAND_LINE, text, problem, fault);
	else if (!addr_port(&request->address))
		result = fault_set(
			fault, NULL, text,
			"port 0 cannot be asked; give the port of the event=ready line's metrics=");
	if (result) {
		snprintf(fault->name, sizeof(fault->name), "%s", option ? "--metrics" : VARIABLE);
		return result;
	}
	make_connectable(&request->address);
	return 0;
}

/* Returns 0, 1 when help was asked for, or -EINVAL. Without anything to ask, there is no address. */
static int parse(int argc, char **argv, struct request *request, struct fault *fault)
{
	const char *address = NULL;

	*request = (struct request){.path = "/ready"};
	for (int i = 1; i < argc; i++) {
		const char *argument = argv[i];

		if (!strcmp(argument, "--help") || !strcmp(argument, "-h"))
			return 1;
		if (!strcmp(argument, "--live"))
			request->path = "/live";
		else if (!strcmp(argument, "--optional"))
			request->optional = true;
		else if (!client_take_value(argv, &i, "--metrics", &address))
			return fault_set(fault, NULL, argument,
					 "not known; give --live, --optional or --metrics ADDRESS");
		else if (!address)
			return fault_set(fault, "metrics", NULL, "has no value; give ADDRESS");
	}
	return choose_address(request, address, fault);
}

/* Asking --------------------------------------------------------------------------------------- */

bool healthcheck_parse(const char *text, struct healthcheck_answer *answer)
{
	const char *body = strstr(text, "\r\n\r\n");
	size_t length = 0;
	char digits[4];
	int used;

	memset(answer, 0, sizeof(*answer));
	if (sscanf(text, "HTTP/1.%*1[0-9]%*1[ ]%3[0-9]%n", digits, &used) != 1 ||
	    used != (int)strlen("HTTP/1.1 200") || !strchr(" \r", text[used]))
		return false;
	answer->status = (unsigned)strtoul(digits, NULL, 10);
	for (body = body ? body + 4 : ""; *body && *body != '\n'; body++)
		if (length < sizeof(answer->line) - 1)
			answer->line[length++] = (char)(*body < ' ' || *body > '~' ? '?' : *body);
	return true;
}

/* Asks, and prints a good answer. Returns the exit code, with `fault` unless it is 0. */
static int ask(const struct request *request, struct fault *fault)
{
	const char *remedy = "is this sixpipe's --metrics address?";
	struct client_answer text = {.enough_bytes = ANSWER_BYTES};
	struct healthcheck_answer answer;
	char where[ADDR_TEXT_BYTES], problem[288], head[64];
	int result;

	snprintf(head, sizeof(head), "GET %s HTTP/1.0\r\n\r\n", request->path);
	result = client_ask(&request->address, head, HEALTHCHECK_LIMIT_MS, &text);
	snprintf(problem, sizeof(problem), "%s", strerror(-result));
	if (result == -ECONNREFUSED) {
		remedy = "nothing listens there: start sixpipe with --metrics, or give its address";
	} else if (result == -ETIMEDOUT) {
		remedy = "it was given 2 s; is the process stopped, or the address another host's?";
	} else if (!result && !healthcheck_parse(text.text, &answer)) {
		strcpy(problem, "the answer is not HTTP");
	} else if (!result) {
		snprintf(problem, sizeof(problem), "%u '%s'", answer.status, answer.line);
		if (answer.status == 503)
			remedy = "send no new connections to it; its log tells more";
	}
	free(text.text);
	if (!result && answer.status == 200) {
		puts(answer.line);
		return EXIT_SUCCESS;
	}
	fault_set(fault, NULL, NULL, "healthcheck %s%s: %s; %s",
		  addr_print(&request->address, where), request->path, problem, remedy);
	return EXIT_FAILURE;
}

int healthcheck_main(int argc, char **argv)
{
	struct request request;
	struct fault fault;
	int result = parse(argc, argv, &request, &fault);

	if (result)
		return client_stop(argv[0], result < 0 ? &fault : NULL);
	if (!request.address.length_bytes) {
		puts("nothing asked: " VARIABLE " is not set");
		return EXIT_SUCCESS;
	}
	result = ask(&request, &fault);
	return result ? usage_fail(result, &fault) : result;
}
