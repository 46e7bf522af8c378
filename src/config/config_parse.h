/* SPDX-License-Identifier: MIT */
/* Reads the command line, the environment and the file of --config into a configuration. */
#pragma once

#include "config/config.h"

struct command_line {
	struct config *config;	  /* initialised by the caller */
	char *const *environment; /* environ(7), see config_env.h; NULL: none */
	bool forwards_optional;	  /* LISTEN and BACKEND may be left out */
	const char *help_topic;	  /* set: the word after --help, or NULL */
};

/*
 * Reads argv[1] to argv[argc - 1].
 * - Arguments replace the environment, which replaces the file of --config, which replaces the
 *   defaults.
 * - Forwards come from the file and the arguments; from the environment only if these have none.
 * - A flag without =VALUE is yes.
 * - Reading stops at --help and --version; later arguments are not checked.
 * - Reading stops after an unknown option or a wrong listener.
 * Returns 0, or -EINVAL with all faults in config->errors, each with its argument, variable or
 * line.
 */
int config_parse(struct command_line *line, int argc, char **argv);
