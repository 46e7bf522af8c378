/* SPDX-License-Identifier: MIT */
/*
 * Claim: while a socket listens on a port, bind(2) of another socket to the same port fails with
 * EADDRINUSE in these cases: one has the wildcard and the other an address of the same family; or
 * one has [::] without IPV6_V6ONLY and the other any IPv4 address. SO_REUSEADDR on both changes
 * nothing. An IPv6-only [::] does not conflict with IPv4. Sockets on different interfaces
 * (SO_BINDTODEVICE) do not conflict.
 * Since: always; 5.7 for SO_BINDTODEVICE without CAP_NET_RAW.
 * Why: --check must refuse exactly what the start would refuse.
 */
#include "probe.h"

#include <net/if.h>

enum { PORTS = 16 };

enum host { V6_ANY, V6_DUAL, V6_ONE, V4_ANY, V4_ONE };

static const char *const names[] = {"[::]", "dual-stack [::]", "[::1]", "0.0.0.0", "127.0.0.1"};

/* Returns the socket, or -errno of bind(2). */
static int bind_socket(enum host host, const char *device, uint16_t port)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
	bool is_v6 = host <= V6_ONE;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		probe_skip("no IPv6 here");
	PROBE_NEED(fd >= 0);
	if (host == V6_ONE)
		v6.sin6_addr = in6addr_loopback;
	v4.sin_addr.s_addr = htonl(host == V4_ONE ? INADDR_LOOPBACK : INADDR_ANY);
	if (is_v6)
		probe_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, host != V6_DUAL);
	probe_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device)))
		probe_skip("SO_BINDTODEVICE: %s", strerror(errno));
	if (bind(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
		 is_v6 ? sizeof(v6) : sizeof(v4))) {
		int error = errno;

		close(fd);
		if (error == EADDRNOTAVAIL)
			probe_skip("%s is not of this host", names[host]);
		return -error;
	}
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 address;
	socklen_t length = sizeof(address);

	/* the port is at the same offset in sockaddr_in */
	PROBE_NEED(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	return address.sin6_port;
}

/* Returns the result of the second bind(2): 0 or -errno. */
static int bind_beside(enum host first, const char *first_device, enum host second,
		       const char *second_device)
{
	int listener = bind_socket(first, first_device, 0), other;

	PROBE_NEED(listener >= 0 && listen(listener, 1) == 0);
	other = bind_socket(second, second_device, port_of(listener));
	if (other >= 0)
		close(other);
	close(listener);
	return other < 0 ? other : 0;
}

/*
 * Another process may use the chosen port. So without a conflict, one success of PORTS tries
 * counts.
 */
static void check(enum host first, const char *first_device, enum host second,
		  const char *second_device, bool conflict)
{
	int error, tries = conflict ? 1 : PORTS;

	do
		error = bind_beside(first, first_device, second, second_device);
	while (error == -EADDRINUSE && --tries > 0);
	PROBE_CHECK(error == (conflict ? -EADDRINUSE : 0), "%s on %s beside %s on %s: %s",
		    names[second], second_device ? second_device : "all", names[first],
		    first_device ? first_device : "all", error ? strerror(-error) : "bound");
}

static void check_devices(const char *one, const char *other)
{
	check(V6_ANY, one, V6_ANY, one, true);
	check(V6_ANY, one, V6_ANY, NULL, true);
	check(V6_ANY, NULL, V6_ONE, one, true);
	if (!other)
		return;
	check(V6_ANY, one, V6_ANY, other, false);
	check(V6_DUAL, other, V4_ONE, one, false);
}

int main(void)
{
	static const struct {
		enum host one, other;
		bool conflict;
	} rows[] = {
		{V6_ANY, V6_ONE, true},	 {V6_DUAL, V6_ONE, true}, {V4_ANY, V4_ONE, true},
		{V6_DUAL, V4_ANY, true}, {V6_DUAL, V4_ONE, true}, {V6_DUAL, V6_ANY, true},
		{V6_ANY, V4_ANY, false}, {V6_ANY, V4_ONE, false}, {V6_ONE, V4_ANY, false},
	};
	struct if_nameindex *devices = if_nameindex();
	const char *other = NULL;

	PROBE_NEED(devices);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		check(rows[i].one, NULL, rows[i].other, NULL, rows[i].conflict);
		check(rows[i].other, NULL, rows[i].one, NULL, rows[i].conflict);
	}
	for (const struct if_nameindex *at = devices; at->if_index; at++)
		if (strcmp(at->if_name, "lo"))
			other = at->if_name;
	check_devices("lo", other);
	if_freenameindex(devices);
	probe_hold("listeners conflict by address and interface as said, in either order");
}
