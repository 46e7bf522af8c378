/* SPDX-License-Identifier: MIT */
#include "config/dns.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "base/util.h"

#define PORT_TEXT   "53"
#define DIGITS	    "0123456789"
#define LABEL_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_" DIGITS

const char *dns_why_not_name(const char *name)
{
	size_t length = strlen(name);
	bool digits_alone = false;

	if (length && name[length - 1] == '.')
		length--;
	if (!length)
		return "is empty; give a host name";
	if (length > DNS_NAME_LENGTH_MOST)
		return "is too long; a host name has up to 253 characters";
	for (size_t begin = 0, end; begin <= length; begin = end + 1) {
		end = begin + strcspn(name + begin, ".");
		digits_alone = begin + strspn(name + begin, DIGITS) == end;
		if (begin + strspn(name + begin, LABEL_BYTES) != end)
			return "is not a host name; those are of letters, digits, '-', '_' and '.'";
		if (end == begin)
			return "has two dots in a row, or begins with one; remove one";
		if (end - begin > 63)
			return "has a part longer than 63 characters between its dots; shorten it";
		if (name[begin] == '-' || name[end - 1] == '-')
			return "has a part that begins or ends with '-'; remove it";
	}
	if (digits_alone)
		return "is not a host name: its last part is a number; write addresses in full";
	return NULL;
}

/* The printf(3) format that completes a server for addr_parse(): brackets and port are optional. */
static const char *full_form(const char *text)
{
	const char *colon = strchr(text, ':');

	if (*text == '[')
		return strstr(text, "]:") ? "%s" : "%s:" PORT_TEXT;
	if (!colon)
		return "%s:" PORT_TEXT;
	return strchr(colon + 1, ':') ? "[%s]:" PORT_TEXT : "%s";
}

/* Whether bytes 2 to 7 are 0, RFC 4291, 2.5.6: the resolver's library gets the scope in them. */
static bool has_room_for_scope(const struct in6_addr *address)
{
	static const uint8_t zeros[6];

	return !memcmp(&address->s6_addr[2], zeros, sizeof(zeros));
}

static const char *why_no_server(const struct addr *server)
{
	const struct sockaddr_in6 *v6 = &server->v6;
	bool is_v6 = server->any.sa_family == AF_INET6;

	if (!addr_port(server))
		return "has port 0; give the server's, or none for " PORT_TEXT;
	if (!is_v6 || (!IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) && !v6->sin6_scope_id))
		return NULL;
	if (!IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
		return "names an interface, which only a link-local address has; remove it";
	if (!v6->sin6_scope_id)
		return "is link-local and needs its interface; write it as in fe80::53%eth0";
	return has_room_for_scope(&v6->sin6_addr)
		       ? NULL
		       : "is link-local and not in fe80::/64; give another address";
}

static const char *parse_server(const char *text, struct addr *server)
{
	char full[ADDR_TEXT_BYTES + sizeof("[]:" PORT_TEXT)];
	const char *problem;

	if (!*text)
		return "is empty; give an address, or remove a comma";
	snprintf(full, sizeof(full), full_form(text), text);
	problem = addr_parse(full, server);
	if (problem && !strchr(text, '%'))
		return "is not an address; write it as in 192.0.2.53, 192.0.2.53:5353 or "
		       "[2001:db8::53]:5353";
	return problem ? problem : why_no_server(server);
}

const char *dns_parse_servers(const char *text, struct addr servers[DNS_SERVERS_MOST],
			      unsigned *count, char item[ADDR_TEXT_BYTES])
{
	const char *problem = NULL;

	*count = 0;
	while (text && !problem) {
		size_t length;
		const char *begin = units_next_item(&text, &length);

		snprintf(item, ADDR_TEXT_BYTES, "%.*s", (int)MIN(length, ADDR_TEXT_BYTES), begin);
		if (length >= ADDR_TEXT_BYTES)
			return "is too long for an address; are there commas between the servers?";
		if (*count == DNS_SERVERS_MOST)
			return "is one too many; give up to 8 servers";
		problem = parse_server(item, &servers[*count]);
		++*count;
	}
	return problem;
}

bool dns_parse_nameserver(const char *line, struct addr *server, char item[ADDR_TEXT_BYTES],
			  const char **problem)
{
	static const char word[] = "nameserver", space[] = " \t\r\n";
	size_t length;

	if (strncmp(line, word, sizeof(word) - 1))
		return false;
	line += sizeof(word) - 1;
	if (!*line || !strchr(space, *line))
		return false;
	line += strspn(line, space);
	length = strcspn(line, space);
	snprintf(item, ADDR_TEXT_BYTES, "%.*s", (int)MIN(length, ADDR_TEXT_BYTES), line);
	*problem = length < ADDR_TEXT_BYTES ? parse_server(item, server)
					    : "is too long for an address";
	return true;
}

bool dns_is_destination(const struct addr *address)
{
	/* 0.0.0.0, which filtering servers answer, is this host */
	return !addr_is_wildcard(address) && !addr_why_not_endpoint(address);
}
