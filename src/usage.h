/* --help and --version, from the option table. */
#pragma once

#include <stdio.h>

#include "config.h"

#define EXIT_USAGE 2 /* the exit code for a command line that is wrong */

/*
 * Prints help to `out`: `topic` is NULL for the overview, a group's name for its options, "all" for
 * every group. Returns 0, or -EINVAL with `error` naming the topic and the remedy.
 */
int usage_print(FILE *out, const char *topic, char error[CONFIG_ERROR_BYTES]);

void usage_print_version(FILE *out);
