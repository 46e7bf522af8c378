/*
 * Theory of operation. A PROXY header stays in the client's socket until a backend is connected.
 * This file only peeks at the header, until it is complete, and notes the client's address. So the
 * session needs no memory for the header. When the backend is connected, session_proxy_out.c reads
 * the header again, takes it out of the socket, and passes its values on to the backend.
 */
#include "relay/session_private.h"

#include <errno.h>

#include "base/check.h"
#include "base/log.h"
#include "identity/proxy_protocol.h"
#include "os/sock.h"

/*
 * The pause before a header is read again, if the socket announced more bytes than a read gave.
 * Also the extra time for a header that arrived in time, but whose event is still to be read.
 */
#define LOOK_AGAIN_MS 10

static void refuse(struct sessions *sessions, struct session *session, enum close_reason reason,
		   const char *fault)
{
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_proxy_refused)) {
		log_addr(&line, "client", &session->client);
		log_addr(&line, "listen", &session->tenancy.forward->listen);
		log_text(&line, "reason", close_reason_rule(reason)->word);
		log_text(&line, "fault", fault);
		log_end(&line);
	}
	session_close(sessions, session, reason);
}

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
		refuse(sessions, session, CLOSE_proxy_malformed,
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
		refuse(sessions, session, CLOSE_proxy_malformed, header.fault);
		return;
	default:
		break;
	}
	if (ended && (fd_error = sock_take_error(fd))) {
		session_close(sessions, session, close_reason_of_error(SESSION_CLIENT, fd_error));
		return;
	}
	if (ended) {
		refuse(sessions, session, CLOSE_proxy_malformed,
		       "the client ended its stream within the PROXY header");
		return;
	}
	wait_for_rest(sessions, session, size, header.need_bytes);
}

void session_await_header(struct sessions *sessions, struct session *session)
{
	const struct config_forward_options *options = session_options(session);

	if (!is_trusted(options, &session->client)) {
		refuse(sessions, session, CLOSE_proxy_untrusted,
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
		refuse(sessions, session, CLOSE_proxy_timeout,
		       "no complete PROXY header came within --timeout-proxy");
		return;
	}
	session_arm_timer(sessions, session, limit_ms ? limit_ms - passed_ms : 0);
	if (session->waits[SESSION_CLIENT] == SESSION_WAIT_NONE) {
		session->answer = 0;
		session_make_ready(sessions, session);
	}
}
