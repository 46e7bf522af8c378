/* Reads the command line, and the environment behind it, into a configuration. */
#pragma once

#include "config.h"

struct command_line {
	struct config *config;	  /* initialised by the caller */
	char *const *environment; /* environ(7), see config_env.h; NULL: none */
	bool forwards_optional;	  /* LISTEN and BACKEND may be left out */
	const char *help_topic;	  /* set: the word after --help, or NULL */
};

/*
 * Reads argv[1] to argv[argc - 1], whose strings must outlive the configuration; they go before the
 * environment, whose forward is used only where the arguments have none. Reading stops at --help and
 * --version, and then nothing else needs to be right. Returns 0, or -EINVAL with `error` naming the
 * argument or variable, the reason and the remedy.
 */
int config_parse(struct command_line *line, int argc, char **argv, char error[CONFIG_ERROR_BYTES]);
