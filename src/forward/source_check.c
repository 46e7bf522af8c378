#include "forward/source_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "os/host.h"
#include "os/route.h"

/* The addresses of a block that are tried, evenly spread: a part of it may be routed elsewhere. */
#define PROBES 67

/*
 * Tries addresses of a block, from end to end, but not the very first and last. *astray is the
 * first address that is not routed to this host; *partly says whether other addresses are.
 */
static int try_block(const struct cidr *block, struct addr *astray, bool *partly)
{
	uint32_t first = cidr_v4_of(&block->network);
	uint32_t last = first + (uint32_t)((1ULL << (128 - block->bits)) - 1);
	unsigned steps = MIN(last - first, PROBES);
	int error = 0;

	*partly = false;
	for (unsigned i = 1; i < steps; i++) {
		struct addr address = addr_from_v4((struct in_addr){
			htonl(first + (uint32_t)((uint64_t)(last - first) * i / steps))});
		int result = route_check_local(&address);

		if (result && result != -EADDRNOTAVAIL)
			return result;
		if (result && !error)
			*astray = address;
		error = error ? error : result;
		*partly |= !result;
	}
	return error;
}

/* The kernel could not be asked: the fault is a missing permission, not a route. */
static int fault_unknown(int error, struct fault *fault)
{
	fault_set(fault, "source", NULL,
		  "the kernel cannot be asked for its routes: %s; allow AF_NETLINK sockets "
		  "(RestrictAddressFamilies= of systemd, a seccomp profile)",
		  strerror(-error));
	return error;
}

static int check_pool(const struct config_source *source, struct fault *fault)
{
	char text[ADDR_TEXT_BYTES];
	struct addr astray;
	bool partly;
	int error = try_block(&source->pool, &astray, &partly);

	if (error && error != -EADDRNOTAVAIL)
		return fault_unknown(error, fault);
	if (error && partly) {
		fault_set(fault, "source", NULL,
			  "%s of it is not routed to this host; see ip route get %s; give a block "
			  "of which no part goes elsewhere",
			  addr_print_host(&astray, text), text);
	} else if (error) {
		fault_set(
			fault, "source", NULL,
			"this host does not route it to itself; run: ip route add local %s dev lo",
			cidr_print(&source->pool, text));
	}
	return error;
}

static int check_address(const struct config_source *source, struct fault *fault)
{
	int error = route_check_local(&source->address);

	if (error && error != -EADDRNOTAVAIL)
		return fault_unknown(error, fault);
	if (error) {
		fault_set(fault, "source", NULL,
			  "no interface of this host has it; give one of 'ip address'");
	}
	return error;
}

/* An embedded address is used if bind(2) takes it, so bind(2) must not take every address. */
static int check_nonlocal_bind(struct fault *fault)
{
	char text[16];

	if (host_read_file("", "/proc/sys/net/ipv4/ip_nonlocal_bind", text, sizeof(text)) ||
	    *text == '0')
		return 0;
	fault_set(fault, "source", NULL,
		  "addresses that are not this host's could be used too, for "
		  "net.ipv4.ip_nonlocal_bind is set; run: sysctl -w net.ipv4.ip_nonlocal_bind=0");
	return -EADDRINUSE;
}

static bool is_loopback(const struct config_source *source)
{
	if (source->kind == CONFIG_SOURCE_POOL)
		return cidr_v4_of(&source->pool.network) >> 24 == IN_LOOPBACKNET;
	return source->kind == CONFIG_SOURCE_ADDRESS && addr_is_loopback(&source->address);
}

/* Whether loopback reaches every backend by address; the addresses of names are not known yet. */
static int check_reach(const struct config_forward *forward, struct fault *fault)
{
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];
		char text[ADDR_TEXT_BYTES];

		if (*backend->name || route_check_local(&backend->addr) != -EADDRNOTAVAIL)
			continue;
		fault_set(fault, "source", NULL,
			  "an address of loopback, which does not reach backend %s on another "
			  "host; use --source pseudo, or forward to this host",
			  addr_print(&backend->addr, text));
		return -ENETUNREACH;
	}
	return 0;
}

int source_check(const struct config_forward *forward, struct fault *fault)
{
	const struct config_source *source = &forward->options.source;
	char text[SOURCE_CHECK_TEXT_BYTES];
	int error = 0;

	if (source->kind == CONFIG_SOURCE_ADDRESS)
		error = check_address(source, fault);
	if (source->kind == CONFIG_SOURCE_POOL)
		error = check_pool(source, fault);
	if (!error && source->embedded)
		error = check_nonlocal_bind(fault);
	if (!error && is_loopback(source))
		error = check_reach(forward, fault);
	if (!error)
		return 0;
	fault->kind = FAULT_OF_VALUE;
	snprintf(fault->value, sizeof(fault->value), "%s", source_check_print(source, text));
	return error;
}

const char *source_check_print(const struct config_source *source,
			       char text[SOURCE_CHECK_TEXT_BYTES])
{
	char rest[ADDR_TEXT_BYTES] = "";

	if (source->kind == CONFIG_SOURCE_POOL)
		cidr_print(&source->pool, rest);
	else if (source->kind == CONFIG_SOURCE_ADDRESS)
		addr_print_host(&source->address, rest);
	snprintf(text, SOURCE_CHECK_TEXT_BYTES, "%s%s%s", source->embedded ? "embedded" : "",
		 source->embedded && *rest ? "," : "", rest);
	return text;
}
