#include "relay/session_parts.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "identity/proxy_protocol.h"
#include "os/sock.h"

_Static_assert(PROXY_HEADER_LIMIT <= PUMP_PREFACE_BYTES, "the pump takes any header");

/* Where in the pump's scratch a header that came is looked at; one that goes stands at the front. */
#define SEEN_OFFSET (PUMP_SCRATCH_BYTES / 2)

/*
 * What is taken of the client's bytes for a SYN, at most: all that a packet holds on the way to most backends, the
 * kernel leaving out what is too much for the one at hand.
 */
#define EARLY_BYTES 1460

/* A header larger than that does not go with a SYN: what is left of 576 bytes, RFC 791, by IP and TCP headers. */
#define EARLY_HEADER_BYTES 496

/*
 * The header that the client sent, out of its socket. False: it has gone with a failure of the
 * socket, of which the lane is told.
 */
static bool take_header(struct sessions *sessions, struct session *session,
			struct proxy_header *header)
{
	char *seen = sessions->pump.scratch + SEEN_OFFSET;
	int fd = session->fd[SESSION_CLIENT];
	ssize_t size = pump_peek(fd, seen, PROXY_HEADER_LIMIT);

	if (size > 0 && proxy_parse(seen, (size_t)size, header) == PROXY_COMPLETE &&
	    pump_discard(&sessions->pump, fd, header->header_bytes))
		return true;
	lane_on_read_failed(&session->lane[SESSION_CLIENT], size < 0 ? (int)-size : ECONNRESET);
	return false;
}

/* What came and what is added are too much together: ours goes without theirs. */
static void log_dropped_values(const struct session *session)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_proxy_values_dropped))
		return;
	log_addr(&line, "client", &session->client);
	log_addr(&line, "listen", &session->tenancy.forward->listen);
	log_number(&line, "limit_bytes", PROXY_HEADER_LIMIT);
	log_end(&line);
}

/* What a backend is told. `header` is what the client sent; zeroed where it sends none. */
static uint32_t build_header(struct sessions *sessions, struct session *session,
			     const struct config_backend *backend, struct proxy_header *header)
{
	const struct config_forward_options *options = session_options(session);
	char id[SESSION_ID_TEXT_BYTES];
	struct proxy_tlv theirs;
	struct proxy_build build = {
		.version = backend->send_proxy == CONFIG_SEND_PROXY_V1 ? 1 : 2,
		.kind = header->kind,
		.source = &header->source,
		.destination = &header->destination,
		.customs = options->proxy_tlvs,
		.custom_count = options->proxy_tlv_count,
		.received = header->tlvs,
		.checksum = true,
	};
	int length;

	if (!options->accept_proxy) {
		build.kind = PROXY_KIND_PROXY;
		header->source = session->client;
		/* a client that is gone leaves no address behind, a local one has none: UNKNOWN then */
		sock_get_local(session->fd[SESSION_CLIENT], &header->destination);
	}
	/* whoever was first to name the connection is believed */
	session->named = build.kind != PROXY_KIND_LOCAL &&
			 !proxy_tlv_find(&header->tlvs, PROXY_TLV_UNIQUE_ID, &theirs);
	build.unique_id = session->named ? session_print_id(sessions, session, id) : NULL;
	length = proxy_build(&build, sessions->pump.scratch, PROXY_HEADER_LIMIT);
	if (length < 0) {
		log_dropped_values(session);
		memset(&build.received, 0, sizeof(build.received));
		build.unique_id = session_print_id(sessions, session, id);
		session->named = true;
		length = proxy_build(&build, sessions->pump.scratch, PROXY_HEADER_LIMIT);
	}
	CHECK(length > 0);
	return (uint32_t)length;
}

/* Whether the client's bytes are counted out to it, so that none may go ahead. */
static bool is_paced(const struct sessions *sessions, const struct session *session)
{
	return sessions->paces &&
	       admission_bandwidth(session->tenancy.forward->admission, SESSION_CLIENT);
}

void session_gather_early(struct sessions *sessions, struct session *session,
			  struct upstream_call *call)
{
	const struct config_backend *backend = tenancy_backend(&session->tenancy);
	char *seen = sessions->pump.scratch + SEEN_OFFSET;
	struct proxy_header header = {0};
	ssize_t size;

	if (!backend->fastopen || addr_is_local(&backend->addr))
		return;
	size = pump_peek(session->fd[SESSION_CLIENT], seen, PROXY_HEADER_LIMIT + EARLY_BYTES);
	size = MAX(size, 0);
	/* gone since it was read: the relay will see that */
	if (session_options(session)->accept_proxy &&
	    proxy_parse(seen, (size_t)size, &header) != PROXY_COMPLETE)
		return;
	if (backend->send_proxy != CONFIG_SEND_PROXY_OFF)
		call->header_bytes = build_header(sessions, session, backend, &header);
	if (call->header_bytes > EARLY_HEADER_BYTES)
		return;
	size = is_paced(sessions, session) ? 0 : size - (ssize_t)header.header_bytes;
	size = MIN(size, EARLY_BYTES);
	memcpy(sessions->pump.scratch + call->header_bytes, seen + header.header_bytes,
	       (size_t)size);
	call->early = sessions->pump.scratch;
	call->early_bytes = call->header_bytes + (uint32_t)size;
}

void session_pass_header(struct sessions *sessions, struct session *session,
			 const struct config_backend *backend, struct session_early early)
{
	const struct pump_flow flow = session_flow(session, SESSION_CLIENT);
	struct proxy_header header = {0};

	if (session_options(session)->accept_proxy && !take_header(sessions, session, &header))
		return;
	if (early.client_bytes)
		pump_pass_early(&sessions->pump, &flow, early.client_bytes);
	if (backend->send_proxy == CONFIG_SEND_PROXY_OFF || early.header_bytes)
		return;
	pump_begin(&sessions->pump, &flow, build_header(sessions, session, backend, &header));
}
