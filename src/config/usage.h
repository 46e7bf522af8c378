/* SPDX-License-Identifier: MIT */
/* Prints --help and --version from the tables of options and commands, and errors on stderr. */
#pragma once

#include <stdio.h>

#include "config/config.h"

#define EXIT_USAGE 2 /* beside EXIT_SUCCESS and EXIT_FAILURE */

/*
 * Writes "sixpipe: " and the fault to stderr as one line. Control characters are shown as text.
 * After log_hold() the line waits for the log writer, as log lines do. Returns `code`, the exit
 * code.
 */
int usage_fail(int code, const struct fault *fault);

/* The same for a line of text, and for each of `errors`. */
int usage_fail_text(int code, const char *message);
int usage_fail_all(int code, const struct config_errors *errors);

/*
 * The last step of every command: flushes stdout, fflush(3), and writes an error if any output was
 * lost. Returns `code`, or EXIT_FAILURE instead of 0 after a loss.
 */
int usage_finish(int code);

/*
 * Prints help to `out`: `topic` is NULL for the overview, a group's name for its options, "all" for
 * every group, "commands" for the commands. Returns 0, or -EINVAL with `fault` naming the topic and
 * the remedy.
 */
int usage_print(FILE *out, const char *topic, struct fault *fault);

/* Prints the help of a command, which must be in commands.def. */
void usage_print_command(FILE *out, const char *word);

/* The command that is spelt like `word`, exactly or nearly; NULL: none. Static. */
const char *usage_suggest_command(const char *word);

void usage_print_version(FILE *out);
