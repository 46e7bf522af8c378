/* SPDX-License-Identifier: MIT */
/*
 * Endpoints: an IPv4 or IPv6 address with a port, or a local socket; read from text and printed.
 *
 * The forms are `[2001:db8::1]:80`, `[fe80::1%eth0]:80` and `192.0.2.1:80`. Printing follows RFC
 * 5952. Local sockets are `unix:/path` and, in the abstract namespace, `unix:@name`.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * A local socket, unix(7). Its name is much longer than an IPv6 address, so the name is stored
 * outside of this struct. The addresses of peers have no name.
 */
struct addr_local {
	sa_family_t family;
	uint16_t path_bytes; /* length of the name without a final NUL */
	const struct sockaddr_un *name;
} __attribute__((packed, aligned(4))); /* not larger than IPv6: every session has two addresses */

struct addr {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct addr_local local;
	};
	socklen_t length_bytes; /* length of the member in use; 0 is "no address" */
};

/* "[" + 45 characters of address + "%" + interface name + "]:65535"; or "unix:" + 107 of a path. */
#define ADDR_TEXT_BYTES 120

/*
 * Reads an endpoint from the whole of `text`. Returns NULL on success. Otherwise returns reason and
 * remedy as a static string such as "has no port; write [address]:port"; then `address` is
 * unspecified.
 */
const char *addr_parse(const char *text, struct addr *address);

/* Whether the text is a local socket, for which addr_parse_local() is needed. */
bool addr_is_local_text(const char *text);

/*
 * Reads a local socket from the first `length` bytes of `text`. Sets `name`, to which `address`
 * points: `name` must exist as long as the address and its copies. Returns as addr_parse() does.
 */
const char *addr_parse_local(const char *text, size_t length, struct sockaddr_un *name,
			     struct addr *address);

/* The address in the form for bind(2) and connect(2), and its length. */
const struct sockaddr *addr_sockaddr(const struct addr *address, socklen_t *length_bytes);

/* Whether the address is a local socket. */
bool addr_is_local(const struct addr *address);

/* As addr_parse(): why a socket can neither listen on nor connect to this address, or NULL. */
const char *addr_why_not_endpoint(const struct addr *address);

/* Prints the endpoint, or "-" for "no address", into `text`. Returns `text`. */
const char *addr_print(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/* As addr_print(), without port and brackets: 2001:db8::1, 192.0.2.1. */
const char *addr_print_host(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/*
 * Sets `address` from an address that the kernel returned: accept(2), getpeername(2), ... An
 * IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) becomes an IPv4 address: a socket of both families
 * has IPv4 peers in this form. A local peer becomes a local socket without a name. Other families
 * become "no address".
 */
void addr_from_sockaddr(struct addr *address, const struct sockaddr_storage *from);

/* An IPv4 address, with port 0. */
struct addr addr_from_v4(struct in_addr v4);

/* The port in host byte order; 0 for local sockets. */
unsigned addr_port(const struct addr *address);

/* Sets the port, in host byte order. Does nothing for local sockets. */
void addr_set_port(struct addr *address, unsigned port);

/* Whether the address is in 127.0.0.0/8 or is ::1: packets to it stay on this host. */
bool addr_is_loopback(const struct addr *address);

/* Whether the address is :: or 0.0.0.0. */
bool addr_is_wildcard(const struct addr *address);

/* Whether the address is ::. */
bool addr_is_v6_wildcard(const struct addr *address);

/* Whether family, address, scope and port are equal. Local sockets: same name, or both without. */
bool addr_equal(const struct addr *a, const struct addr *b);
