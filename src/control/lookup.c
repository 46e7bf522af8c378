/* SPDX-License-Identifier: MIT */
#include "control/lookup.h"

#include <ares.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/util.h"
#include "os/timer.h"

/* The TTL of an answer of /etc/hosts, which has none. Reading the file costs little. */
#define HOSTS_TTL_MS 10000

/* A name, a domain of the search list and two dots. */
#define QUESTION_BYTES (2 * DNS_NAME_BYTES)

_Static_assert(LOOKUP_POLL_FDS == ARES_GETSOCK_MAXNUM, "ares_getsock(3) tells of every socket");

struct lookups {
	ares_channel hosts; /* reads only /etc/hosts */
	ares_channel dns;
	struct ares_options read; /* of `dns`: the search list, ndots */
};

/* Answers -------------------------------------------------------------------------------------- */

static const char *describe_status(int status)
{
	static const char *const words[] = {
		[ARES_SUCCESS] = "no address", [ARES_ENODATA] = "no address",
		[ARES_ENOTFOUND] = "NXDOMAIN", [ARES_ESERVFAIL] = "SERVFAIL",
		[ARES_EREFUSED] = "REFUSED",   [ARES_EFORMERR] = "FORMERR",
		[ARES_ENOTIMP] = "NOTIMP",     [ARES_EBADRESP] = "malformed answer",
		[ARES_ETIMEOUT] = "timed out", [ARES_ECONNREFUSED] = "no server has an answer",
		[ARES_ENOMEM] = "no memory",
	};
	if (status < 0 || status >= (int)ARRAY_COUNT(words) || !words[status])
		return "cannot be asked for";
	return words[status];
}

/* A TTL with the highest bit set is 0 (RFC 2181, section 8). */
static uint64_t ttl_ms_of(int ttl_s)
{
	return ttl_s < 0 ? 0 : (uint64_t)ttl_s * 1000;
}

static void take_records(struct lookup *lookup, struct ares_addrinfo *info)
{
	lookup->ttl_ms = UINT64_MAX;
	lookup->found.count = 0;
	lookup->found.dropped_count = 0;
	if (!info)
		return;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next)
		lookup->ttl_ms = MIN(lookup->ttl_ms, ttl_ms_of(cname->ttl));
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		struct sockaddr_storage storage = {0};
		struct addr address;

		lookup->ttl_ms = MIN(lookup->ttl_ms, ttl_ms_of(node->ai_ttl));
		if (node->ai_family != lookup->family || node->ai_addrlen > sizeof(storage))
			continue;
		memcpy(&storage, node->ai_addr, node->ai_addrlen);
		addr_from_sockaddr(&address, &storage);
		addr_set_port(&address, 0);
		if (dns_is_destination(&address))
			addr_set_insert(&lookup->found, &address);
	}
	ares_freeaddrinfo(info);
}

static void finish(struct lookup *lookup, int status)
{
	lookup->is_known =
		status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
	lookup->error = describe_status(status);
	lookup->on_answer(lookup);
}

/* The search ----------------------------------------------------------------------------------- */

/* A full name that a lookup asks for. */
struct question {
	char text[QUESTION_BYTES]; /* with a dot at its end, so that c-ares adds no domain */
	bool is_as_is;
};

static bool ends_with_dot(const char *name)
{
	size_t length = strlen(name);

	return length && name[length - 1] == '.';
}

static bool is_as_is_first(const struct lookup *lookup)
{
	int dots = 0;

	for (const char *at = lookup->name; *at; at++)
		dots += *at == '.';
	return dots >= lookup->lookups->read.ndots || ends_with_dot(lookup->name);
}

/* False: the search has no such step. */
static bool write_question(const struct lookup *lookup, unsigned step, struct question *question)
{
	const struct ares_options *read = &lookup->lookups->read;
	bool full = ends_with_dot(lookup->name);
	unsigned domains = full ? 0 : (unsigned)read->ndomains;
	unsigned as_is_step = is_as_is_first(lookup) ? 0 : domains;
	const char *domain = "";

	if (step > domains)
		return false;
	question->is_as_is = step == as_is_step;
	if (!question->is_as_is)
		domain = read->domains[step > as_is_step ? step - 1 : step];
	/* "." is the root, with which the name is as it is */
	snprintf(question->text, sizeof(question->text), "%s%s%.*s%s", lookup->name,
		 *domain && strcmp(domain, ".") ? "." : "", DNS_NAME_LENGTH_MOST, domain,
		 full || ends_with_dot(domain) ? "" : ".");
	return true;
}

static void ask_next(struct lookup *lookup);

/*
 * Keeps the status of the whole search. By rank: the status of the name as it is, if it was asked
 * for first; that a name has no address of this family; a failure; that there is no such name.
 */
static void keep_status(struct lookup *lookup, int status)
{
	if (lookup->is_first)
		lookup->status = status;
	else if (is_as_is_first(lookup) || lookup->status == ARES_ENODATA)
		return;
	else if (status == ARES_ENODATA || lookup->status == ARES_ENOTFOUND)
		lookup->status = status;
	lookup->is_first = false;
}

/* ares_addrinfo_callback; called from within ares_getaddrinfo() too. */
static void on_dns(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *lookup = context;

	(void)timeouts;
	if (status == ARES_EDESTRUCTION)
		return;
	take_records(lookup, info);
	/* the name has addresses, though perhaps none that can be connected to */
	if (status == ARES_SUCCESS) {
		finish(lookup, status);
		return;
	}
	/* with this domain the name is too long to exist */
	if (status == ARES_EBADNAME)
		status = ARES_ENOTFOUND;
	keep_status(lookup, status);
	lookup->is_silent |= status == ARES_ETIMEOUT || status == ARES_ENOMEM;
	ask_next(lookup);
}

static void ask(ares_channel channel, const char *text, ares_addrinfo_callback on_answer,
		struct lookup *lookup)
{
	/* without NOSORT c-ares would open a socket per address to find its route */
	const struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT,
						  .ai_family = lookup->family,
						  .ai_socktype = SOCK_STREAM};

	ares_getaddrinfo(channel, text, NULL, &hints, on_answer, lookup);
}

static void ask_next(struct lookup *lookup)
{
	struct question question;

	while (write_question(lookup, lookup->step++, &question)) {
		if (lookup->is_silent && !question.is_as_is)
			continue;
		ask(lookup->lookups->dns, question.text, on_dns, lookup);
		return;
	}
	finish(lookup, lookup->status);
}

static void on_hosts(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *lookup = context;

	(void)timeouts;
	if (status == ARES_EDESTRUCTION)
		return;
	take_records(lookup, info);
	lookup->ttl_ms = HOSTS_TTL_MS;
	if (lookup->found.count)
		finish(lookup, ARES_SUCCESS);
	else
		ask_next(lookup);
}

void lookup_begin(struct lookup *lookup)
{
	lookup->is_known = false;
	lookup->found.count = 0;
	lookup->found.dropped_count = 0;
	lookup->status = ARES_ENOTFOUND;
	lookup->step = 0;
	lookup->is_first = true;
	lookup->is_silent = false;
	ask(lookup->lookups->hosts, lookup->name, on_hosts, lookup);
}

/* Making --------------------------------------------------------------------------------------- */

/*
 * Servers on a link. c-ares knows no interfaces, so a link-local server is told to c-ares with the
 * link in the address (cidr_set_link()). The sockets are opened here, where the link becomes the
 * scope again.
 */
static bool has_scope(const struct sockaddr *address)
{
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void hide_scope(struct sockaddr_in6 *address)
{
	cidr_set_link(&address->sin6_addr, address->sin6_scope_id);
	address->sin6_scope_id = 0;
}

static int open_socket(int family, int type, int protocol, void *context)
{
	(void)context;
	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int close_socket(int fd, void *context)
{
	(void)context;
	return close(fd);
}

static int connect_socket(int fd, const struct sockaddr *address, socklen_t length, void *context)
{
	struct sockaddr_in6 scoped;

	(void)context;
	if (!has_scope(address))
		return connect(fd, address, length);
	memcpy(&scoped, address, sizeof(scoped));
	scoped.sin6_scope_id = cidr_link_of(&scoped.sin6_addr);
	cidr_set_link(&scoped.sin6_addr, 0);
	return connect(fd, (const struct sockaddr *)&scoped, sizeof(scoped));
}

static ssize_t receive(int fd, void *bytes, size_t size, int flags, struct sockaddr *from,
		       socklen_t *length, void *context)
{
	ssize_t got = recvfrom(fd, bytes, size, flags, from, length);

	(void)context;
	if (got >= 0 && from && has_scope(from))
		hide_scope((struct sockaddr_in6 *)from);
	return got;
}

static ssize_t send_parts(int fd, const struct iovec *parts, int count, void *context)
{
	const struct msghdr message = {.msg_iov = (struct iovec *)parts,
				       .msg_iovlen = (size_t)count};

	(void)context;
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static const struct ares_socket_functions socket_functions = {
	.asocket = open_socket,
	.aclose = close_socket,
	.aconnect = connect_socket,
	.arecvfrom = receive,
	.asendv = send_parts,
};

/* Makes c-ares' list of `count` > 0 servers. */
static void list_servers(const struct addr *servers, unsigned count,
			 struct ares_addr_port_node list[DNS_SERVERS_MOST])
{
	for (unsigned i = 0; i < count; i++) {
		struct ares_addr_port_node *node = &list[i];
		struct addr server = servers[i];

		node->next = i + 1 < count ? node + 1 : NULL;
		node->family = server.any.sa_family;
		node->udp_port = node->tcp_port = (int)addr_port(&server);
		if (has_scope(&server.any))
			hide_scope(&server.v6);
		if (node->family == AF_INET)
			node->addr.addr4 = server.v4.sin_addr;
		else
			memcpy(&node->addr.addr6, &server.v6.sin6_addr, sizeof(node->addr.addr6));
	}
}

static void tell_ignored(const char *path, const char *nameserver, const char *error)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_nameserver_ignored))
		return;
	log_text(&line, "nameserver", nameserver);
	log_text(&line, "file", path);
	log_text(&line, "error", error);
	log_end(&line);
}

/*
 * Reads the servers of resolv.conf(5) itself, because c-ares drops the interface of a link-local
 * one. Returns their number; 0 if the file cannot be read.
 */
static unsigned read_servers(const char *path, struct addr servers[DNS_SERVERS_MOST])
{
	char line[1024], item[ADDR_TEXT_BYTES];
	FILE *file = fopen(path, "re");
	const char *problem;
	unsigned count = 0;

	if (!file)
		return 0;
	while (count < DNS_SERVERS_MOST && fgets(line, sizeof(line), file)) {
		if (!dns_parse_nameserver(line, &servers[count], item, &problem))
			continue;
		if (problem)
			tell_ignored(path, item, problem);
		else
			count++;
	}
	fclose(file);
	return count;
}

static const char *resolv_conf_of(const struct lookup_options *options)
{
	if (options->servers)
		return "/dev/null";
	return options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf";
}

/* `lookups`: "f" reads /etc/hosts, "b" asks the DNS. `servers` NULL: c-ares asks 127.0.0.1. */
static int open_channel(ares_channel *channel, char *lookups, const struct lookup_options *options,
			struct ares_addr_port_node *servers)
{
	char path[PATH_MAX];
	bool is_lone = !servers || !servers->next;
	/*
	 * NOALIASES: the environment (HOSTALIASES) does not change names. NOCHECKRESP: SERVFAIL and
	 * REFUSED of a lone server are answers. Otherwise c-ares would ask again at once, and
	 * forget why.
	 */
	struct ares_options wanted = {
		.flags = ARES_FLAG_NOALIASES | (is_lone ? ARES_FLAG_NOCHECKRESP : 0),
		.lookups = lookups,
		.resolvconf_path = path,
		.timeout = (int)options->timeout_ms,
		.tries = (int)options->tries,
	};
	/* with --dns-server there is no search list: ndomains is 0 */
	int mask = ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF | ARES_OPT_TIMEOUTMS |
		   ARES_OPT_TRIES | (options->servers ? ARES_OPT_DOMAINS : 0);
	int status;

	snprintf(path, sizeof(path), "%s", resolv_conf_of(options));
	status = ares_init_options(channel, &wanted, mask);
	if (status != ARES_SUCCESS) {
		*channel = NULL;
		return status;
	}
	ares_set_socket_functions(*channel, &socket_functions, NULL);
	return servers ? ares_set_servers_ports(*channel, servers) : ARES_SUCCESS;
}

static void close_channels(struct lookups *lookups)
{
	ares_destroy_options(&lookups->read);
	ares_destroy(lookups->dns);
	ares_destroy(lookups->hosts);
	ares_library_cleanup();
}

static int open_channels(struct lookups *lookups, const struct lookup_options *options,
			 struct ares_addr_port_node *servers)
{
	char hosts[] = "f", dns[] = "b";
	int status = ares_library_init(ARES_LIB_INIT_ALL), mask;

	if (status != ARES_SUCCESS)
		return status;
	status = open_channel(&lookups->hosts, hosts, options, servers);
	if (status == ARES_SUCCESS)
		status = open_channel(&lookups->dns, dns, options, servers);
	if (status == ARES_SUCCESS)
		status = ares_save_options(lookups->dns, &lookups->read, &mask);
	if (status != ARES_SUCCESS)
		close_channels(lookups);
	return status;
}

int lookups_create(struct lookups **lookups, const struct lookup_options *options,
		   struct fault *fault)
{
	struct ares_addr_port_node list[DNS_SERVERS_MOST] = {0};
	struct addr servers[DNS_SERVERS_MOST];
	unsigned server_count = 0;
	const char *problem = NULL;
	char item[ADDR_TEXT_BYTES];
	struct lookups *made;
	int status;

	if (options->servers)
		problem = dns_parse_servers(options->servers, servers, &server_count, item);
	if (problem)
		return fault_set_words(fault, "dns-server", item, problem);
	if (!options->servers)
		server_count = read_servers(resolv_conf_of(options), servers);
	list_servers(servers, server_count, list);
	made = calloc(1, sizeof(*made));
	status = made ? open_channels(made, options, server_count ? list : NULL) : ARES_ENOMEM;
	if (status == ARES_SUCCESS) {
		*lookups = made;
		return 0;
	}
	free(made);
	fault_set(fault, NULL, NULL, "cannot make a resolver: %s; look at /etc/resolv.conf",
		  status == ARES_ENOMEM ? "no memory" : ares_strerror(status));
	return status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

void lookups_destroy(struct lookups *lookups)
{
	close_channels(lookups);
	free(lookups);
}

/* Running -------------------------------------------------------------------------------------- */

void lookups_prepare_poll(struct lookups *lookups, struct poll_set *set)
{
	ares_socket_t sockets[LOOKUP_POLL_FDS];
	unsigned wanted = (unsigned)ares_getsock(lookups->dns, sockets, LOOKUP_POLL_FDS);
	struct timeval left;

	for (unsigned i = 0; i < LOOKUP_POLL_FDS; i++) {
		/* ARES_GETSOCK_WRITABLE() shifts a bit into the sign */
		unsigned readable = wanted >> i & 1;
		unsigned writable = wanted >> (i + ARES_GETSOCK_MAXNUM) & 1;

		if (readable || writable)
			poll_set_add(set, sockets[i],
				     (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0)));
	}
	/* rounded up: a wait that ends too early would be repeated with 0 ms */
	if (ares_timeout(lookups->dns, NULL, &left))
		poll_set_due(set, timer_now_ms() + (uint64_t)left.tv_sec * 1000 +
					  ((uint64_t)left.tv_usec + 999) / 1000);
}

void lookups_run(struct lookups *lookups, const struct poll_set *set)
{
	ares_socket_t sockets[LOOKUP_POLL_FDS];
	unsigned wanted = (unsigned)ares_getsock(lookups->dns, sockets, LOOKUP_POLL_FDS);

	for (unsigned i = 0; i < LOOKUP_POLL_FDS; i++) {
		bool is_open = (wanted >> i | wanted >> (i + ARES_GETSOCK_MAXNUM)) & 1;
		short events = is_open ? poll_set_events(set, sockets[i]) : 0;

		if (events)
			ares_process_fd(lookups->dns,
					events & ~POLLOUT ? sockets[i] : ARES_SOCKET_BAD,
					events & ~POLLIN ? sockets[i] : ARES_SOCKET_BAD);
	}
	/* questions that have timed out */
	ares_process_fd(lookups->dns, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}
