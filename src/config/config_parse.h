/* Reads the command line, and the environment behind it, into a configuration. */
#pragma once

#include "config/config.h"

struct command_line {
	struct config *config;	  /* initialised by the caller */
	char *const *environment; /* environ(7), see config_env.h; NULL: none */
	bool forwards_optional;	  /* LISTEN and BACKEND may be left out */
	const char *help_topic;	  /* set: the word after --help, or NULL */
};

/*
 * Reads argv[1] to argv[argc - 1]; they go before the environment, which goes before the file of --config, and that before
 * the defaults. The forwards of file and arguments are used, that of the environment only where these have
 * none. Reading stops at --help and --version, and then nothing else needs to be right. A flag has `yes` for its
 * value unless =VALUE follows. Returns 0, or -EINVAL; then config->errors has all that is wrong, each with
 * the argument, the variable or the line. Behind an option that is not known, or a listener that is wrong, the command line is read no further.
 */
int config_parse(struct command_line *line, int argc, char **argv);
