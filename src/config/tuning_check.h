/* Whether this host, and who we are on it, allows what the options about sockets ask for. */
#pragma once

#include "config/config.h"

/*
 * Tries what can be tried without binding. What is tried needs no privilege (buffers, ports), or is done to
 * listeners alone, which are made before the privilege drop (mark, device). Returns 0, or -EINVAL, and
 * config->errors has got all: each names the option, where it was given, its value, the reason and the remedy.
 * `root` stands before /proc/sys, "" for this host's own.
 */
int tuning_check(struct config *config, const char *root);
