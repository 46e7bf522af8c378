#include "admin/admin_whom.h"

#include "relay/query.h"
#include "relay/sources.h"

_Static_assert(ADMIN_BAN_BITS_LEAST_V4 == 8 && ADMIN_BAN_BITS_LEAST_V6 == 16,
	       "admin_whom_refuse() has them in words");

bool admin_whom_find_lease(struct admin_job *job)
{
	const struct admin_who *who = &job->request.who;
	struct in_addr address = {.s_addr = htonl(cidr_v4_of(&who->block.network))};

	return !who->is_block && cidr_is_v4(&who->block) && job->tools.sources &&
	       sources_find(job->tools.sources, address, &job->lease);
}

/* Whom a ban of this session's client is for. */
static struct cidr client_of(const struct session_record *record)
{
	const struct addr *shown = record->is_embedded ? &record->source : &record->client;
	struct in6_addr address = cidr_address_of(shown);

	return admin_client_of(&address);
}

/* Whether `who` is the address of this session's client and, where one is given, its port. */
static bool is_own_client(const struct admin_who *who, const struct session_record *record)
{
	struct query query = {.block = who->block, .port = who->port};

	return query_means(&query, &record->client);
}

const char *admin_whom_choose(struct admin_job *job)
{
	const struct admin_who *who = &job->request.who;

	/* nobody's source address: a client that comes by IPv4 */
	job->client = who->block;
	if (!job->found_count && job->has_lease)
		job->client = job->lease;
	if (!job->found_count && job->has_lease)
		return NULL;
	if (!job->found_count && job->tools.sources && sources_own(job->tools.sources, &who->block))
		return "is of a pool of --source and no client's now, so there is nobody to ban; "
		       "--pseudo-state keeps who had it over restarts";
	if (!job->found_count)
		return who->port ? "is nobody's, so there is nobody to ban; ban a client by its "
				   "address"
				 : NULL;
	job->client = client_of(job->found[0]);
	for (unsigned i = 0; i < job->found_count; i++) {
		const struct session_record *record = job->found[i];
		struct cidr client = client_of(record);

		if (addr_is_local(&record->client))
			return "is of a client that came by a local socket, and has no address to "
			       "ban";
		if (!who->port && !record->has_own_source && !is_own_client(who, record))
			return "is a source address that clients share; give its port too, as in "
			       "10.0.0.1:41234, or the client's own address";
		if (!cidr_equal(&client, &job->client))
			return "has been the source address of more than one client; give the "
			       "client's own address";
	}
	/* a small pool gives an address to one after another */
	if (!who->port && job->has_lease && !cidr_equal(&job->lease, &job->client))
		return "is another client's address now than it was; give the client's own address";
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
