/*
 * Theory of operation. A name is idle until `due_ms`, then asked for: once per family, for c-ares
 * asked for both at a time would call the answer whole when one of the two had timed out. When the
 * last family's answer is there, settle() makes one of them and sets the next `due_ms`.
 */
#include "control/resolver.h"

#include <ares.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "os/timer.h"

#define RETRY_MS 1000

/* A failure is over at most so long after its cause is. */
#define RETRY_MOST_MS 60000

/* How long an answer of /etc/hosts is good for: it has no TTL, and reading it costs little. */
#define HOSTS_TTL_MS 10000

_Static_assert(RESOLVER_POLL_FDS == ARES_GETSOCK_MAXNUM, "ares_getsock(3) tells of every socket");

/* A family's share of a name's answer. */
struct share {
	struct name *name;
	int family;
	int status; /* ARES_* */
	uint64_t ttl_ms;
	struct addr_set found;
};

struct name {
	struct resolver *resolver;
	resolver_on_change *on_change;
	void *context;
	enum resolver_state state;
	const char *error;
	unsigned failures;     /* in a row */
	unsigned shares_asked; /* 0: idle */
	uint64_t wait_ms;
	uint64_t due_ms;
	struct addr_set addresses;
	struct share shares[2];
	char text[DNS_NAME_BYTES];
};

struct resolver {
	ares_channel channel;
	uint64_t min_ttl_ms;
	uint64_t max_ttl_ms;
	uint64_t retry_ms;
	unsigned share_count; /* families asked for */
	unsigned name_count;
	unsigned asked_count;
	bool asking; /* an answer that comes now is one of /etc/hosts */
	struct name *names[RESOLVER_NAMES_MOST];
};

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

/* Names ---------------------------------------------------------------------------------------- */

int resolver_add(struct resolver *resolver, const char *name, resolver_on_change *on_change,
		 void *context)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct name *made;

	if (dns_why_not_name(name))
		return -EINVAL;
	if (resolver->name_count == RESOLVER_NAMES_MOST)
		return -ENOSPC;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->resolver = resolver;
	made->on_change = on_change;
	made->context = context;
	snprintf(made->text, sizeof(made->text), "%s", name);
	for (unsigned i = 0; i < ARRAY_COUNT(families); i++) {
		made->shares[i].name = made;
		made->shares[i].family = families[i];
	}
	resolver->names[resolver->name_count] = made;
	return (int)resolver->name_count++;
}

static void fill_answer(const struct name *name, struct resolver_answer *answer)
{
	*answer = (struct resolver_answer){
		.state = name->state,
		.error = name->error,
		.addresses = &name->addresses,
		.wait_ms = name->wait_ms,
	};
}

void resolver_get(const struct resolver *resolver, unsigned number, struct resolver_answer *answer)
{
	CHECK(number < resolver->name_count);
	fill_answer(resolver->names[number], answer);
}

/* Answers -------------------------------------------------------------------------------------- */

/* A TTL with the highest bit set is 0 (RFC 2181, section 8). */
static uint64_t ttl_ms_of(int ttl_s)
{
	return ttl_s < 0 ? 0 : (uint64_t)ttl_s * 1000;
}

static void take_records(struct share *share, const struct ares_addrinfo *info)
{
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next)
		share->ttl_ms = MIN(share->ttl_ms, ttl_ms_of(cname->ttl));
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		struct sockaddr_storage storage = {0};
		struct addr address;

		share->ttl_ms = MIN(share->ttl_ms, ttl_ms_of(node->ai_ttl));
		if (node->ai_family != share->family || node->ai_addrlen > sizeof(storage))
			continue;
		memcpy(&storage, node->ai_addr, node->ai_addrlen);
		addr_from_sockaddr(&address, &storage);
		addr_set_port(&address, 0);
		if (dns_is_destination(&address))
			addr_set_insert(&share->found, &address);
	}
}

/* Whether the family's addresses, or that it has none, were answered. */
static bool is_known(const struct share *share)
{
	return share->status == ARES_SUCCESS || share->status == ARES_ENODATA ||
	       share->status == ARES_ENOTFOUND;
}

/* Puts the families together; one that was not answered keeps what it had. Whether this changes. */
static bool replace_addresses(struct name *name)
{
	struct addr_set set = {0};
	bool changed;

	for (unsigned i = 0; i < name->resolver->share_count; i++) {
		const struct share *share = &name->shares[i];
		const struct addr_set *from = is_known(share) ? &share->found : &name->addresses;

		set.dropped_count += from->dropped_count;
		for (unsigned j = 0; j < from->count; j++) {
			if (from->list[j].any.sa_family == share->family)
				addr_set_insert(&set, &from->list[j]);
		}
	}
	changed = !addr_set_equal(&set, &name->addresses);
	name->addresses = set;
	return changed;
}

static uint64_t retry_delay_ms(const struct resolver *resolver, unsigned failures)
{
	uint64_t most_ms = MIN(resolver->max_ttl_ms, RETRY_MOST_MS);
	uint64_t delay_ms = resolver->retry_ms;

	while (failures-- && delay_ms < most_ms)
		delay_ms *= 2;
	return MIN(delay_ms, most_ms);
}

/* What failed: a family of which nothing is known rather than one that is known not to be there. */
static const char *failure(const struct name *name)
{
	const struct share *blamed = &name->shares[0];

	for (unsigned i = 1; i < name->resolver->share_count; i++) {
		if (is_known(blamed))
			blamed = &name->shares[i];
	}
	return describe_status(blamed->status);
}

static void settle(struct name *name)
{
	struct resolver *resolver = name->resolver;
	enum resolver_state before = name->state;
	uint64_t ttl_ms = resolver->max_ttl_ms;
	struct resolver_answer answer;
	bool found = false, changed = false, partial = false;

	resolver->asked_count--;
	for (unsigned i = 0; i < resolver->share_count; i++) {
		partial |= !is_known(&name->shares[i]);
		if (!name->shares[i].found.count)
			continue;
		found = true;
		ttl_ms = MIN(ttl_ms, name->shares[i].ttl_ms);
	}
	if (found) {
		changed = replace_addresses(name);
		name->state = RESOLVER_RESOLVED;
		name->error = NULL;
		name->wait_ms = MAX(ttl_ms, resolver->min_ttl_ms);
	} else {
		name->state = RESOLVER_FAILING;
		name->error = failure(name);
		name->wait_ms = UINT64_MAX;
	}
	/* a family that was not answered is asked for again as soon as a name that has nothing */
	if (!found || partial) {
		name->wait_ms = MIN(name->wait_ms, retry_delay_ms(resolver, name->failures));
		name->failures++;
	} else {
		name->failures = 0;
	}
	name->due_ms = timer_now_ms() + name->wait_ms;
	if (!name->on_change || (name->state == before && !changed))
		return;
	fill_answer(name, &answer);
	name->on_change(name->context, &answer);
}

/* ares_addrinfo_callback; called from within ares_getaddrinfo() too. */
static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct share *share = context;
	struct name *name = share->name;

	(void)timeouts;
	if (status == ARES_EDESTRUCTION)
		return;
	share->status = status;
	share->ttl_ms = UINT64_MAX;
	share->found.count = 0;
	share->found.dropped_count = 0;
	if (info) {
		take_records(share, info);
		ares_freeaddrinfo(info);
	}
	if (name->resolver->asking)
		share->ttl_ms = HOSTS_TTL_MS;
	if (!--name->shares_asked)
		settle(name);
}

static void ask(struct name *name)
{
	struct resolver *resolver = name->resolver;

	resolver->asked_count++;
	name->shares_asked = resolver->share_count;
	for (unsigned i = 0; i < resolver->share_count; i++) {
		/* without NOSORT it would make a socket per address to see which way it goes */
		struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT,
						    .ai_family = name->shares[i].family,
						    .ai_socktype = SOCK_STREAM};

		resolver->asking = true;
		ares_getaddrinfo(resolver->channel, name->text, NULL, &hints, on_answer,
				 &name->shares[i]);
		resolver->asking = false;
	}
}

/* Making --------------------------------------------------------------------------------------- */

/* Makes c-ares' list of `count` > 0 servers. */
static void list_servers(const struct addr *servers, unsigned count,
			 struct ares_addr_port_node list[DNS_SERVERS_MOST])
{
	for (unsigned i = 0; i < count; i++) {
		struct ares_addr_port_node *node = &list[i];

		node->next = i + 1 < count ? node + 1 : NULL;
		node->family = servers[i].any.sa_family;
		node->udp_port = node->tcp_port = (int)addr_port(&servers[i]);
		if (node->family == AF_INET)
			node->addr.addr4 = servers[i].v4.sin_addr;
		else
			memcpy(&node->addr.addr6, &servers[i].v6.sin6_addr,
			       sizeof(node->addr.addr6));
	}
}

/*
 * Sets `servers`, or leaves those of resolv.conf(5), as many as ares_getsock(3) has room for: it
 * tells of 16 sockets. Counts them.
 */
static int set_servers(ares_channel channel, struct ares_addr_port_node *servers, unsigned *count)
{
	struct ares_addr_port_node *found, *last;
	int status = ARES_SUCCESS;

	if (servers)
		status = ares_set_servers_ports(channel, servers);
	if (status == ARES_SUCCESS)
		status = ares_get_servers_ports(channel, &found);
	if (status != ARES_SUCCESS)
		return status;
	*count = 0;
	for (last = found; last && ++*count < DNS_SERVERS_MOST && last->next;)
		last = last->next;
	if (last && last->next) {
		struct ares_addr_port_node *rest = last->next;

		last->next = NULL;
		status = ares_set_servers_ports(channel, found);
		last->next = rest;
	}
	ares_free_data(found);
	return status;
}

/* NULL for `servers`: those of resolv.conf(5). */
static int open_channel(struct resolver *resolver, const struct resolver_options *options,
			struct ares_addr_port_node *servers)
{
	char nothing[] = "/dev/null", lookups[] = "fb";
	/* NOALIASES: what names mean is not left to the environment (HOSTALIASES) */
	struct ares_options wanted = {
		.flags = ARES_FLAG_NOALIASES | (servers ? ARES_FLAG_NOSEARCH : 0),
		.lookups = lookups,
		.resolvconf_path = nothing,
		.timeout = (int)MIN(options->timeout_ms, (uint64_t)INT_MAX),
		.tries = (int)MIN(options->tries, (unsigned)INT_MAX),
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | (servers ? ARES_OPT_RESOLVCONF : 0) |
		   (options->timeout_ms ? ARES_OPT_TIMEOUTMS : 0) |
		   (options->tries ? ARES_OPT_TRIES : 0);
	int status;

	for (;;) {
		unsigned count;

		status = ares_init_options(&resolver->channel, &wanted, mask);
		if (status != ARES_SUCCESS)
			return status;
		status = set_servers(resolver->channel, servers, &count);
		if (status == ARES_SUCCESS && (count > 1 || wanted.flags & ARES_FLAG_NOCHECKRESP))
			return status;
		ares_destroy(resolver->channel);
		if (status != ARES_SUCCESS)
			return status;
		/*
		 * A lone server's SERVFAIL or REFUSED is taken for an answer: c-ares would ask it
		 * again at once, and in the end forget why.
		 */
		wanted.flags |= ARES_FLAG_NOCHECKRESP;
	}
}

int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    char error[CONFIG_ERROR_BYTES])
{
	struct ares_addr_port_node list[DNS_SERVERS_MOST] = {0};
	struct addr servers[DNS_SERVERS_MOST];
	unsigned server_count = 0;
	const char *problem = NULL;
	char item[ADDR_TEXT_BYTES];
	struct resolver *made;
	int status;

	CHECK(options->min_ttl_ms && options->min_ttl_ms <= options->max_ttl_ms);
	if (options->servers)
		problem = dns_parse_servers(options->servers, servers, &server_count, item);
	if (problem) {
		snprintf(error, CONFIG_ERROR_BYTES, "the DNS server '%s' %s", item, problem);
		return -EINVAL;
	}
	list_servers(servers, server_count, list);
	snprintf(error, CONFIG_ERROR_BYTES, "cannot make a resolver: no memory");
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->min_ttl_ms = options->min_ttl_ms;
	made->max_ttl_ms = options->max_ttl_ms;
	made->retry_ms = options->retry_ms ? options->retry_ms : RETRY_MS;
	made->share_count = options->want_v6 ? 2 : 1;
	status = ares_library_init(ARES_LIB_INIT_ALL);
	if (status == ARES_SUCCESS) {
		status = open_channel(made, options, server_count ? list : NULL);
		if (status == ARES_SUCCESS) {
			*resolver = made;
			return 0;
		}
		ares_library_cleanup();
	}
	free(made);
	if (status == ARES_ENOMEM)
		return -ENOMEM;
	snprintf(error, CONFIG_ERROR_BYTES, "cannot make a resolver: %s; look at /etc/resolv.conf",
		 ares_strerror(status));
	return -EIO;
}

void resolver_destroy(struct resolver *resolver)
{
	ares_destroy(resolver->channel);
	ares_library_cleanup();
	for (unsigned i = 0; i < resolver->name_count; i++)
		free(resolver->names[i]);
	free(resolver);
}

/* Running -------------------------------------------------------------------------------------- */

/* The idle name that is due first; NULL: there is none, or no more may be asked for. */
static struct name *next_to_ask(const struct resolver *resolver)
{
	struct name *next = NULL;

	for (unsigned i = 0; i < resolver->name_count; i++) {
		struct name *name = resolver->names[i];

		if (!name->shares_asked && (!next || name->due_ms < next->due_ms))
			next = name;
	}
	return resolver->asked_count < RESOLVER_ASKED_MOST ? next : NULL;
}

int resolver_prepare_poll(struct resolver *resolver, struct pollfd fds[RESOLVER_POLL_FDS])
{
	ares_socket_t sockets[RESOLVER_POLL_FDS];
	unsigned wanted = (unsigned)ares_getsock(resolver->channel, sockets, RESOLVER_POLL_FDS);
	const struct name *next = next_to_ask(resolver);
	uint64_t now_ms = timer_now_ms();
	uint64_t wait_ms = UINT64_MAX;
	struct timeval left;

	for (unsigned i = 0; i < RESOLVER_POLL_FDS; i++) {
		/* not by ARES_GETSOCK_WRITABLE(), which shifts a one into the sign */
		unsigned readable = wanted >> i & 1;
		unsigned writable = wanted >> (i + ARES_GETSOCK_MAXNUM) & 1;

		/* poll(2) passes over a negative descriptor */
		fds[i] = (struct pollfd){
			.fd = readable || writable ? sockets[i] : -1,
			.events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0))};
	}
	/* rounded up: a wait that ends too early would be repeated with 0 ms until the time comes */
	if (ares_timeout(resolver->channel, NULL, &left))
		wait_ms = (uint64_t)left.tv_sec * 1000 + ((uint64_t)left.tv_usec + 999) / 1000;
	if (next)
		wait_ms = MIN(wait_ms, next->due_ms > now_ms ? next->due_ms - now_ms : 0);
	return wait_ms == UINT64_MAX ? -1 : (int)MIN(wait_ms, (uint64_t)INT_MAX);
}

void resolver_run(struct resolver *resolver, const struct pollfd fds[RESOLVER_POLL_FDS])
{
	uint64_t now_ms = timer_now_ms();
	struct name *next;

	for (unsigned i = 0; i < RESOLVER_POLL_FDS; i++) {
		if (fds[i].fd >= 0 && fds[i].revents)
			ares_process_fd(resolver->channel,
					fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
					fds[i].revents & ~POLLIN ? fds[i].fd : ARES_SOCKET_BAD);
	}
	/* what has timed out, and no socket tells of */
	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	while ((next = next_to_ask(resolver)) && next->due_ms <= now_ms)
		ask(next);
}
