/* SPDX-License-Identifier: MIT */
#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define LOCAL_PREFIX "unix:"

/* The characters of an IPv6 address without its interface. */
#define V6_LETTERS "0123456789abcdefABCDEF:."

/* Room for the text between the brackets: an IPv6 address, and an interface. */
#define HOST_BYTES 80

/* Reads a port from the whole of `text`: 0 to 65535, where 0 lets the kernel choose. */
static const char *parse_port(const char *text, in_port_t *port_be)
{
	uint64_t port;

	if (!*text)
		return "has no port after the ':'; give a number from 0 to 65535";
	if (units_parse_count(text, &port))
		return "has a port that is not a number; give one from 0 to 65535";
	if (port > 65535)
		return "has a port above 65535; give a number from 0 to 65535";
	*port_be = htons((uint16_t)port);
	return NULL;
}

static const char *parse_scope(const char *name, uint32_t *scope_id)
{
	uint64_t number;

	*scope_id = if_nametoindex(name);
	if (*scope_id)
		return NULL;
	if (units_parse_count(name, &number) || !number || number > UINT32_MAX)
		return "names an interface after the '%' that this host does not have; see 'ip link'";
	*scope_id = (uint32_t)number;
	return NULL;
}

static const char *parse_v6(const char *text, struct addr *address)
{
	const char *close = strchr(text, ']');
	char host[HOST_BYTES];
	const char *problem;
	char *percent;
	size_t length;

	if (!close)
		return "has no closing ']'; write [address]:port";
	if (close[1] != ':')
		return "has no port; write [address]:port";
	length = (size_t)(close - text - 1);
	if (length >= sizeof(host))
		return "is too long for an IPv6 address; write it as in [2001:db8::1]:80";
	memcpy(host, text + 1, length);
	host[length] = '\0';

	address->v6.sin6_family = AF_INET6;
	address->length_bytes = sizeof(address->v6);
	percent = strchr(host, '%');
	if (percent) {
		*percent = '\0';
		problem = parse_scope(percent + 1, &address->v6.sin6_scope_id);
		if (problem)
			return problem;
	}
	if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) != 1)
		return "has no IPv6 address between the brackets; write it as in [2001:db8::1]:80";
	return parse_port(close + 2, &address->v6.sin6_port);
}

static const char *parse_v4(const char *text, struct addr *address)
{
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	size_t length;

	if (!colon)
		return "has no port; write address:port";
	if (strstr(text, "://"))
		return "is a URL; write its address:port alone";
	if (strchr(text, ':') != colon && !text[strspn(text, V6_LETTERS)])
		return "looks like IPv6 without brackets; write [address]:port";
	if (strchr(text, ':') != colon)
		return "has more than one ':' and is no IPv6 address; write address:port";
	length = (size_t)(colon - text);
	if (!length)
		return "has no address before the ':'; write [::]:port for every IPv6 address";
	if (length >= sizeof(host))
		return "is not an IPv4 address; write it as in 192.0.2.1:80, names are not looked up";
	memcpy(host, text, length);
	host[length] = '\0';

	address->v4.sin_family = AF_INET;
	address->length_bytes = sizeof(address->v4);
	if (inet_pton(AF_INET, host, &address->v4.sin_addr) != 1)
		return "is not an IPv4 address; write it as in 192.0.2.1:80, names are not looked up";
	return parse_port(colon + 1, &address->v4.sin_port);
}

const char *addr_parse(const char *text, struct addr *address)
{
	memset(address, 0, sizeof(*address));
	if (!*text)
		return "is empty; write [address]:port";
	return *text == '[' ? parse_v6(text, address) : parse_v4(text, address);
}

bool addr_is_local_text(const char *text)
{
	return !strncmp(text, LOCAL_PREFIX, strlen(LOCAL_PREFIX));
}

const char *addr_parse_local(const char *text, size_t length, struct sockaddr_un *name,
			     struct addr *address)
{
	const char *path = text + strlen(LOCAL_PREFIX);
	size_t path_bytes = length - MIN(length, strlen(LOCAL_PREFIX));

	memset(address, 0, sizeof(*address));
	memset(name, 0, sizeof(*name));
	if (path_bytes < 2 || (*path != '/' && *path != '@'))
		return "is not unix:/path or unix:@name; write the whole path, or a name behind the @";
	if (path_bytes >= sizeof(name->sun_path))
		return "is too long for a local socket; 107 bytes are the limit, give a shorter path";
	name->sun_family = AF_UNIX;
	memcpy(name->sun_path, path, path_bytes);
	if (*path == '@')
		name->sun_path[0] = '\0';
	address->local.family = AF_UNIX;
	address->local.path_bytes = (uint16_t)path_bytes;
	address->local.name = name;
	address->length_bytes = sizeof(address->local);
	return NULL;
}

const struct sockaddr *addr_sockaddr(const struct addr *address, socklen_t *length_bytes)
{
	*length_bytes = address->length_bytes;
	if (!addr_is_local(address))
		return &address->any;
	CHECK(address->local.name);
	/*
	 * a path ends with a NUL; an abstract name begins with a NUL and has none at its end:
	 * unix(7)
	 */
	*length_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    address->local.path_bytes + !!*address->local.name->sun_path);
	return (const struct sockaddr *)address->local.name;
}

bool addr_is_local(const struct addr *address)
{
	return address->length_bytes && address->any.sa_family == AF_UNIX;
}

const char *addr_why_not_endpoint(const struct addr *address)
{
	static const char many[] = "is the address of many hosts; TCP needs that of one";
	const struct in6_addr *v6 = &address->v6.sin6_addr;
	uint32_t v4 = ntohl(address->v4.sin_addr.s_addr);

	if (address->any.sa_family == AF_INET)
		return IN_MULTICAST(v4) || v4 == INADDR_BROADCAST ? many : NULL;
	if (address->any.sa_family != AF_INET6)
		return NULL;
	if (IN6_IS_ADDR_V4MAPPED(v6))
		return "is an IPv4 address in IPv6 form; write it as in 192.0.2.1:80";
	if (IN6_IS_ADDR_LINKLOCAL(v6) && !address->v6.sin6_scope_id)
		return "is link-local and needs its interface; write it as in [fe80::1%eth0]:80";
	return IN6_IS_ADDR_MULTICAST(v6) ? many : NULL;
}

static const char *print_local(const struct addr_local *local, char text[ADDR_TEXT_BYTES])
{
	const char *path = local->name ? local->name->sun_path : "";

	if (!local->name)
		snprintf(text, ADDR_TEXT_BYTES, "unix");
	else
		snprintf(text, ADDR_TEXT_BYTES, LOCAL_PREFIX "%s%.*s", *path ? "" : "@",
			 local->path_bytes - !*path, *path ? path : path + 1);
	return text;
}

const char *addr_print_host(const struct addr *address, char text[ADDR_TEXT_BYTES])
{
	const void *bytes = &address->v4.sin_addr;
	const char *printed;

	if (!address->length_bytes) {
		snprintf(text, ADDR_TEXT_BYTES, "-");
		return text;
	}
	if (addr_is_local(address))
		return print_local(&address->local, text);
	if (address->any.sa_family == AF_INET6)
		bytes = &address->v6.sin6_addr;
	printed = inet_ntop(address->any.sa_family, bytes, text, INET6_ADDRSTRLEN);
	CHECK(printed);
	if (address->any.sa_family == AF_INET6 && address->v6.sin6_scope_id)
		snprintf(text + strlen(text), ADDR_TEXT_BYTES - INET6_ADDRSTRLEN, "%%%u",
			 address->v6.sin6_scope_id);
	return text;
}

const char *addr_print(const struct addr *address, char text[ADDR_TEXT_BYTES])
{
	char host[ADDR_TEXT_BYTES];

	if (!address->length_bytes || addr_is_local(address))
		return addr_print_host(address, text);
	addr_print_host(address, host);
	snprintf(text, ADDR_TEXT_BYTES, strchr(host, ':') ? "[%.60s]:%u" : "%.60s:%u", host,
		 addr_port(address));
	return text;
}

struct addr addr_from_v4(struct in_addr v4)
{
	struct addr address = {.length_bytes = sizeof(address.v4)};

	address.v4.sin_family = AF_INET;
	address.v4.sin_addr = v4;
	return address;
}

static void unmap(struct addr *address)
{
	unsigned port = addr_port(address);
	struct in_addr v4;

	memcpy(&v4, &address->v6.sin6_addr.s6_addr[12], sizeof(v4));
	*address = addr_from_v4(v4);
	addr_set_port(address, port);
}

void addr_from_sockaddr(struct addr *address, const struct sockaddr_storage *from)
{
	memset(address, 0, sizeof(*address));
	if (from->ss_family == AF_INET6)
		address->length_bytes = sizeof(address->v6);
	else if (from->ss_family == AF_INET)
		address->length_bytes = sizeof(address->v4);
	memcpy(&address->any, from, address->length_bytes);
	if (from->ss_family == AF_UNIX) {
		address->local.family = AF_UNIX;
		address->length_bytes = sizeof(address->local);
	}
	if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
		unmap(address);
}

unsigned addr_port(const struct addr *address)
{
	if (address->any.sa_family == AF_UNIX)
		return 0;
	return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port
							: address->v4.sin_port);
}

void addr_set_port(struct addr *address, unsigned port)
{
	CHECK(port <= 65535);
	if (address->any.sa_family == AF_UNIX)
		return;
	if (address->any.sa_family == AF_INET6)
		address->v6.sin6_port = htons((uint16_t)port);
	else
		address->v4.sin_port = htons((uint16_t)port);
}

bool addr_is_loopback(const struct addr *address)
{
	if (address->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
	return address->any.sa_family == AF_INET &&
	       ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool addr_is_wildcard(const struct addr *address)
{
	return addr_is_v6_wildcard(address) ||
	       (address->any.sa_family == AF_INET && address->v4.sin_addr.s_addr == INADDR_ANY);
}

bool addr_is_v6_wildcard(const struct addr *address)
{
	return address->any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->length_bytes != b->length_bytes || a->any.sa_family != b->any.sa_family)
		return false;
	if (addr_is_local(a))
		return a->local.name == b->local.name ||
		       (a->local.name && b->local.name &&
			a->local.path_bytes == b->local.path_bytes &&
			!memcmp(a->local.name->sun_path, b->local.name->sun_path,
				a->local.path_bytes));
	if (a->any.sa_family == AF_INET6)
		return a->v6.sin6_port == b->v6.sin6_port &&
		       a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
		       !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr));
	return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}
