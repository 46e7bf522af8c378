/* The reasons why /ready and `sixpipe healthcheck` say no, one line each. */
#pragma once

#include <stdio.h>

#include "relay/worker.h"

/* `workers` are those of `config`, and may be NULL without `--ready backends`. */
struct ready_state {
	const struct config *config;
	const struct workers *workers;
	bool draining; /* TERM came */
};

/* Prints the reasons why new connections should go to another process. Control thread. */
void ready_print_reasons(FILE *out, const struct ready_state *state);
