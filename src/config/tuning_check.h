/* Whether this host, and who we are on it, allows what the options about sockets ask for. */
#pragma once

#include "config/config.h"

/*
 * Tries what can be tried without binding, with the privileges of the start. Returns 0, or -EINVAL
 * with `error` naming the option, where it was given, its value, the reason and the remedy. `root` stands before
 * /proc/sys, "" for this host's own.
 */
int tuning_check(const struct config *config, const char *root, char error[CONFIG_ERROR_BYTES]);
