/*
 * Endpoints: an IPv4 or IPv6 address with a port, read from text and printed.
 *
 * The forms are `[2001:db8::1]:80`, `[fe80::1%eth0]:80` and `192.0.2.1:80`. Printing follows RFC
 * 5952.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct addr {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t length_bytes; /* of the member in use; 0 is "no address" */
};

/* "[" + 45 characters of address + "%" + interface name + "]:65535" + NUL, rounded up. */
#define ADDR_TEXT_BYTES 80

/*
 * Reads an endpoint from the whole of `text`.
 * Returns NULL on success; otherwise the reason and the remedy in words, a static string such as
 * "has no port; write [address]:port". `address` is unspecified then.
 */
const char *addr_parse(const char *text, struct addr *address);

/* As addr_parse(): why nobody can listen on this address, or NULL. */
const char *addr_why_not_listen(const struct addr *address);

/* Prints the endpoint, or "-" where there is none, into `text`; returns `text`. */
const char *addr_print(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/* The same without port and brackets: 2001:db8::1, 192.0.2.1. */
const char *addr_print_host(const struct addr *address, char text[ADDR_TEXT_BYTES]);

/* Copies a kernel's answer (accept(2), getpeername(2), ...); families other than IP give "none". */
void addr_from_sockaddr(struct addr *address, const struct sockaddr_storage *from);

/* The port in host byte order. */
unsigned addr_port(const struct addr *address);

/* The same with another port, in host byte order. */
void addr_set_port(struct addr *address, unsigned port);

/* 127.0.0.0/8 or ::1: what is sent there stays on this host. */
bool addr_is_loopback(const struct addr *address);

/* Same family, address, scope and port. */
bool addr_equal(const struct addr *a, const struct addr *b);
