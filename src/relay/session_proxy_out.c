#include "relay/session_private.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "identity/proxy_protocol.h"
#include "os/sock.h"

_Static_assert(PROXY_HEADER_LIMIT <= PUMP_PREFACE_BYTES, "a preface can be any header");

/* Where in the pump's scratch the client's header is read. The backend's is built at 0. */
#define SEEN_OFFSET (PUMP_SCRATCH_BYTES / 2)

/*
 * The most bytes of the client that go with a SYN: as many as fit into one packet to most backends.
 * The kernel sends fewer if fewer fit.
 */
#define EARLY_BYTES 1460

/* The largest header that goes with a SYN: 576 bytes, RFC 791, less the IP and TCP headers. */
#define EARLY_HEADER_BYTES 496

/*
 * Takes the client's header out of its socket. False: the socket has failed and the header is lost;
 * the failure was reported to the lane.
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

/* Logs that the client's values are left out, because with ours they do not fit. */
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

/* Builds the backend's header in the scratch. `header`: the client's, or zeroed without one. */
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
		/* a local client, or a client that has left, has no address: UNKNOWN */
		sock_get_local(session->fd[SESSION_CLIENT], &header->destination);
	}
	/* if the client's header has an id of the connection, that id is passed on */
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

/* Whether the client's lane has a bandwidth limit. Then none of its bytes go with the SYN. */
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
	/* the header was complete and is gone: the client has failed; the lane will find out */
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
