/* SPDX-License-Identifier: MIT */
/*
 * The part of DNS that needs no library: checks host names, reads lists of servers, and says which
 * addresses of an answer are usable. Nothing is looked up here.
 */
#pragma once

#include "base/addr.h"

/* Characters of a host name, a dot at its end not counted (RFC 1035, 2.3.4, as text). */
#define DNS_NAME_LENGTH_MOST 253

/* DNS_NAME_LENGTH_MOST, the dot and a NUL. */
#define DNS_NAME_BYTES	 (DNS_NAME_LENGTH_MOST + 2)

#define DNS_SERVERS_MOST 8

/*
 * Why `name` is not a host name (RFC 1123, 2.1; underscores are allowed): a static "REASON;
 * REMEDY", or NULL. An address is not a name: its last part is a number.
 */
const char *dns_why_not_name(const char *name);

/*
 * Reads servers with commas between them, each an address with or without a port, as in
 * "192.0.2.53,2001:db8::53,[fe80::53%eth0]:5353". The default port is 53. Returns NULL, or a static
 * "REASON; REMEDY" with the text of the wrong server in `item`.
 */
const char *dns_parse_servers(const char *text, struct addr servers[DNS_SERVERS_MOST],
			      unsigned *count, char item[ADDR_TEXT_BYTES]);

/*
 * Reads a line of resolv.conf(5). Returns false if the line names no server. Otherwise sets
 * `server`, and `problem` to NULL; or sets `problem` to a static "REASON; REMEDY", and `item` to
 * the text of the wrong server.
 */
bool dns_parse_nameserver(const char *line, struct addr *server, char item[ADDR_TEXT_BYTES],
			  const char **problem);

/*
 * Whether sixpipe may connect to an address of an answer: a single host, but not 0.0.0.0, which
 * filtering servers answer, and not a link-local address, which lacks its interface.
 */
bool dns_is_destination(const struct addr *address);
