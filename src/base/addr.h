/*
 * Endpoints: an IPv4 or IPv6 address with a port, read from text and printed.
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
 * A local socket, unix(7): its name is longer than all the rest, so it lies elsewhere. Peers and
 * what sessions keep of them have none.
 */
struct addr_local {
	sa_family_t family;
	uint16_t path_bytes; /* without a NUL at the end */
	const struct sockaddr_un *name;
} __attribute__((packed, aligned(4))); /* a session has two addresses: no more than IPv6 needs */

struct addr {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct addr_local local;
	};
	socklen_t length_bytes; /* of the member in use; 0 is "no address" */
};

/* "[" + 45 characters of address + "%" + interface name + "]:65535"; or "unix:" + 107 of a path. */
#define ADDR_TEXT_BYTES 120

/*
 * Reads an endpoint from the whole of `text`.
 * Returns NULL on success; otherwise the reason and the remedy in words, a static string such as
 * "has no port; write [address]:port". `address` is unspecified then.
 */
const char *addr_parse(const char *text, struct addr *address);

/* Whether the text is that of a local socket: only those who have a place for its name read these. */
bool addr_is_local_text(const char *text);

/*
 * Reads the first `length` bytes of such a text. `name` gets the name, and must live as long as the
 * address and its copies. Returns as addr_parse() does.
 */
const char *addr_parse_local(const char *text, size_t length, struct sockaddr_un *name,
			     struct addr *address);

/* What bind(2) and connect(2) take. */
const struct sockaddr *addr_sockaddr(const struct addr *address, socklen_t *length_bytes);

/* Whether it is that of a local socket. */
bool addr_is_local(const struct addr *address);

/* As addr_parse(): why nobody can listen on this address, nor connect to it, or NULL. */
const char *addr_why_not_endpoint(const struct addr *address);

/* Prints the endpoint, or "-" where there is none, into `text`; returns `text`. */
const char *addr_print(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/* The same without port and brackets: 2001:db8::1, 192.0.2.1. */
const char *addr_print_host(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/*
 * Copies a kernel's answer (accept(2), getpeername(2), ...). IPv4-mapped IPv6 addresses (RFC 4291,
 * 2.5.5.2), which are how a socket for both families has IPv4 peers, become IPv4 ones; a local
 * peer is one without a name; other families give "none".
 */
void addr_from_sockaddr(struct addr *address, const struct sockaddr_storage *from);

/* An IPv4 address, with port 0. */
struct addr addr_from_v4(struct in_addr v4);

/* The port in host byte order; 0 for local sockets. */
unsigned addr_port(const struct addr *address);

/* The same with another port, in host byte order; nothing for local sockets. */
void addr_set_port(struct addr *address, unsigned port);

/* 127.0.0.0/8 or ::1: what is sent there stays on this host. */
bool addr_is_loopback(const struct addr *address);

/* [::] or 0.0.0.0, whatever the port. */
bool addr_is_wildcard(const struct addr *address);

/* [::], whatever the port. */
bool addr_is_v6_wildcard(const struct addr *address);

/* Same family, address, scope and port; local sockets: the same name, or none on either side. */
bool addr_equal(const struct addr *a, const struct addr *b);
