/* Whether this host, and who we are on it, allows what the options about sockets ask for. */
#pragma once

#include "config/config.h"

/*
 * Tries the options that can be tried without binding. Buffers and ports need no privilege. Mark
 * and device are for listeners, which are made before the privilege drop. Returns 0, or -EINVAL,
 * and `errors` has got all: each names the option, where it was given, its value, the
 * reason and the remedy. `root` stands before /proc/sys, "" for this host's own.
 */
int tuning_check(const struct config *config, const char *root, struct config_errors *errors);
