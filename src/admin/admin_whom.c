/* SPDX-License-Identifier: MIT */
#include "admin/admin_whom.h"

#include "forward/source_address.h"
#include "os/interfaces.h"
#include "relay/query.h"

_Static_assert(ADMIN_BAN_BITS_LEAST_V4 == 8 && ADMIN_BAN_BITS_LEAST_V6 == 16,
	       "the messages of admin_whom_refuse() name these numbers");

static const char shared[] =
	"is a source address that clients share; give its port too, as in 10.0.0.1:41234, or the "
	"client's own address; to ban the IPv4 client at this address, add /32";

bool admin_whom_find_lease(struct admin_job *job)
{
	const struct admin_who *who = &job->request.who;
	struct in_addr address = {.s_addr = htonl(cidr_v4_of(&who->block.network))};

	return who->block.bits == 128 && cidr_is_v4(&who->block) && job->tools.forwards->sources &&
	       source_addresses_find(job->tools.forwards->sources, address, &job->lease);
}

/* The block that a ban of this session's client covers: one client to the lease pool. */
static struct cidr client_of(const struct admin_job *job, const struct session_record *record)
{
	const struct config_forward_options *options =
		&job->tools.forwards->config->forwards[record->forward].options;
	const struct addr *shown = record->is_embedded ? &record->source : &record->client;
	bool is_of_pool = options->source.kind == CONFIG_SOURCE_POOL;
	/* a lease pool counts a link-local address as one client on all links */
	struct in6_addr address = is_of_pool ? cidr_address_of(shown) : cidr_address_on_link(shown);

	if (is_of_pool && options->pseudo_prefix == CONFIG_PSEUDO_PREFIX_128)
		return cidr_client_of(&address, 128);
	return admin_client_of(&address);
}

/* Whether the session's connection to its backend comes from WHO. */
static bool is_source(const struct admin_who *who, const struct session_record *record)
{
	struct query query = {.block = who->block, .port = who->port};

	return query_matches(&query, &record->source);
}

static bool is_leased(const struct session_record *record)
{
	return record->has_own_source && !record->is_embedded;
}

/* A client that came by a local socket has no address: cidr_address_of(). */
static const char *refuse_local(const struct cidr *client)
{
	if (client->bits == 128 && IN6_IS_ADDR_UNSPECIFIED(&client->network))
		return "is of a client that came by a local socket, and has no address to ban";
	return NULL;
}

/* Finds the client that has the lease, or else the last client that had it. */
static bool find_holder(struct admin_job *job)
{
	if (job->has_lease)
		job->client = job->lease;
	for (unsigned i = 0; !job->has_lease && i < job->found_count; i++) {
		if (!is_source(&job->request.who, job->found[i]) || !is_leased(job->found[i]))
			continue;
		job->client = client_of(job, job->found[i]);
		return true;
	}
	return job->has_lease;
}

/* Looks for other clients that had the address before, or have it now without a lease. */
static const char *look_beside_holder(struct admin_job *job)
{
	for (unsigned i = 0; i < job->found_count && !job->has_previous; i++) {
		const struct session_record *record = job->found[i];
		struct cidr client = client_of(job, record);

		if (!is_source(&job->request.who, record) || cidr_equal(&client, &job->client))
			continue;
		if (!record->closed_ms)
			return shared;
		job->has_previous = true;
		job->previous = (struct admin_holder){client, record->closed_ms};
	}
	return refuse_local(&job->client);
}

/* Chooses the one client of all sessions found. */
static const char *choose_found(struct admin_job *job)
{
	const struct admin_who *who = &job->request.who;

	job->client = client_of(job, job->found[0]);
	for (unsigned i = 0; i < job->found_count; i++) {
		const struct session_record *record = job->found[i];
		struct cidr client = client_of(job, record);

		if (!who->port && !record->has_own_source && is_source(who, record))
			return shared;
		if (!cidr_equal(&client, &job->client))
			return "has been the source address of more than one client; give the "
			       "client's own address";
	}
	return refuse_local(&job->client);
}

const char *admin_whom_choose(struct admin_job *job, enum admin_code *code)
{
	const struct admin_who *who = &job->request.who;
	struct addr address =
		addr_from_v4((struct in_addr){htonl(cidr_v4_of(&who->block.network))});

	*code = ADMIN_BAD;
	/* an address with a port means its session's client, even if another client has the lease now */
	if ((!who->port || !job->found_count) && find_holder(job))
		return look_beside_holder(job);
	if (job->found_count)
		return choose_found(job);
	*code = ADMIN_NOBODY;
	if (job->tools.forwards->sources &&
	    source_addresses_own(job->tools.forwards->sources, &who->block))
		return "is of a pool of --source, but no client has it now; --pseudo-state keeps "
		       "the clients of addresses over restarts";
	if (who->port)
		return "is not known: no session has it; ban a client by its address";
	*code = ADMIN_BAD;
	if (addr_is_loopback(&address) || interfaces_have(NULL, &address))
		return shared;
	/* the address is no source address of a session: it is a client that comes by IPv4 */
	job->client = who->block;
	return NULL;
}

const char *admin_whom_refuse(const struct cidr *client)
{
	struct in6_addr v4_first = cidr_map_v4((struct in_addr){INADDR_ANY});
	unsigned least =
		cidr_is_v4(client) ? 96 + ADMIN_BAN_BITS_LEAST_V4 : ADMIN_BAN_BITS_LEAST_V6;

	if (!cidr_is_v4(client) && client->bits >= least && cidr_contains(client, &v4_first))
		return "has all IPv4 clients in it; ban a block of these, or a smaller one";
	if (client->bits >= least)
		return NULL;
	return cidr_is_v4(client) ? "is too wide to be banned; give a /8 or longer"
				  : "is too wide to be banned; give a /16 or longer";
}
