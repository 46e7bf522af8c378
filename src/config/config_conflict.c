/* SPDX-License-Identifier: MIT */
#include "config/config_conflict.h"

#include <stdio.h>
#include <string.h>

#include "config/config_origin.h"
#include "os/host.h"

/* The addresses, ports and interface of a listener. */
struct claim {
	const struct addr *address; /* "no address": the sockets of `socket_name`, not known yet */
	const char *socket_name;
	unsigned port_count;
	const char *device; /* NULL: all */
	bool dual_stack;
};

/* The relation of one claim to another. */
enum relation {
	APART,
	SAME,
	WITHIN,
	AROUND,
	CROSSING, /* some ports of a range are shared, some are not */
};

static const char *const relation_words[] = {
	[WITHIN] = "is within",
	[AROUND] = "covers",
	[CROSSING] = "shares ports with",
};

static struct claim claim_of(const struct config_forward *forward)
{
	return (struct claim){
		.address = &forward->listen,
		.socket_name = forward->listen.length_bytes ? NULL : forward->socket_name,
		.port_count = forward->port_count,
		.device = forward->options.tuning.device,
		.dual_stack = forward->options.tuning.dual_stack,
	};
}

static bool is_same_local(const struct addr *a, const struct addr *b)
{
	/* names in the abstract namespace begin with a NUL */
	return addr_is_local(a) && addr_is_local(b) &&
	       (addr_equal(a, b) ||
		(*a->local.name->sun_path && *b->local.name->sun_path &&
		 host_is_same_file(a->local.name->sun_path, b->local.name->sun_path)));
}

static bool is_same_host(const struct addr *a, const struct addr *b)
{
	struct addr left = *a, right = *b;

	addr_set_port(&left, 0);
	addr_set_port(&right, 0);
	return addr_equal(&left, &right);
}

/* Whether a listener on `a` gets connections to the address `b`; ports are not compared. */
static bool holds_host(const struct claim *a, const struct addr *b)
{
	if (a->dual_stack && addr_is_v6_wildcard(a->address) && b->any.sa_family == AF_INET)
		return true;
	return a->address->any.sa_family == b->any.sa_family &&
	       (addr_is_wildcard(a->address) || is_same_host(a->address, b));
}

static bool holds_ports(const struct claim *a, const struct claim *b)
{
	unsigned a_first = addr_port(a->address), b_first = addr_port(b->address);

	return a_first <= b_first && b_first + b->port_count <= a_first + a->port_count;
}

/* Port 0 is shared with no other: the kernel chooses a free port. */
static bool share_a_port(const struct claim *a, const struct claim *b)
{
	unsigned a_first = addr_port(a->address), b_first = addr_port(b->address);

	return a_first && b_first && a_first < b_first + b->port_count &&
	       b_first < a_first + a->port_count;
}

static enum relation relate(const struct claim *a, const struct claim *b)
{
	bool around, within;

	if (a->socket_name && b->socket_name)
		return strcmp(a->socket_name, b->socket_name) ? APART : SAME;
	if (addr_is_local(a->address) || addr_is_local(b->address))
		return is_same_local(a->address, b->address) ? SAME : APART;
	if (!share_a_port(a, b) || (a->device && b->device && strcmp(a->device, b->device)))
		return APART;
	around = holds_host(a, b->address);
	within = holds_host(b, a->address);
	if (!around && !within)
		return APART;
	around &= holds_ports(a, b);
	within &= holds_ports(b, a);
	if (around && within)
		return SAME;
	if (!around && !within)
		return CROSSING;
	return around ? AROUND : WITHIN;
}

/*
 * Prints " at PLACE", where the listener was given; "" for the command line, which the user sees.
 */
static const char *print_place(const struct config *config, const struct config_forward *forward,
			       char text[CONFIG_ORIGIN_BYTES])
{
	const struct option_spec *listen = options_find("listen", strlen("listen"));
	struct config_value value = config_origin_of(&forward->values, listen, forward->origin);
	char where[CONFIG_ORIGIN_BYTES];

	*text = '\0';
	if (value.origin.kind != CONFIG_ORIGIN_COMMAND_LINE)
		snprintf(text, CONFIG_ORIGIN_BYTES, " at %.230s",
			 config_origin_print(config, &value, where));
	return text;
}

static int fail_same(const struct config *config, const struct config_forward *forward,
		     const struct config_forward *other, struct fault *fault)
{
	char place[CONFIG_ORIGIN_BYTES];

	if (!*print_place(config, other, place))
		return config_fault_listen(fault, forward,
					   "given twice; put all its backends behind one --listen");
	return config_fault_listen(fault, forward,
				   "is given%s too; put all its backends behind one", place);
}

int config_conflict_of_listeners(const struct config *config, const struct config_forward *forward,
				 struct fault *fault)
{
	char text[ADDR_TEXT_BYTES], place[CONFIG_ORIGIN_BYTES];
	struct claim own = claim_of(forward);

	for (const struct config_forward *other = config->forwards; other < forward; other++) {
		struct claim others = claim_of(other);
		enum relation relation = relate(&own, &others);

		if (relation == SAME)
			return fail_same(config, forward, other, fault);
		if (relation != APART)
			return config_fault_listen(
				fault, forward,
				"%s %.60s%s; give one of them another port or address",
				relation_words[relation], config_print_listen(other, text),
				print_place(config, other, place));
	}
	return 0;
}

static int check_admin(const struct config *config, const struct config_forward *forward,
		       struct fault *fault)
{
	const char *path =
		addr_is_local(&forward->listen) ? forward->listen.local.name->sun_path : "";

	if (!config->admin || !*path || !host_is_same_file(config->admin, path))
		return 0;
	return fault_set(fault, "admin", config->admin,
			 "is a listener's socket; give another path");
}

int config_conflict_of_monitoring(const struct config *config, const struct config_forward *forward,
				  struct fault *fault)
{
	char metrics[ADDR_TEXT_BYTES], text[ADDR_TEXT_BYTES], place[CONFIG_ORIGIN_BYTES];
	struct claim own = {.address = &config->metrics, .port_count = 1};
	struct claim others = claim_of(forward);
	enum relation relation = config->metrics.length_bytes ? relate(&own, &others) : APART;

	if (relation == APART)
		return check_admin(config, forward, fault);
	addr_print(&config->metrics, metrics);
	if (relation == SAME)
		return fault_set(fault, "metrics", metrics,
				 "is a listener's address; give another port");
	return fault_set(fault, "metrics", metrics, "%s %.60s%s; give another port",
			 relation_words[relation], config_print_listen(forward, text),
			 print_place(config, forward, place));
}

/* Whether a listener on a wildcard address gets connections to the loopback address `to`. */
static bool takes_loopback(const struct claim *own, const struct addr *to)
{
	return (!own->device || !strcmp(own->device, "lo")) && addr_is_wildcard(own->address) &&
	       addr_is_loopback(to) && holds_host(own, to);
}

/* The address that connect(2) uses: loopback for 0.0.0.0 and ::. */
static struct addr connected_to(const struct addr *to)
{
	struct addr address = *to;

	if (addr_is_v6_wildcard(to))
		address.v6.sin6_addr = in6addr_loopback;
	else if (addr_is_wildcard(to))
		address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static enum config_reach reach(const struct claim *own, const struct addr *to, unsigned port_count)
{
	struct addr meant = connected_to(to);
	unsigned first = addr_port(own->address), port = addr_port(to);

	if (addr_is_local(own->address) || addr_is_local(to))
		return is_same_local(own->address, to) ? CONFIG_REACH_SURE : CONFIG_REACH_NONE;
	/*
	 * the first port of a backend's range goes with the first port of the listener's range, and
	 * so on
	 */
	if (!first ||
	    (port_count > 1 ? port != first : port < first || port >= first + own->port_count))
		return CONFIG_REACH_NONE;
	if (is_same_host(own->address, &meant) || takes_loopback(own, &meant))
		return CONFIG_REACH_SURE;
	return addr_is_wildcard(own->address) && !addr_is_loopback(&meant) &&
			       holds_host(own, &meant)
		       ? CONFIG_REACH_IF_OWN
		       : CONFIG_REACH_NONE;
}

enum config_reach config_conflict_reach(const struct config_forward *forward,
					const struct addr *listen, const struct addr *to)
{
	struct claim own = claim_of(forward);

	own.address = listen;
	return reach(&own, to, 1);
}

int config_conflict_of_backends(const struct config_forward *forward, struct fault *fault)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];
	const struct claim own = claim_of(forward);

	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];

		if (*backend->name ||
		    reach(&own, &backend->addr, backend->port_count) != CONFIG_REACH_SURE)
			continue;
		if (addr_is_local(&forward->listen) ||
		    is_same_host(&forward->listen, &backend->addr))
			return config_fault_listen(fault, forward,
						   "is a backend of its own and would forward to "
						   "itself; give the service's address");
		return config_fault_listen(
			fault, forward,
			"takes what goes to its backend %.60s and would forward to itself; give "
			"the service's address, or listen on another",
			config_print_backend(backend, text));
	}
	return 0;
}
