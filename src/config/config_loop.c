/* SPDX-License-Identifier: MIT */
#include "config/config_loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/config_conflict.h"
#include "config/config_origin.h"
#include "os/interfaces.h"
#include "os/route.h"

/* The graph of forwards: an edge is a backend that leads to a forward's listener. */
struct graph {
	const struct config *config;
	bool ask_host;
	unsigned count;
	/* [from * count + to]: the first backend that leads there, plus 1; 0: none */
	unsigned short *leads;
	/* of each forward on the way: the forward before it, plus 1; 0: not met */
	unsigned short after[CONFIG_FORWARD_LIMIT];
	unsigned short queue[CONFIG_FORWARD_LIMIT];
};

static bool is_own(const struct config_forward *forward, const struct addr *to)
{
	const char *device = forward->options.tuning.device;

	/* with a device, the listener gets connections to addresses of this interface only */
	return device ? interfaces_have(device, to) : !route_check_local(to);
}

static bool reaches(const struct config_forward *forward, const struct addr *listen,
		    const struct addr *to, bool ask_host)
{
	enum config_reach reach = config_conflict_reach(forward, listen, to);

	return reach == CONFIG_REACH_SURE ||
	       (reach == CONFIG_REACH_IF_OWN && ask_host && is_own(forward, to));
}

bool config_loop_reaches(const struct config_forward *forward, const struct addr *listen,
			 const struct addr *to)
{
	return reaches(forward, listen, to, true);
}

/* The first backend of a forward that leads to the listener of another, plus 1; 0: none does. */
static unsigned short find_backend(const struct graph *graph, unsigned from, unsigned to)
{
	const struct config_forward *forward = &graph->config->forwards[from];
	const struct config_forward *taker = &graph->config->forwards[to];

	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];

		/*
		 * `down` has no sessions, `backup` only some: their loops are refused at run time
		 */
		if (!*backend->name && !backend->down && !backend->backup &&
		    reaches(taker, &taker->listen, &backend->addr, graph->ask_host))
			return (unsigned short)(i + 1);
	}
	return 0;
}

/*
 * Looks for a way from `first` back to `first` through later forwards only, so each loop is found
 * once.
 */
static bool find_loop(struct graph *graph, unsigned first)
{
	unsigned read = 0, written = 0;

	memset(graph->after, 0, sizeof(graph->after));
	graph->queue[written++] = (unsigned short)first;
	while (read < written) {
		unsigned from = graph->queue[read++];

		for (unsigned to = first; to < graph->count; to++) {
			if (!graph->leads[from * graph->count + to] || graph->after[to])
				continue;
			graph->after[to] = (unsigned short)(from + 1);
			if (to == first)
				return true;
			graph->queue[written++] = (unsigned short)to;
		}
	}
	return false;
}

static void add_error(const struct graph *graph, unsigned first, struct config_errors *errors)
{
	const struct config *config = graph->config;
	struct fault fault;
	char way[256] = "";
	char text[CONFIG_BACKEND_TEXT_BYTES], rest[sizeof(way)];
	unsigned to = first, from, backend;

	/* from the end of the way to its start */
	do {
		from = graph->after[to] - 1U;
		backend = graph->leads[from * graph->count + to] - 1U;
		memcpy(rest, way, sizeof(rest));
		config_print_backend(&config->forwards[from].backends[backend], text);
		snprintf(way, sizeof(way), "%.60s%s%.150s", text, *rest ? ", then " : "", rest);
		to = from;
	} while (to != first);
	config_fault_listen(
		&fault, &config->forwards[first],
		"its backend leads back to it, so one client would take all sessions; the way: "
		"%.200s%s; give the service's own address as the backend, or listen elsewhere",
		way, graph->ask_host ? " (addresses of this host)" : "");
	config_origin_add_to(errors, config, &config->forwards[first], &fault);
}

static int find_loops(struct graph *graph, struct config_errors *errors)
{
	bool told = false;
	int result = 0;

	for (unsigned from = 0; from < graph->count; from++)
		for (unsigned to = 0; to < graph->count; to++)
			graph->leads[from * graph->count + to] = find_backend(graph, from, to);
	for (unsigned i = 0; i < graph->count; i++) {
		/* for a range of ports, a loop is reported once */
		told &= graph->config->forwards[i].is_of_range;
		if (told || !find_loop(graph, i))
			continue;
		told = true;
		result = -EINVAL;
		add_error(graph, i, errors);
	}
	return result;
}

int config_loop_check(const struct config *config, bool ask_host, struct config_errors *errors)
{
	size_t count = config->forward_count;
	struct graph graph = {
		.config = config,
		.ask_host = ask_host,
		.count = config->forward_count,
		.leads = config_grow(NULL, count * count + 1, sizeof(*graph.leads)),
	};
	int result;

	CHECK(count <= CONFIG_FORWARD_LIMIT);
	result = find_loops(&graph, errors);
	free(graph.leads);
	return result;
}
