/* SPDX-License-Identifier: MIT */
#include "forward/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cidr.h"
#include "base/log.h"
#include "forward/upstream_private.h"
#include "os/sock.h"
#include "os/timer.h"

_Static_assert(CONFIG_BACKEND_LIMIT <= POOL_MEMBERS_LIMIT, "every backend is a member");

static bool is_named(const struct config_backend *backend)
{
	return *backend->name != '\0';
}

/* Making --------------------------------------------------------------------------------------- */

struct pool_member upstream_make_member(const struct upstream *upstream, unsigned group)
{
	const struct config_backend *backend = upstream_configured(upstream, group);
	const struct upstream_terms *terms = upstream_terms(upstream, group);

	return (struct pool_member){
		.address = backend->addr,
		.weight = terms->weight,
		.maxconn = terms->maxconn,
		.backup = backend->backup,
		.off = backend->down,
		.unchecked = !backend->check,
		.order = terms->order,
		.group = group,
	};
}

static int make_tables(struct upstream *upstream)
{
	const struct config_forward *forward = upstream->config;

	upstream->terms =
		calloc(forward->backend_count + UPSTREAM_ADDED_LIMIT, sizeof(*upstream->terms));
	upstream->last_errors = calloc(POOL_MEMBERS_LIMIT, sizeof(*upstream->last_errors));
	if (!upstream->terms || !upstream->last_errors)
		return -ENOMEM;
	for (unsigned i = 0; i < forward->backend_count; i++)
		upstream->terms[i] =
			(struct upstream_terms){.weight = (unsigned)forward->backends[i].weight,
						.maxconn = (unsigned)forward->backends[i].maxconn};
	return 0;
}

static int make_pool(struct upstream *upstream)
{
	const struct config_forward *forward = upstream->config;
	const struct config_forward_options *options = &forward->options;
	const struct pool_settings settings = {
		/* the number of addresses of a name is not known, nor that of former backends */
		.slots = POOL_MEMBERS_LIMIT,
		.balance = (enum pool_balance)options->balance,
		.max_fails = (unsigned)options->max_fails,
		.fail_timeout_ms = options->fail_timeout_ms,
		.rise = forward->has_checks ? (unsigned)options->rise : 0,
		.fall = forward->has_checks ? (unsigned)options->fall : 0,
		.slow_start_ms = options->slow_start_ms,
	};
	struct pool_member *members = calloc(forward->backend_count, sizeof(*members));
	int result = members ? pool_create(&upstream->pool, &settings) : -ENOMEM;
	unsigned count = 0;

	for (unsigned i = 0; i < forward->backend_count && !result; i++)
		if (!is_named(&forward->backends[i]))
			members[count++] = upstream_make_member(upstream, i);
	if (count) {
		int refused = pool_add_all(upstream->pool, members, count);

		CHECK(!refused); /* a new pool has a slot for each */
	}
	free(members);
	return result;
}

int upstream_create(struct upstream **upstream, const struct config_forward *config,
		    const struct addr *listen, const struct sock_tuning *tuning)
{
	struct upstream *made = calloc(1, sizeof(*made));
	int result;

	if (!made)
		return -ENOMEM;
	made->config = config;
	made->listen = listen;
	made->tuning = tuning;
	result = make_tables(made);
	if (!result)
		result = make_pool(made);
	if (result) {
		upstream_destroy(made);
		return result;
	}
	*upstream = made;
	return 0;
}

void upstream_set_outage_count(struct upstream *upstream, _Atomic uint32_t *count)
{
	upstream->outage_count = count;
}

void upstream_destroy(struct upstream *upstream)
{
	if (!upstream)
		return;
	if (upstream->pool)
		pool_destroy(upstream->pool);
	free(upstream->arrivals);
	for (unsigned i = 0; i < UPSTREAM_ADDED_LIMIT; i++)
		config_kept_finish(&upstream->added[i].kept);
	free(upstream->terms);
	free(upstream->last_errors);
	free(upstream);
}

/* State ---------------------------------------------------------------------------------------- */

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* The cause of a change of state. */
struct cause {
	const char *word;
	int error;	   /* errno or -errno; 0: see `fault` */
	const char *fault; /* in words; NULL: success */
};

void upstream_count_outage(struct upstream *upstream)
{
	if (upstream->outage_count && upstream->config->options.on_down == CONFIG_ON_DOWN_RESET)
		atomic_fetch_add_explicit(upstream->outage_count, 1, memory_order_release);
}

/* Remembers the words of a failure; `words` are static. */
static void note_error(struct upstream *upstream, unsigned member, const char *words)
{
	struct upstream_error *error = &upstream->last_errors[member];

	atomic_store_explicit(&error->words, words, memory_order_relaxed);
	atomic_store_explicit(&error->generation, pool_generation(upstream->pool, member),
			      memory_order_relaxed);
}

const char *upstream_last_error(const struct upstream *upstream, unsigned member)
{
	const struct upstream_error *error = &upstream->last_errors[member];

	return atomic_load_explicit(&error->generation, memory_order_relaxed) ==
			       pool_generation(upstream->pool, member)
		       ? atomic_load_explicit(&error->words, memory_order_relaxed)
		       : NULL;
}

/* Logs and counts a change. The pool reports each change to one thread only. */
static void tell_change(struct upstream *upstream, const struct addr *backend,
			enum pool_change change, const struct cause *cause)
{
	bool down = change == POOL_WENT_DOWN;
	struct log_line line;

	if (change == POOL_UNCHANGED)
		return;
	count(down ? &upstream->counts.downs : &upstream->counts.ups);
	if (down)
		upstream_count_outage(upstream);
	if (!log_begin(&line, down ? LOG_EVENT_backend_down : LOG_EVENT_backend_up))
		return;
	log_forward(&line, upstream->config->name, upstream->listen);
	log_addr(&line, "backend", backend);
	log_text(&line, "cause", cause->word);
	if (cause->error)
		log_error(&line, "error", cause->error);
	else if (cause->fault)
		log_text(&line, "error", cause->fault);
	log_number(&line, "up", pool_up_count(upstream->pool));
	log_end(&line);
}

enum upstream_fault upstream_fault_of(int error)
{
	switch (abs(error)) {
	case EADDRNOTAVAIL: /* no source address, or no free port of it */
		return UPSTREAM_FAULT_HERE;
	case EAGAIN: /* a local socket's backlog is full; TCP does not say this */
	case ECONNRESET:
	case EPIPE: /* the backend did accept, and may have had a reason in this connection */
		return UPSTREAM_FAULT_PASSING;
	default:
		return sock_classify(error) == SOCK_DESCRIPTORS ? UPSTREAM_FAULT_HERE
								: UPSTREAM_FAULT_BACKEND;
	}
}

const struct pool *upstream_pool(const struct upstream *upstream)
{
	return upstream->pool;
}

void upstream_checked(struct upstream *upstream, const struct upstream_verdict *verdict,
		      uint64_t now_ms)
{
	const struct cause cause = {.word = "check", .fault = verdict->fault};

	count(&upstream->counts.checks);
	if (verdict->fault) {
		count(&upstream->counts.checks_failed);
		note_error(upstream, verdict->member, verdict->fault);
	}
	tell_change(upstream, verdict->address,
		    pool_check_result(upstream->pool, verdict->member, verdict->generation,
				      !verdict->fault, now_ms),
		    &cause);
}

static unsigned count_in_use(const struct pool *pool, uint64_t now_ms)
{
	struct pool_snapshot now;
	unsigned count = 0;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, now_ms, &now);
		count += now.weight && now.state != POOL_EMPTY && now.state != POOL_DRAINING &&
			 now.state != POOL_OFF;
	}
	return count;
}

/* As config_check() does for addresses: a failure never takes the only backend away. */
void upstream_follow_count(struct upstream *upstream)
{
	if (upstream->config->auto_max_fails && upstream->config->options.fail_timeout_ms)
		pool_set_max_fails(upstream->pool,
				   count_in_use(upstream->pool, timer_now_ms()) > 1);
}

/* The addresses of a group that no member of the pool has. */
static unsigned count_missing(const struct pool *pool, const struct pool_group *group,
			      uint64_t now_ms)
{
	unsigned count = group->count;
	struct pool_snapshot now;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, now_ms, &now);
		count -= now.group == group->terms.group && now.state != POOL_EMPTY &&
			 now.state != POOL_DRAINING;
	}
	return count;
}

int upstream_set_addresses(struct upstream *upstream, unsigned backend,
			   const struct addr_set *addresses, unsigned *left_out)
{
	const struct config_forward *configured = upstream->config;
	struct pool *pool = upstream->pool;
	const struct pool_group group = {
		.terms = upstream_make_member(upstream, backend),
		.addresses = addresses->list,
		.count = addresses->count,
	};
	uint64_t now_ms = timer_now_ms();
	int result = pool_replace(pool, &group);

	CHECK(is_named(&configured->backends[backend]));
	*left_out = result ? count_missing(pool, &group, now_ms) : 0;
	upstream_follow_count(upstream);
	return result;
}

/* The number of members that are up, down or off, as `metric` says. */
static uint64_t count_backends(const struct upstream *upstream, enum metric metric)
{
	uint64_t now_ms = timer_now_ms();
	struct pool_snapshot now;
	uint64_t sum = 0;

	for (unsigned i = 0; i < pool_slot_count(upstream->pool); i++) {
		pool_snapshot(upstream->pool, i, now_ms, &now);
		if (now.state == POOL_EMPTY || now.state == POOL_DRAINING)
			continue;
		if (now.state == POOL_OFF)
			sum += metric == METRIC_backends_off;
		else if (now.answers)
			sum += metric == METRIC_backends_up;
		else
			sum += metric == METRIC_backends_down;
	}
	return sum;
}

uint64_t upstream_metric(const struct upstream *upstream, enum metric metric)
{
	const struct upstream_counts *counts = &upstream->counts;

	switch (metric) {
	case METRIC_backend_downs:
		return atomic_load_explicit(&counts->downs, memory_order_relaxed);
	case METRIC_backend_ups:
		return atomic_load_explicit(&counts->ups, memory_order_relaxed);
	case METRIC_checks:
		return atomic_load_explicit(&counts->checks, memory_order_relaxed);
	case METRIC_checks_failed:
		return atomic_load_explicit(&counts->checks_failed, memory_order_relaxed);
	case METRIC_backends_up:
	case METRIC_backends_down:
	case METRIC_backends_off:
		return count_backends(upstream, metric);
	default:
		return 0;
	}
}

/* Claims --------------------------------------------------------------------------------------- */

int upstream_choose(struct upstream *upstream, struct upstream_claim *claim,
		    const struct upstream_ask *ask)
{
	const struct config_forward_options *options = &upstream->config->options;
	struct pool_ask asked = {.tried = ask->tried, .now_ms = ask->now_ms};
	struct pool_claim member = {0};
	int chosen;

	CHECK(claim->stage == UPSTREAM_NOWHERE || claim->stage == UPSTREAM_FAILED);
	if (claim->stage == UPSTREAM_FAILED)
		pool_mark_tried(ask->tried, claim->member.member);
	if (claim->choices > options->retries)
		return POOL_ALL_TRIED;
	if (options->balance == POOL_SOURCE) {
		struct in6_addr address = cidr_address_of(ask->client);

		asked.client_key = pool_client_key(&address);
	}
	chosen = pool_choose(upstream->pool, &asked, &member);
	if (chosen < 0)
		return chosen;
	upstream_leave(upstream, claim);
	claim->member = member;
	claim->stage = UPSTREAM_CHOSEN;
	claim->choices++;
	return 0;
}

/* Returns whether a connect with data in its SYN was begun, or -errno. */
static int connect_early(int fd, const struct sockaddr *address, socklen_t length_bytes,
			 struct upstream_call *call)
{
	ssize_t taken;

	if (!call->early_bytes)
		return false;
	taken = sock_connect_with(fd, address, length_bytes, call->early, call->early_bytes);
	/* if no port is left, an ordinary connect reports this too, in its answer */
	if (taken < 0)
		return taken == -EOPNOTSUPP || taken == -EADDRNOTAVAIL ? false : (int)taken;
	call->taken_bytes = (uint32_t)taken;
	return true;
}

int upstream_connect(const struct upstream *upstream, const struct upstream_claim *claim,
		     struct engine *engine, struct upstream_call *call)
{
	const struct addr *backend = upstream_address(upstream, claim);
	int fd = sock_open_backend(backend, upstream->tuning, &call->congestion_error);
	const struct sockaddr *address;
	socklen_t length_bytes;
	int begun;

	CHECK(claim->stage == UPSTREAM_CHOSEN);
	call->taken_bytes = 0;
	call->source_error = 0;
	if (fd < 0)
		return fd;
	if (call->source->length_bytes)
		call->source_error = sock_bind_source(fd, call->source);
	if (call->source_error) {
		close(fd);
		return -EADDRNOTAVAIL;
	}
	address = addr_sockaddr(backend, &length_bytes);
	/* connect(2) to a local socket does not wait; in io_uring a thread waits for the backlog */
	if (addr_is_local(backend))
		begun = connect(fd, address, length_bytes) ? -errno : true;
	else
		begun = connect_early(fd, address, length_bytes, call);
	if (begun < 0) {
		close(fd);
		return begun;
	}
	if (call->taken_bytes && call->taken_bytes < call->header_bytes) {
		/* half a header: its rest might not be known any more when the answer comes */
		close(fd);
		call->early_bytes = 0;
		return upstream_connect(upstream, claim, engine, call);
	}
	if (begun)
		engine_await_connect(engine, fd, call->token);
	else
		engine_connect(engine, fd, address, length_bytes, call->token);
	return fd;
}

void upstream_answered(struct upstream *upstream, struct upstream_claim *claim, int error,
		       uint64_t now_ms)
{
	const struct cause cause = {.word = "connect", .error = error};
	enum pool_change change = POOL_UNCHANGED;

	CHECK(claim->stage == UPSTREAM_CHOSEN);
	if (!error)
		change = pool_succeeded(upstream->pool, &claim->member, now_ms);
	else if (upstream_fault_of(error) == UPSTREAM_FAULT_BACKEND)
		change = pool_failed(upstream->pool, &claim->member, now_ms);
	if (error)
		note_error(upstream, claim->member.member, strerrordesc_np(abs(error)));
	tell_change(upstream, pool_address(upstream->pool, &claim->member), change, &cause);
	claim->stage = error ? UPSTREAM_FAILED : UPSTREAM_CONNECTED;
}

void upstream_lost(struct upstream_claim *claim)
{
	CHECK(claim->stage == UPSTREAM_CONNECTED);
	claim->stage = UPSTREAM_FAILED;
}

void upstream_leave(struct upstream *upstream, struct upstream_claim *claim)
{
	pool_end(upstream->pool, &claim->member);
	claim->stage = UPSTREAM_NOWHERE;
}

const struct addr *upstream_address(const struct upstream *upstream,
				    const struct upstream_claim *claim)
{
	return claim->member.held ? pool_address(upstream->pool, &claim->member) : NULL;
}

const struct config_backend *upstream_backend(const struct upstream *upstream,
					      const struct upstream_claim *claim)
{
	return claim->member.held
		       ? upstream_configured(upstream, pool_group(upstream->pool, &claim->member))
		       : NULL;
}

unsigned upstream_group(const struct upstream *upstream, const struct upstream_claim *claim)
{
	return pool_group(upstream->pool, &claim->member);
}

bool upstream_is_out(const struct upstream *upstream, const struct upstream_claim *claim)
{
	return claim->stage == UPSTREAM_CONNECTED && pool_is_out(upstream->pool, &claim->member);
}
