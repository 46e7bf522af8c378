#include "control/ready.h"

static void print_draining(FILE *out, const struct ready_state *state)
{
	if (state->draining)
		fputs("draining\n", out);
}

static void print_failed_listener(FILE *out, const struct ready_state *state)
{
	const struct config *config = state->config;
	int failed = state->workers ? workers_failed_listener(state->workers) : -1;
	char listen[ADDR_TEXT_BYTES];

	if (failed >= 0)
		fprintf(out, "forward %s on %s: its listener has failed; the log says why\n",
			config->forwards[failed].name,
			config_print_listen(&config->forwards[failed], listen));
}

static void print_forwards_without_backend(FILE *out, const struct ready_state *state)
{
	const struct config *config = state->config;
	char listen[ADDR_TEXT_BYTES];

	if (config->ready != CONFIG_READY_BACKENDS)
		return;
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_forward *forward = &config->forwards[i];

		if (pool_up_count(upstream_pool(workers_upstream(state->workers), i)))
			continue;
		fprintf(out, "forward %s on %s: no backend is up\n", forward->name,
			config_print_listen(forward, listen));
	}
}

void ready_print_reasons(FILE *out, const struct ready_state *state)
{
	print_draining(out, state);
	print_failed_listener(out, state);
	print_forwards_without_backend(out, state);
}
