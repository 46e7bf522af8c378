/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A client's PROXY header stays in the client's socket until a backend is
 * connected. This file first only peeks at the header, until it is complete, and notes the client's
 * address. So the session needs no memory for the header. When the backend is connected, this file
 * reads the header again, takes it out of the socket, and passes its values on to the backend.
 */
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
 * The pause before a header is read again, if the socket announced more bytes than a read gave.
 * Also the extra time for a header that arrived in time, but whose event is still to be read.
 */
#define LOOK_AGAIN_MS 10

/* The client's header -------------------------------------------------------------------------- */

static bool is_trusted(const struct config_forward_options *options, const struct addr *client)
{
	struct in6_addr address = cidr_address_of(client);

	for (unsigned i = 0; i < options->trust_count; i++)
		if (cidr_contains(&options->trust[i], &address))
			return true;
	return false;
}

/*
 * Waits until `needed` bytes are there, by SO_RCVLOWAT: a client that sends single bytes must not
 * wake the worker for each byte. `size` bytes are there now. If the last wait asked for more, it
 * was answered early: the header contains urgent data, which stops a read, or the kernel is short
 * of memory (tcp_epollin_ready). Another wait would be answered at once. So the header is read
 * again after a pause.
 */
static void wait_for_rest(struct sessions *sessions, struct session *session, ssize_t size,
			  size_t needed)
{
	if (size > 0 && size < session->wanted_bytes) {
		session_arm_timer(sessions, session, LOOK_AGAIN_MS);
		return;
	}
	if (needed > 1) {
		sock_set_low_water(session->fd[SESSION_CLIENT], (uint32_t)needed);
		session->wanted_bytes = (uint16_t)needed;
	}
	session_wait_readable(sessions, session, SESSION_CLIENT);
}

/* Reads the header so far. Then connects, waits for the rest, or closes. `ended`: no rest comes. */
static void read_header(struct sessions *sessions, struct session *session, bool ended)
{
	char *seen = sessions->pump.scratch;
	int fd = session->fd[SESSION_CLIENT];
	ssize_t size = pump_peek(fd, seen, PROXY_HEADER_LIMIT);
	struct proxy_header header;
	enum proxy_result result = PROXY_MORE;
	int fd_error;

	if (size < 0 && size != -EAGAIN) {
		session_close(sessions, session, close_reason_of_error(SESSION_CLIENT, (int)-size));
		return;
	}
	if (size == 0) {
		session_refuse(sessions, session, CLOSE_proxy_malformed,
			       "the client ended its stream without a PROXY header");
		return;
	}
	header.need_bytes = 1;
	if (size > 0)
		result = proxy_parse(seen, (size_t)size, &header);
	switch (result) {
	case PROXY_COMPLETE:
		if (session->wanted_bytes)
			sock_set_low_water(fd, 1);
		timer_cancel(sessions->wheel, &session->timer);
		/* a header without a client (UNKNOWN, LOCAL) leaves the address of the socket */
		if (header.kind == PROXY_KIND_PROXY)
			session->client = header.source;
		session_connect(sessions, session);
		return;
	case PROXY_BAD:
		session_refuse(sessions, session, CLOSE_proxy_malformed, header.fault);
		return;
	default:
		break;
	}
	if (ended && (fd_error = sock_take_error(fd))) {
		session_close(sessions, session, close_reason_of_error(SESSION_CLIENT, fd_error));
		return;
	}
	if (ended) {
		session_refuse(sessions, session, CLOSE_proxy_malformed,
			       "the client ended its stream within the PROXY header");
		return;
	}
	wait_for_rest(sessions, session, size, header.need_bytes);
}

void session_await_header(struct sessions *sessions, struct session *session)
{
	const struct config_forward_options *options = session_options(session);

	if (!is_trusted(options, &session->client)) {
		session_refuse(sessions, session, CLOSE_proxy_untrusted,
			       "the client is in no block of --trust");
		return;
	}
	session_arm_timer(sessions, session, options->timeout_proxy_ms);
	read_header(sessions, session, false);
}

void session_read_header(struct sessions *sessions, struct session *session)
{
	if (session->answer >= 0)
		read_header(sessions, session, session->answer & ENGINE_FOUND_END);
	else if (session->answer == -ECANCELED)
		session_resume_header(sessions, session);
	else
		session_close(sessions, session,
			      close_reason_of_error(SESSION_CLIENT, -session->answer));
}

void session_on_header_timer(struct sessions *sessions, struct session *session)
{
	uint64_t limit_ms = session_options(session)->timeout_proxy_ms;
	uint64_t passed_ms = sessions->now_ms - session->opened_ms;

	if (limit_ms && passed_ms >= limit_ms) {
		if (session_awaits_event(session)) {
			session_arm_timer(sessions, session, LOOK_AGAIN_MS);
			return;
		}
		session_refuse(sessions, session, CLOSE_proxy_timeout,
			       "no complete PROXY header came within --timeout-proxy");
		return;
	}
	session_arm_timer(sessions, session, limit_ms ? limit_ms - passed_ms : 0);
	if (session->waits[SESSION_CLIENT] == SESSION_WAIT_NONE) {
		session->answer = 0;
		session_make_ready(sessions, session);
	}
}

/* The backend's header ------------------------------------------------------------------------- */

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
	forward_log(session->tenancy.forward, &line);
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
