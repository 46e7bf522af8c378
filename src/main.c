/* SPDX-License-Identifier: MIT */
/*
 * sixpipe: IPv6 in, splice through pipes, IPv4 out. The steps of forwarding: parse, check, bind,
 * drop, run (control/service.h). The other commands are in config/commands.def.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "command/admin_client.h"
#include "command/doctor.h"
#include "command/healthcheck.h"
#include "config/config_dump.h"
#include "config/config_parse.h"
#include "config/usage.h"
#include "control/manager.h"
#include "control/parent.h"
#include "control/service.h"
#include "control/takeover_take.h"
#include "os/activation.h"
#include "os/startup.h"

static void print_checked(const struct config *config)
{
	char text[ADDR_TEXT_BYTES];

	puts("configuration OK");
	for (unsigned i = 0; i < config->forward_count; i++)
		if (!config->forwards[i].listen.length_bytes)
			printf("not checked: %s, whose socket is passed at the start\n",
			       config_print_listen(&config->forwards[i], text));
}

/* Prints the faults, or in a takeover sends them to the old process. Returns the exit code. */
static int fail(const struct config *config, int code, const struct config_errors *errors)
{
	if (!config->inherited)
		return usage_fail_all(code, errors);
	/* the old process logs it, and tells who has asked */
	takeover_take_refuse(config->inherited, code, errors);
	return code;
}

/* In a process that serves; with --check, in the only process. */
static int serve(const struct config *config, struct service_process *process)
{
	struct service service;
	bool ended_well = true, ok;
	int result;

	service_init(&service, config, process);
	ok = service_check(&service);
	if (ok && config->check)
		print_checked(config);
	else
		ok = ok && service_bind(&service) && service_drop(&service) &&
		     service_run(&service, &ended_well);
	if (!ok)
		manager_fail(&service.manager, &service.errors);
	result = ok ? EXIT_SUCCESS : fail(config, EXIT_FAILURE, &service.errors);
	if (!ended_well)
		result = EXIT_FAILURE;
	if (!service_finish(&service)) {
		log_stop(LOG_FLUSH_LIMIT_S);
		_exit(result);
	}
	return result;
}

/* The parent stays, and a child serves. A process that takes over has its parent already. */
static int fork_and_serve(const struct config *config, struct service_process *process, char **argv)
{
	int exit_code;

	if (!config->check && process->link.fd < 0 &&
	    !parent_fork(&process->link, argv, &exit_code))
		return exit_code;
	return serve(config, process);
}

static int refuse_config(const struct config *config)
{
	struct manager manager;

	manager_open(&manager, config->inherited != NULL);
	manager_fail(&manager, &config->errors);
	manager_close(&manager);
	return fail(config, EXIT_USAGE, &config->errors);
}

static int print_help(const char *topic)
{
	struct fault fault;

	return usage_print(stdout, topic, &fault) ? usage_fail(EXIT_USAGE, &fault) : EXIT_SUCCESS;
}

static int print_config(const struct config *config)
{
	struct fault fault;
	char *text = config_dump(config, &fault);

	if (!text)
		return usage_fail(EXIT_FAILURE, &fault);
	fputs(text, stdout);
	free(text);
	return EXIT_SUCCESS;
}

static int forward_or_print(int argc, char **argv)
{
	static struct config config; /* too large for a small stack */
	struct command_line line = {.config = &config, .environment = environ};
	struct service_process process = {0};
	struct fault fault;
	int carrier_fd, result = EXIT_SUCCESS;

	if (parent_link_take(&process.link, &carrier_fd, &fault))
		return usage_fail(EXIT_USAGE, &fault);
	if (carrier_fd >= 0 && takeover_take_open(&process.take, carrier_fd, &fault))
		return usage_fail(EXIT_FAILURE, &fault);
	config_init(&config);
	config.inherited = process.take.inherited.carrier ? &process.take.inherited : NULL;
	if (activation_take(&config.passed, &fault))
		config_errors_add(&config.errors, &fault);
	if (config.errors.count || config_parse(&line, argc, argv))
		result = refuse_config(&config);
	else if (config.version)
		usage_print_version(stdout);
	else if (config.help)
		result = print_help(line.help_topic);
	else if (config.dump_config)
		result = print_config(&config);
	else
		result = fork_and_serve(&config, &process, argv);
	config_finish(&config);
	takeover_take_finish(&process.take);
	return result;
}

static const struct command {
	const char *word;
	/* Takes argv[0], the word, and what follows it. Returns the exit code. */
	int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(word, function, arguments, help) {#word, function},
#include "config/commands.def"
#undef COMMAND
};

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands) && argc > 1; i++)
		if (!strcmp(commands[i].word, argv[1]))
			return commands[i].run(argc - 1, argv + 1);
	return forward_or_print(argc, argv);
}

int main(int argc, char **argv)
{
	struct fault fault;
	int result;

	if (startup_prepare(&fault))
		return usage_fail(EXIT_FAILURE, &fault);
	result = usage_finish(run_command(argc, argv));
	log_stop(LOG_FLUSH_LIMIT_S);
	return result;
}
