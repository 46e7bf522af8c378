/* SPDX-License-Identifier: MIT */
#include "relay/session_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "os/route.h"
#include "os/sock.h"

/*
 * In a crowd (load.h), a new session's sockets may hold this many unsent bytes. With fewer, fast
 * sessions become slower; with more, stalled sessions take the host's TCP memory:
 * tests/integration/test_stalled.
 */
#define CROWD_UNSENT_BYTES 131072

/* A session of this age gets keepalive towards the backend. Scenario: crc-64 (bench/). */
#define KEEPALIVE_DELAY_MS 1000

/* Learns the source address with its port. A socket that was reset meanwhile has no address. */
static void learn_source(struct session *session)
{
	struct addr source;

	sock_get_local(session->fd[SESSION_BACKEND], &source);
	if (source.length_bytes)
		session->tenancy.source = source;
}

/* A read of a local socket stops at each message that carries descriptors: unix(7). */
static void tell_lanes_of_local(struct session *session)
{
	const struct addr *listen = &session->tenancy.forward->listen;

	session->lane[SESSION_CLIENT].restless = addr_is_local(listen);
	session->lane[SESSION_BACKEND].restless =
		addr_is_local(tenancy_backend_address(&session->tenancy));
}

/* Whether the first run of the client's lane may pass more than one message to the backend. */
static bool begins_with_several(const struct session *session, const struct config_backend *backend,
				struct session_early early)
{
	return backend->send_proxy != CONFIG_SEND_PROXY_OFF || early.client_bytes ||
	       session->lane[SESSION_CLIENT].paced;
}

static void begin_relay(struct sessions *sessions, struct session *session)
{
	const struct config_backend *backend = tenancy_backend(&session->tenancy);
	struct session_early early = session->early;

	session->state = SESSION_RELAYING;
	/* by now the client has often sent its request; the backend has hardly sent bytes */
	lane_init(&session->lane[SESSION_CLIENT], true);
	lane_init(&session->lane[SESSION_BACKEND], false);
	tell_lanes_of_local(session);
	for (unsigned i = 0; i < 2 && load_is_crowded(sessions->load); i++) {
		sock_limit_unsent(session->fd[!i], CROWD_UNSENT_BYTES);
		session->lane[i].unsent_limit_bytes = CROWD_UNSENT_BYTES;
	}
	if (sessions->config->access_log || sessions->history)
		learn_source(session);
	session_pace_begin(sessions, session);
	if (begins_with_several(session, backend, early))
		session_send_at_once(session);
	session_pass_header(sessions, session, backend, early);
	session_begin_limits(sessions, session, KEEPALIVE_DELAY_MS);
}

/* The remedy for a failed connect; NULL: strerror(3) says enough. */
static const char *find_remedy(const struct addr *backend, int error)
{
	switch (abs(error)) {
	case EADDRNOTAVAIL:
		if (backend->any.sa_family == AF_INET6)
			return "no local port is left for this backend (--source-port-range, "
			       "net.ipv4.ip_local_port_range), or IPv6 is off on this host "
			       "(net.ipv6.conf.*.disable_ipv6)";
		return "no local port is left for this backend: --source-port-range, "
		       "net.ipv4.ip_local_port_range";
	case EAFNOSUPPORT:
		return "this host has no IPv6 (ipv6.disable=1), or AF_INET6 sockets are forbidden "
		       "here";
	case EDEADLK: /* set by begin_connect() */
		return "a listener of this process accepts connections to this address; "
		       "give the service's address as the backend";
	case ETIMEDOUT:
		return "the backend is off, a firewall drops the packets, or the backend is "
		       "slower than --timeout-connect";
	case EAGAIN: /* only for local sockets */
		return "the backlog of the backend is full; raise it in the backend";
	case EACCES:
		if (addr_is_local(backend))
			return "sixpipe's user may not write to this socket or enter its directory; "
			       "give that user the permission (chmod, or a group)";
		/* fall through */
	case EINVAL:
	case ENETUNREACH:
		return "a route of this host forbids the connection, or there is no route; 'ip "
		       "route get ADDRESS' shows it";
	case EPERM:
		return "a firewall, or an eBPF program of this process's control group, forbids "
		       "the connection";
	default:
		return NULL;
	}
}

static void tell_failure(struct sessions *sessions, const struct session *session, int error)
{
	const struct addr *backend = tenancy_backend_address(&session->tenancy);
	const char *remedy = find_remedy(backend, error);
	struct log_line line;

	metrics_add(sessions->metrics, METRIC_connects_failed, 1);
	if (log_begin(&line,
		      error == -EDEADLK ? LOG_EVENT_backend_loops : LOG_EVENT_backend_failed)) {
		log_addr(&line, "client", &session->client);
		forward_log(session->tenancy.forward, &line);
		log_addr(&line, "backend", backend);
		if (error != -EDEADLK)
			log_error(&line, "error", error);
		if (remedy)
			log_text(&line, "remedy", remedy);
		log_end(&line);
	}
}

/*
 * Counts the connect, and logs the first one of each worker. One line per worker is enough: the
 * kernel refuses the name to every socket of this process.
 */
static void tell_congestion_refused(struct sessions *sessions, const struct session *session,
				    int error)
{
	const struct forward *forward = session->tenancy.forward;
	const struct addr *backend = tenancy_backend_address(&session->tenancy);
	bool first = !metrics_get(sessions->metrics, METRIC_congestion_refused);
	struct log_line line;

	metrics_add(sessions->metrics, METRIC_congestion_refused, 1);
	if (!first || !log_begin(&line, LOG_EVENT_congestion_refused))
		return;
	forward_log(forward, &line);
	log_addr(&line, "backend", backend);
	log_text(&line, "wanted", sock_wanted_congestion(backend, &forward->tuning));
	log_error(&line, "error", error);
	log_text(&line, "remedy", SOCK_CONGESTION_REMEDY);
	log_end(&line);
}

/* Logs and counts a failed connect, and reports it to the upstream. */
static void fail_backend(struct sessions *sessions, struct session *session, int error)
{
	tell_failure(sessions, session, error);
	/* from an embedded source address, only a refusal is surely the backend's fault */
	if (session->tenancy.embedded && error != -ECONNREFUSED)
		error = -EADDRNOTAVAIL;
	upstream_answered(session->tenancy.forward->upstream, &session->tenancy.claim, error,
			  sessions->now_ms);
}

/* Sets the source address. False: no address is left, and the session was closed. */
static bool choose_source(struct sessions *sessions, struct session *session, bool embedded)
{
	struct log_line line;

	if (!tenancy_choose_source(&session->tenancy, &session->client, embedded, sessions->now_ms))
		return true;
	if (log_begin(&line, LOG_EVENT_source_exhausted)) {
		log_addr(&line, "client", &session->client);
		forward_log(session->tenancy.forward, &line);
		log_text(&line, "remedy", "give --source a larger block, or raise --pseudo-leases");
		log_end(&line);
	}
	session_close(sessions, session, CLOSE_no_source);
	return false;
}

/*
 * The source address cannot be bound, or no longer belongs to this host. This is not the backend's
 * fault, and another backend would not help.
 */
static void fail_source(struct sessions *sessions, struct session *session, int error)
{
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_source_failed)) {
		log_addr(&line, "client", &session->client);
		forward_log(session->tenancy.forward, &line);
		log_addr(&line, "source", &session->tenancy.source);
		log_error(&line, "error", error);
		log_text(&line, "remedy",
			 "route the address to this host: 'ip route get ADDRESS' must say local");
		log_end(&line);
	}
	upstream_answered(session->tenancy.forward->upstream, &session->tenancy.claim,
			  -EADDRNOTAVAIL, sessions->now_ms);
	session_close(sessions, session, CLOSE_no_source);
}

static bool has_lost_source(const struct session *session, int error)
{
	return session->tenancy.source.length_bytes &&
	       route_lacks_source(&session->tenancy.source, error);
}

static void refuse(struct sessions *sessions, struct session *session, enum log_event event,
		   enum close_reason reason)
{
	struct log_line line;

	if (log_begin(&line, event)) {
		log_addr(&line, "client", &session->client);
		forward_log(session->tenancy.forward, &line);
		log_end(&line);
	}
	session_close(sessions, session, reason);
}

/*
 * Chooses the session's next backend. False: there is none, and the session was closed. If all
 * backends were tried, the reason is `exhausted`.
 */
static bool choose_backend(struct sessions *sessions, struct session *session,
			   enum close_reason exhausted)
{
	bool again = session->tenancy.claim.stage == UPSTREAM_FAILED;
	/*
	 * After a backend accepted the connection, a session ends with that backend's error, even
	 * if other backends are down.
	 */
	bool was_accepted = again && exhausted == CLOSE_backend_reset;
	int refusal = tenancy_choose_backend(&session->tenancy, &session->tried, &session->client,
					     sessions->now_ms);

	if (!refusal) {
		if (again)
			metrics_add(sessions->metrics, METRIC_redispatches, 1);
		return true;
	}
	if (was_accepted || refusal == POOL_ALL_TRIED)
		session_close(sessions, session, exhausted);
	else if (refusal == POOL_ALL_DOWN)
		refuse(sessions, session, LOG_EVENT_no_backend, CLOSE_no_backend);
	else
		refuse(sessions, session, LOG_EVENT_backends_full, CLOSE_backends_full);
	return false;
}

/* Whether the source address can reach the backend: a loopback address stays on this host. */
static bool suits_backend(const struct session *session)
{
	return !addr_is_loopback(&session->tenancy.source) ||
	       addr_is_loopback(tenancy_backend_address(&session->tenancy));
}

/* Calls upstream_connect(); uses the reserve if there is no other descriptor. */
static int connect_upstream(struct sessions *sessions, struct session *session,
			    struct upstream_call *call)
{
	const struct tenancy *tenancy = &session->tenancy;
	const struct upstream *upstream = tenancy->forward->upstream;
	int fd = upstream_connect(upstream, &tenancy->claim, sessions->engine, call);

	if ((fd != -EMFILE && fd != -ENFILE) || !reserve_use(&sessions->reserve))
		return fd;
	sessions->starved = true;
	return upstream_connect(upstream, &tenancy->claim, sessions->engine, call);
}

/*
 * Begins to connect to the chosen backend. Returns 0, or -errno and nothing was begun.
 * -EADDRNOTAVAIL: the source address cannot be used, and `source_error` is the reason. -EDEADLK:
 * the connection would come back to this forward.
 */
static int begin_connect(struct sessions *sessions, struct session *session, int *source_error)
{
	const struct forward *forward = session->tenancy.forward;
	struct upstream_call call = {
		.source = &session->tenancy.source,
		.token = session_connect_token(session),
	};
	int fd;

	*source_error = 0;
	if (loops_would_close(forward->loops, forward->index,
			      tenancy_backend_address(&session->tenancy), sessions->now_ms))
		return -EDEADLK;
	if (session->moved_on)
		tenancy_restore_source(&session->tenancy);
	if (session->tenancy.embedded && !suits_backend(session)) {
		*source_error = -EADDRNOTAVAIL;
		return -EADDRNOTAVAIL;
	}
	session_gather_early(sessions, session, &call);
	fd = connect_upstream(sessions, session, &call);
	if (call.congestion_error)
		tell_congestion_refused(sessions, session, call.congestion_error);
	*source_error = call.source_error;
	if (fd < 0)
		return fd;
	metrics_add(sessions->metrics, METRIC_connects, 1);
	session->early = (struct session_early){0};
	if (call.taken_bytes) {
		metrics_add(sessions->metrics, METRIC_connects_fastopen, 1);
		session->early.header_bytes = (uint16_t)call.header_bytes;
		session->early.client_bytes = (uint16_t)(call.taken_bytes - call.header_bytes);
	}
	session->fd[SESSION_BACKEND] = fd;
	session->connecting = true;
	session->active_ms = sessions->now_ms;
	session->connect_expired = false;
	session->in_flight++;
	session_arm_timer(sessions, session, session_options(session)->timeout_connect_ms);
	return 0;
}

/*
 * Begins to connect to one backend after another, until a connect has begun or the session closes.
 */
static void connect_next(struct sessions *sessions, struct session *session,
			 enum close_reason exhausted)
{
	while (choose_backend(sessions, session, exhausted)) {
		int source_error;
		int error = begin_connect(sessions, session, &source_error);

		if (source_error && session->tenancy.embedded) {
			/* the client's address is not routed to this host */
			if (!choose_source(sessions, session, false))
				return;
			error = begin_connect(sessions, session, &source_error);
		}
		if (!error)
			return;
		if (!source_error && has_lost_source(session, error))
			source_error = error;
		if (source_error) {
			fail_source(sessions, session, source_error);
			return;
		}
		fail_backend(sessions, session, error);
		if (sock_classify(error) == SOCK_DESCRIPTORS) {
			sessions->starved = true;
			session_close(sessions, session, CLOSE_no_descriptors);
			return;
		}
		exhausted = error == -EDEADLK ? CLOSE_loop : CLOSE_connect_failed;
	}
}

/*
 * Whether the session must stay with a backend that accepted and then reset the connection: the
 * backend has received or sent bytes, and these must not be lost or sent to another backend.
 */
static bool has_passed_bytes(const struct session *session)
{
	return session->early.header_bytes || session->early.client_bytes ||
	       sock_unread_bytes(session->fd[SESSION_BACKEND]) > 0;
}

bool session_finish_connect(struct sessions *sessions, struct session *session)
{
	int result = session->answer;

	timer_cancel(sessions->wheel, &session->timer);
	if (result > 0)
		result = -sock_take_error(session->fd[SESSION_BACKEND]);
	if (!result && sock_met_itself(session->fd[SESSION_BACKEND],
				       tenancy_backend_address(&session->tenancy),
				       &session->tenancy.forward->tuning))
		result = -ECONNREFUSED;
	if (!result || (sock_classify(result) == SOCK_RESET && has_passed_bytes(session))) {
		upstream_answered(session->tenancy.forward->upstream, &session->tenancy.claim, 0,
				  sessions->now_ms);
		begin_relay(sessions, session);
		if (result)
			lane_on_read_failed(&session->lane[SESSION_BACKEND], -result);
		return true;
	}
	if (result == -ECANCELED && !session->connect_expired) {
		session_resume_connect(sessions, session);
		return false;
	}
	if (result == -ECANCELED)
		result = -ETIMEDOUT;
	if (has_lost_source(session, result)) {
		fail_source(sessions, session, result);
		return false;
	}
	fail_backend(sessions, session, result);
	session_close_backend(sessions, session);
	connect_next(sessions, session,
		     sock_classify(result) == SOCK_RESET ? CLOSE_backend_reset
							 : CLOSE_connect_failed);
	return false;
}

/* Whether the backend may have received a PROXY header. */
static bool may_send_header(const struct session *session)
{
	const struct forward *forward = session->tenancy.forward;

	return forward->config->options.accept_proxy || upstream_sends_header(forward->upstream);
}

/*
 * Whether a backend's reset counts as a failed connect: it came within --timeout-connect, and no
 * byte was passed in either direction. A backend that closes its listener before accept(2) causes
 * such resets.
 */
static bool may_move_on(const struct sessions *sessions, const struct session *session)
{
	const struct lane *up = &session->lane[SESSION_CLIENT];
	const struct lane *down = &session->lane[SESSION_BACKEND];
	uint64_t limit_ms = session_options(session)->timeout_connect_ms;

	return !session->moved_on && sock_classify(down->read_error) == SOCK_RESET &&
	       up->state == LANE_OPEN && !up->read_error && lane_is_untouched(up) &&
	       down->state == LANE_FLUSHED && lane_is_untouched(down) &&
	       (!limit_ms || sessions->now_ms - session->opened_ms < limit_ms) &&
	       !session->guarding && session->waits[SESSION_BACKEND] == SESSION_WAIT_NONE &&
	       session->waits[SESSION_CLIENT] != SESSION_WAIT_WRITABLE && !may_send_header(session);
}

bool session_move_on(struct sessions *sessions, struct session *session)
{
	if (!may_move_on(sessions, session))
		return false;
	CHECK(!session->pipe[SESSION_CLIENT] && !session->pipe[SESSION_BACKEND]);
	tell_failure(sessions, session, session->lane[SESSION_BACKEND].read_error);
	timer_cancel(sessions->wheel, &session->timer);
	session_pace_end(sessions, session);
	/* a wait for the client's bytes stays in flight; the next lane takes its answer */
	if (session->waits[SESSION_CLIENT] == SESSION_WAIT_ALLOWANCE)
		session->waits[SESSION_CLIENT] = SESSION_WAIT_NONE;
	session_close_backend(sessions, session);
	memset(session->lane, 0, sizeof(session->lane));
	session->kept_alive = false;
	session->sends_at_once = false;
	session->moved_on = true;
	session->state = SESSION_CONNECTING;
	upstream_lost(&session->tenancy.claim);
	connect_next(sessions, session, CLOSE_backend_reset);
	return true;
}

void session_connect(struct sessions *sessions, struct session *session)
{
	session->state = SESSION_CONNECTING;
	if (!session_admit(sessions, session))
		return;
	if (choose_source(sessions, session, true))
		connect_next(sessions, session, CLOSE_connect_failed);
}

void session_blame_silence(struct sessions *sessions, struct session *session)
{
	uint64_t waited_ms = sessions->now_ms - session->active_ms;

	if (waited_ms >= session_options(session)->timeout_session_ms / 2 &&
	    !session_awaits_event(session))
		fail_backend(sessions, session, -ETIMEDOUT);
}

void session_expire_connect(struct sessions *sessions, struct session *session)
{
	if (session_awaits_event(session)) {
		session_arm_timer(sessions, session, session_options(session)->timeout_connect_ms);
		return;
	}
	session->connect_expired = true;
	engine_cancel(sessions->engine, session->fd[SESSION_BACKEND],
		      session_connect_token(session));
}
