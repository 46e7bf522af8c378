/* SPDX-License-Identifier: MIT */
/*
 * load: makes the load that the bench measures with, and plays the backend.
 *
 * One program for both ends, so that each can check what the other says: every byte count is
 * compared, payloads are looked into, and an error anywhere makes the exit status 1.
 */
#include "backend.h"
#include "client.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static const char usage[] =
	"usage: load backend [--listen 127.0.0.1:0] [--threads N] [--background-bulk]\n"
	"       load client --connect ADDRESS:PORT [OPTIONS]\n"
	"\n"
	"  --bulk N             bulk flows, with --direction up, down or both (default up)\n"
	"  --rate BYTES         paces each bulk flow to BYTES per second\n"
	"  --small N            request/response connections\n"
	"  --request BYTES      size of a request, header included (default and minimum: 64, 32)\n"
	"  --response BYTES     size of a response\n"
	"  --interval-us N      each small connection sends every N us (default: at once)\n"
	"  --connects N         connect, one request, close, again: N at a time\n"
	"  --idle N             connections that make one request, then nothing\n"
	"  --seconds S          how long (default 2); 0 with --sync: until told\n"
	"  --threads N          threads for bulk flows, and as many for the others (default 1)\n"
	"  --background-bulk    bulk threads leave the CPU to everything else (SCHED_IDLE), so\n"
	"                       that small connections wait for the forwarder, not for these\n"
	"  --ramp N             so many connections are being opened at a time (default 64)\n"
	"  --sync               print 'ready', 'running' (with --seconds 0) and 'drained'; after\n"
	"                       each wait for a line on standard input\n"
	"\n"
	"One JSON object on standard output tells the result. Status 1: something was wrong.\n";

enum option_code {
	OPT_LISTEN = 1,
	OPT_CONNECT,
	OPT_BULK,
	OPT_DIRECTION,
	OPT_RATE,
	OPT_SMALL,
	OPT_REQUEST,
	OPT_RESPONSE,
	OPT_INTERVAL,
	OPT_CONNECTS,
	OPT_IDLE,
	OPT_SECONDS,
	OPT_THREADS,
	OPT_BACKGROUND,
	OPT_RAMP,
	OPT_SYNC,
	OPT_HELP,
};

static const struct option option_table[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"bulk", required_argument, NULL, OPT_BULK},
	{"direction", required_argument, NULL, OPT_DIRECTION},
	{"rate", required_argument, NULL, OPT_RATE},
	{"small", required_argument, NULL, OPT_SMALL},
	{"request", required_argument, NULL, OPT_REQUEST},
	{"response", required_argument, NULL, OPT_RESPONSE},
	{"interval-us", required_argument, NULL, OPT_INTERVAL},
	{"connects", required_argument, NULL, OPT_CONNECTS},
	{"idle", required_argument, NULL, OPT_IDLE},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"background-bulk", no_argument, NULL, OPT_BACKGROUND},
	{"ramp", required_argument, NULL, OPT_RAMP},
	{"sync", no_argument, NULL, OPT_SYNC},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct load_options {
	struct backend_options backend;
	struct client_options client;
	const char *connect;
};

_Noreturn static void fail(const char *what, const char *value)
{
	fprintf(stderr, "load: %s '%s'; see load --help\n", what, value);
	exit(2);
}

static uint64_t number(const char *text, uint64_t minimum, uint64_t maximum)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (end == text || *end != '\0' || value < minimum || value > maximum)
		fail("not a number in range:", text);
	return value;
}

static void set_direction(struct client_options *client, const char *text)
{
	client->bulk_up = strcmp(text, "up") == 0 || strcmp(text, "both") == 0;
	client->bulk_down = strcmp(text, "down") == 0 || strcmp(text, "both") == 0;
	if (!client->bulk_up && !client->bulk_down)
		fail("not a direction:", text);
}

static void set_role_count(struct client_options *client, enum conn_role role, const char *text)
{
	client->role_counts[role] = (unsigned)number(text, 0, 1000000);
}

static void set_option(struct load_options *options, int code, const char *value)
{
	struct client_options *client = &options->client;

	switch (code) {
	case OPT_LISTEN:
		if (!endpoint_parse(&options->backend.listen, value))
			fail("not an address:", value);
		break;
	case OPT_CONNECT:
		options->connect = value;
		if (!endpoint_parse(&client->connect, value))
			fail("not an address:", value);
		break;
	case OPT_BULK:
		set_role_count(client, ROLE_BULK, value);
		break;
	case OPT_DIRECTION:
		set_direction(client, value);
		break;
	case OPT_RATE:
		client->rate = number(value, 0, UINT64_MAX);
		break;
	case OPT_SMALL:
		set_role_count(client, ROLE_SMALL, value);
		break;
	case OPT_REQUEST:
		client->request_bytes = (uint32_t)number(value, WIRE_HEADER_BYTES, WIRE_DATA_BYTES);
		break;
	case OPT_RESPONSE:
		client->response_bytes =
			(uint32_t)number(value, WIRE_HEADER_BYTES, WIRE_DATA_BYTES);
		break;
	case OPT_INTERVAL:
		client->interval_ns = number(value, 0, 1000000000) * 1000u;
		break;
	case OPT_CONNECTS:
		set_role_count(client, ROLE_CONNECTS, value);
		break;
	case OPT_IDLE:
		set_role_count(client, ROLE_IDLE, value);
		break;
	case OPT_SECONDS:
		client->seconds = strtod(value, NULL);
		break;
	case OPT_THREADS:
		client->thread_count = (unsigned)number(value, 1, 256);
		options->backend.thread_count = client->thread_count;
		break;
	case OPT_BACKGROUND:
		client->background_bulk = true;
		options->backend.background_bulk = true;
		break;
	case OPT_RAMP:
		client->ramp = (unsigned)number(value, 1, 65536);
		break;
	case OPT_SYNC:
		client->sync = true;
		break;
	case OPT_HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct load_options options = {
		.backend = {.thread_count = 1},
		.client =
			{
				.thread_count = 1,
				.bulk_up = true,
				.ramp = 64,
				.request_bytes = 64,
				.response_bytes = 64,
				.seconds = 2,
			},
	};
	const char *command = argc > 1 ? argv[1] : "";
	int code;

	endpoint_parse(&options.backend.listen, "127.0.0.1:0");
	while ((code = getopt_long(argc, argv, "", option_table, NULL)) != -1)
		set_option(&options, code, optarg);
	if (argc - optind != 1)
		fail("wants one command, got", command);
	command = argv[optind];
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	wire_init();
	if (strcmp(command, "backend") == 0)
		return backend_run(&options.backend);
	if (strcmp(command, "client") != 0)
		fail("no such command:", command);
	if (options.connect == NULL)
		fail("client wants", "--connect");
	return client_run(&options.client);
}
