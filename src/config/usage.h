/* --help and --version, from the tables of options and commands; and how errors are told. */
#pragma once

#include <stdio.h>

#include "config/config.h"

#define EXIT_USAGE 2 /* beside EXIT_SUCCESS and EXIT_FAILURE */

/*
 * Writes "sixpipe: " and the fault to stderr as one line, whatever its value holds: control
 * characters are shown, not sent to the terminal. After log_hold() the line waits for the log's writer, as log lines do.
 * Returns `code`, the exit code.
 */
int usage_fail(int code, const struct fault *fault);

/* The same for a line of text, and for each of `errors`. */
int usage_fail_text(int code, const char *message);
int usage_fail_all(int code, const struct config_errors *errors);

/*
 * The last step of every command: whoever asked for words and did not get all of them must hear of it. Flushes
 * stdout, fflush(3), and says so where something was not written. Returns `code`, or EXIT_FAILURE in place of 0.
 */
int usage_finish(int code);

/*
 * Prints help to `out`: `topic` is NULL for the overview, a group's name for its options, "all" for
 * every group, "commands" for the commands. Returns 0, or -EINVAL with `fault` naming the topic and
 * the remedy.
 */
int usage_print(FILE *out, const char *topic, struct fault *fault);

/* Prints what `sixpipe WORD --help` says of a command, which must be in commands.def. */
void usage_print_command(FILE *out, const char *word);

/* The command whose word is `word` or most like it, or NULL when none is close. Static. */
const char *usage_suggest_command(const char *word);

void usage_print_version(FILE *out);
