/* Reads the command line into a configuration. */
#pragma once

#include "config.h"

struct command_line {
	struct config *config;	/* initialised by the caller */
	const char *help_topic; /* the word after --help, or NULL */
};

/*
 * Reads argv[1] to argv[argc - 1], whose strings must outlive the configuration. Reading stops at
 * --help and --version. Returns 0, or -EINVAL with `error` naming the argument, the reason and the
 * remedy.
 */
int config_parse(struct command_line *line, int argc, char **argv, char error[CONFIG_ERROR_BYTES]);
