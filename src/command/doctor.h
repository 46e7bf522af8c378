/* SPDX-License-Identifier: MIT */
/* `sixpipe doctor`: shows what this host allows and lacks, with a remedy for each lack. */
#pragma once

#include <stdio.h>

#include "command/doctor_checks.h"

/*
 * Runs the command. `argv` holds --json and the options and addresses of sixpipe itself; the
 * environment is read too. Returns the exit code: 0: sixpipe can serve, 1: it cannot, 2: bad usage.
 */
int doctor_main(int argc, char **argv);

/* Prints all findings, for people or as one JSON object. Returns whether sixpipe can serve. */
bool doctor_print(FILE *out, const struct doctor_facts *facts, bool json);
