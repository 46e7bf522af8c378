#include "control/ready.h"

static void print_draining(FILE *out, const struct ready_state *state)
{
	if (state->draining)
		fputs("draining\n", out);
}

static void print_failed_listener(FILE *out, const struct ready_state *state)
{
	int failed = state->workers ? workers_failed_listener(state->workers) : -1;
	char listen[ADDR_TEXT_BYTES];
	const struct forward *forward;

	if (failed < 0)
		return;
	forward = &workers_forwards(state->workers)->list[failed];
	fprintf(out, "forward %s on %s: its listener has failed; the log says why\n",
		forward->config->name, addr_print(&forward->listen, listen));
}

static void print_forwards_without_backend(FILE *out, const struct ready_state *state)
{
	const struct forwards *forwards;
	char listen[ADDR_TEXT_BYTES];

	if (state->config->ready != CONFIG_READY_BACKENDS)
		return;
	forwards = workers_forwards(state->workers);
	for (unsigned i = 0; i < forwards->count; i++) {
		const struct forward *forward = &forwards->list[i];

		if (pool_up_count(upstream_pool(forward->upstream)))
			continue;
		fprintf(out, "forward %s on %s: no backend is up\n", forward->config->name,
			addr_print(&forward->listen, listen));
	}
}

void ready_print_reasons(FILE *out, const struct ready_state *state)
{
	print_draining(out, state);
	print_failed_listener(out, state);
	print_forwards_without_backend(out, state);
}
