/*
 * Whether this process wants new connections, as /ready and `sixpipe healthcheck` tell it: a list of
 * reasons why not, one short line each, empty where it is ready. Whatever else makes a process useless
 * to new clients gets a line of its own here.
 */
#pragma once

#include <stdio.h>

#include "relay/worker.h"

/* What the reasons are about; `workers` are those of `config`, and may be NULL without `--ready backends`. */
struct ready_state {
	const struct config *config;
	const struct workers *workers;
	bool draining; /* TERM came */
};

/* Prints the reasons why new connections are better sent elsewhere. Control thread. */
void ready_print_reasons(FILE *out, const struct ready_state *state);
