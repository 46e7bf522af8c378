/*
 * What of DNS needs no library: which text is a host name or a list of servers, and which address
 * of an answer is of use. Nothing is looked up here.
 */
#pragma once

#include "base/addr.h"

/* Characters of a host name, a dot at its end not counted (RFC 1035, 2.3.4, as text). */
#define DNS_NAME_LENGTH_MOST 253

/* With the dot and a NUL. */
#define DNS_NAME_BYTES	 (DNS_NAME_LENGTH_MOST + 2)

#define DNS_SERVERS_MOST 8

/*
 * Why `name` is no host name (RFC 1123, 2.1; underscores are let through), or NULL: the reason and
 * the remedy in words, a static string. Addresses are no names: their last part is a number.
 */
const char *dns_why_not_name(const char *name);

/*
 * Reads servers with commas between them, each an address with or without a port, as in
 * "192.0.2.53,2001:db8::53,[fe80::53%eth0]:5353"; the port is 53 where none is given. Returns NULL
 * on success; otherwise the problem as above, with the text of the server that has it in `item`.
 */
const char *dns_parse_servers(const char *text, struct addr servers[DNS_SERVERS_MOST],
			      unsigned *count, char item[ADDR_TEXT_BYTES]);

/*
 * Reads a line of resolv.conf(5). False: it names no server. True: `problem` is NULL and `server` set, or it is
 * the problem as above, and `item` the text that has it.
 */
bool dns_parse_nameserver(const char *line, struct addr *server, char item[ADDR_TEXT_BYTES],
			  const char **problem);

/*
 * Whether an address of an answer is one to connect to: a single host, and this one only where it
 * is named as such (not 0.0.0.0, which filtering servers answer). Link-local ones lack their
 * interface.
 */
bool dns_is_destination(const struct addr *address);
