/* SPDX-License-Identifier: MIT */
#include "forward/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_origin.h"
#include "forward/listener_bind.h"
#include "os/sock.h"
#include "os/sock_local.h"

/* Making --------------------------------------------------------------------------------------- */

/* Listeners and sockets towards backends are tuned alike. */
static void make_tuning(struct forwards *forwards)
{
	const char *congestion = sock_choose_loopback_congestion("");
	struct sock_ports ports = sock_read_port_range("");

	for (unsigned i = 0; i < forwards->count; i++) {
		struct sock_tuning *tuning = &forwards->list[i].tuning;

		*tuning = forwards->list[i].config->options.tuning;
		tuning->loopback_congestion = congestion;
		tuning->reset_on_close = true;
		tuning->system_ports = ports;
	}
}

int forwards_create(struct forwards **forwards, const struct config *config,
		    struct config_errors *errors)
{
	struct forwards *made =
		calloc(1, sizeof(*made) + config->forward_count * sizeof(made->list[0]));
	int result = made ? loops_create(&made->loops, config) : -ENOMEM;

	if (result) {
		config_errors_add_words(errors, "out of memory; lower --maxconn");
		forwards_destroy(made);
		return result;
	}
	made->config = config;
	made->count = config->forward_count;
	for (unsigned i = 0; i < made->count; i++) {
		made->list[i].config = &config->forwards[i];
		made->list[i].index = i;
		made->list[i].listen = config->forwards[i].listen;
		made->list[i].loops = made->loops;
		made->want_clients |= config->forwards[i].wants_client;
		atomic_flag_clear(&made->list[i].repairing);
	}
	make_tuning(made);
	*forwards = made;
	return 0;
}

void forwards_destroy(struct forwards *forwards)
{
	if (!forwards)
		return;
	for (unsigned i = 0; i < forwards->count; i++) {
		upstream_destroy(forwards->list[i].upstream);
		admission_destroy(forwards->list[i].admission);
	}
	source_addresses_destroy(forwards->sources);
	loops_destroy(forwards->loops);
	free(forwards);
}

int forwards_make_sources(struct forwards *forwards, struct config_errors *errors)
{
	int result = source_addresses_create(&forwards->sources, forwards->config, errors);

	for (unsigned i = 0; i < forwards->count && !result; i++)
		forwards->list[i].source = source_addresses_of(forwards->sources, i);
	return result;
}

/* The admission of an earlier forward with the same rules, or NULL. */
static const struct admission *find_same_rules(const struct forwards *forwards, unsigned index)
{
	const struct config_forward_options *own = &forwards->list[index].config->options;

	for (unsigned i = 0; i < index; i++)
		if (config_rules_are_same(&forwards->list[i].config->options, own))
			return forwards->list[i].admission;
	return NULL;
}

int forwards_make_admission(struct forwards *forwards, uint32_t maxconn,
			    struct config_errors *errors)
{
	int result = 0;

	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = &forwards->list[i];
		const struct admission_setup setup = {
			.config = forwards->config,
			.forward = forward->config,
			.maxconn = maxconn,
			.same_rules = find_same_rules(forwards, i),
		};
		int of_forward = admission_create(&forward->admission, &setup, errors);

		result = result ? result : of_forward;
	}
	return result;
}

int forwards_make_upstreams(struct forwards *forwards)
{
	int result = 0;

	for (unsigned i = 0; i < forwards->count && !result; i++) {
		struct forward *forward = &forwards->list[i];

		result = upstream_create(&forward->upstream, forward->config, &forward->listen,
					 &forward->tuning);
		if (!result)
			upstream_set_outage_count(forward->upstream, &forwards->sweep_count);
	}
	return result;
}

/* Listening sockets ---------------------------------------------------------------------------- */

/* Whether the process makes the file of a local listener, and removes it. */
static bool has_file(const struct forward *forward)
{
	return addr_is_local(&forward->listen) && *forward->listen.local.name->sun_path &&
	       !forward->config->passed_count;
}

/* Closes the sockets, and removes the files of local listeners that no other process has. */
static void unbind(const struct forwards *forwards, struct forward_sockets *sockets)
{
	for (unsigned i = 0; i < sockets->count; i++) {
		const struct forward_socket *socket = &sockets->list[i];
		bool last = i + 1 == sockets->count || socket[1].forward != socket->forward;

		close(socket->fd);
		if (last && has_file(&forwards->list[socket->forward]))
			sock_remove_local(&forwards->list[socket->forward].listen);
	}
	free(sockets->list);
	*sockets = (struct forward_sockets){0};
}

static int bind_forward(struct forward *forward, const struct inherited *inherited,
			struct listener_sockets *sockets, struct fault *fault)
{
	int result = listener_bind(&forward->listen, &forward->tuning,
				   (unsigned)forward->config->options.backlog, sockets);

	if (!result)
		return 0;
	if (result != -EADDRINUSE || !listener_describe_holder(&forward->listen, inherited, fault))
		listener_describe_error(&forward->listen, result, true, fault);
	fault->option = "listen";
	return result;
}

/* Takes the sockets over that the process before has for a forward. There may be none. */
static int inherit_forward(struct forward *forward, const struct config *config,
			   struct listener_sockets *sockets, struct fault *fault)
{
	int result;

	sockets->count = 0;
	if (!config->inherited)
		return 0;
	result = listener_inherit(config, forward->config, sockets, fault);
	forward->inherited = !result && sockets->count;
	if (forward->inherited && !addr_port(&forward->listen) && !addr_is_local(&forward->listen))
		sock_get_local(sockets->fds[0], &forward->listen);
	return result;
}

/*
 * Opens a forward's sockets, or takes passed or inherited sockets over. Returns 0, or -errno with
 * `fault`.
 */
static int open_forward(struct forward *forward, const struct config *config,
			struct listener_sockets *sockets, struct fault *fault)
{
	uint32_t early_count;
	int result = inherit_forward(forward, config, sockets, fault);

	if (result || sockets->count)
		return result;
	if (!forward->config->passed_count)
		return bind_forward(forward, config->inherited, sockets, fault);
	result = listener_adopt(forward->config, &forward->tuning, sockets, &early_count);
	atomic_store(&forward->early_count, early_count);
	if (result)
		listener_describe_adoption(forward->config, result, fault);
	return result;
}

/* Gives the sockets of a forward to the workers, in turn. Returns 0 or -ENOMEM. */
static int give_to_workers(struct forward *forward, const struct listener_sockets *opened,
			   struct forward_sockets *sockets)
{
	struct forward_socket *list =
		reallocarray(sockets->list, sockets->count + opened->count, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < opened->count; i++)
		list[sockets->count + i] = (struct forward_socket){
			.fd = opened->fds[i],
			.forward = forward->index,
			.worker = i % opened->worker_count,
		};
	sockets->list = list;
	sockets->count += opened->count;
	forward->socket_count = opened->count;
	forward->shared = opened->shared;
	return 0;
}

int forwards_open(struct forwards *forwards, unsigned worker_count, struct forward_sockets *sockets,
		  struct config_errors *errors)
{
	struct listener_sockets opened = {
		.worker_count = worker_count,
		.waited_ms = forwards->config->inherited ? SOCK_WAITED_LONG : 0,
	};
	struct fault fault;
	int result = 0;

	*sockets = (struct forward_sockets){0};
	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = &forwards->list[i];
		int bound;

		opened.forward = forward->config->name;
		bound = open_forward(forward, forwards->config, &opened, &fault);
		if (bound)
			config_origin_add_to(errors, forwards->config, forward->config, &fault);
		else
			loops_set_listen(forwards->loops, i, &forward->listen);
		if (!bound)
			bound = give_to_workers(forward, &opened, sockets);
		result = result ? result : bound;
	}
	if (result)
		unbind(forwards, sockets);
	free(opened.fds);
	return result;
}

void forwards_give_away(struct forwards *forwards, const bool adopted[INHERITED_FORWARD_LIMIT])
{
	_Static_assert(INHERITED_FORWARD_LIMIT == CONFIG_FORWARD_LIMIT, "indexes of forwards");
	for (unsigned i = 0; i < forwards->count; i++)
		forwards->list[i].given_away = adopted[i];
}

int forwards_give_files(const struct forwards *forwards, struct forward_owner owner,
			struct config_errors *errors)
{
	struct fault fault;

	for (unsigned i = 0; i < forwards->count; i++) {
		const struct addr *listen = &forwards->list[i].listen;
		char text[ADDR_TEXT_BYTES];
		int result;

		if (!has_file(&forwards->list[i]))
			continue;
		result = sock_give_local(listen->local.name->sun_path, owner.uid, owner.gid);
		if (!result)
			continue;
		fault_set(&fault, "listen", addr_print(listen, text),
			  "cannot be given to --user: %s; let CAP_CHOWN be there at the start",
			  strerror(-result));
		config_origin_add_to(errors, forwards->config, forwards->list[i].config, &fault);
		return result;
	}
	return 0;
}

void forwards_remove_files(const struct forwards *forwards)
{
	for (unsigned i = 0; i < forwards->count; i++)
		if (has_file(&forwards->list[i]))
			sock_remove_local(&forwards->list[i].listen);
}

/* Running -------------------------------------------------------------------------------------- */

bool forward_drains(const struct forward *forward)
{
	return atomic_load_explicit(&forward->drain, memory_order_relaxed) != FORWARD_SERVES;
}

void forwards_drain(struct forwards *forwards, unsigned index, enum forward_drain stage)
{
	atomic_store_explicit(&forwards->list[index].drain, stage, memory_order_relaxed);
	if (stage == FORWARD_EXPIRED)
		atomic_fetch_add_explicit(&forwards->sweep_count, 1, memory_order_release);
}

struct forward *forwards_find(struct forwards *forwards, const char *name)
{
	for (unsigned i = 0; i < forwards->count; i++)
		if (!strcmp(forwards->list[i].config->name, name))
			return &forwards->list[i];
	return NULL;
}

void forward_log(const struct forward *forward, struct log_line *line)
{
	log_forward(line, forward->config->name, &forward->listen);
}

uint64_t forwards_metric(const struct forwards *forwards, enum metric metric)
{
	uint64_t sum = 0;

	switch (metric) {
	case METRIC_takeovers:
		return forwards->takeovers;
	case METRIC_takeover_failures:
		return forwards->takeover_failures;
	case METRIC_names_resolved:
		return forwards->names.resolved;
	case METRIC_names_failing:
		return forwards->names.failing;
	case METRIC_name_failures:
		return forwards->names.failures;
	case METRIC_name_changes:
		return forwards->names.changes;
	default:
		break;
	}
	for (unsigned i = 0; i < forwards->count; i++) {
		const struct forward *forward = &forwards->list[i];

		sum += metric == METRIC_forwards_draining && forward_drains(forward);
		if (forward->upstream)
			sum += upstream_metric(forward->upstream, metric);
		if (forward->admission)
			sum += admission_metric(forward->admission, metric);
	}
	if (forwards->sources)
		sum += source_addresses_metric(forwards->sources, metric);
	return sum;
}
