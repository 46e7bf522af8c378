/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A target is a member of a pool; its timer tells when its next check is due.
 * A check is one of few slots with a socket. A target has a slot from the due time to the verdict;
 * the slot's timer is the time limit. A due target without a slot waits in a queue.
 *
 * A forward gets a slot while it has fewer slots than are free. So one forward whose checks hang
 * leaves half of all slots to the others, and a second such forward leaves half of the rest.
 *
 * The members of a name change, and backends are added at run time. So a forward with checks has a
 * target for every slot of its pool. If the slot is empty, or its backend is not checked, the check
 * is over at once.
 */
#include "control/checker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "identity/proxy_protocol.h"
#include "os/route.h"
#include "os/sock.h"
#include "os/timer.h"

/* timer.kind */
#define DUE_TIMER   1
#define LIMIT_TIMER 2

/* A forward with names has many empty slots: its targets are due at so few times per interval. */
#define TIMES_WITH_NAMES 16

/* A PROXY header that announces no client, and then --check-send. */
#define REQUEST_BYTES (PROXY_HEADER_LIMIT + CONFIG_BYTES_LIMIT)

struct target {
	struct timer timer;
	uint64_t due_ms; /* of the next check, or of the running check */
	struct target *next_waiting;
	const struct forward *forward;
	unsigned member; /* of the forward's pool */
};

enum stage { CHECK_IDLE, CHECK_CONNECTING, CHECK_SENDING, CHECK_EXPECTING };

struct check {
	struct timer timer;
	struct target *target;
	enum stage stage;
	int fd; /* -1: idle */
	struct addr address;
	unsigned backend; /* the member's, in the configuration */
	uint32_t generation;
	size_t request_bytes;
	size_t sent_bytes;
	size_t answer_bytes;
	char request[REQUEST_BYTES];
	char answer[CHECKER_ANSWER_BYTES];
};

struct checker {
	struct timer_wheel wheel;
	uint64_t now_ms;
	struct target *waiting_first;
	struct target **waiting_last;
	bool is_shared; /* by several forwards */
	unsigned running_count;
	unsigned running_of[CONFIG_FORWARD_LIMIT];
	struct check checks[CHECKER_PARALLEL_LIMIT];
	unsigned target_count;
	struct target targets[];
};

static const struct config_forward_options *options_of(const struct target *target)
{
	return &target->forward->config->options;
}

/* The fixed source address of connections to the target; NULL: none is fixed. */
static const struct addr *source_of(const struct target *target)
{
	const struct config_source *source = &options_of(target)->source;

	return source->kind == CONFIG_SOURCE_ADDRESS && !source->embedded ? &source->address : NULL;
}

/* Making --------------------------------------------------------------------------------------- */

static unsigned count_targets(const struct forward *forward)
{
	return forward->config->has_checks ? pool_slot_limit(upstream_pool(forward->upstream)) : 0;
}

static unsigned count_checked(const struct config_forward *forward)
{
	unsigned count = 0;

	for (unsigned i = 0; i < forward->backend_count; i++)
		count += forward->backends[i].check;
	return count;
}

/*
 * The checks of a forward are spread over the interval. Without names, member i is backend i at the
 * start; the other slots are for backends that are added at run time.
 */
static void add_targets(struct checker *checker, const struct forward *forward)
{
	const struct config_forward *configured = forward->config;
	unsigned count = count_targets(forward), nth = 0;
	unsigned times = configured->name_count ? TIMES_WITH_NAMES : count_checked(configured);

	for (unsigned i = 0; i < count; i++) {
		struct target *target = &checker->targets[checker->target_count];
		uint64_t delay_ms = configured->options.check_interval_ms * (nth % times) / times;

		nth += configured->name_count || i >= configured->backend_count ||
		       configured->backends[i].check;
		target->forward = forward;
		target->member = i;
		target->due_ms = checker->now_ms + delay_ms;
		target->timer.kind = DUE_TIMER;
		timer_arm(&checker->wheel, &target->timer, delay_ms);
		checker->target_count++;
	}
}

int checker_create(struct checker **checker, const struct forwards *forwards)
{
	struct checker *made;
	size_t count = 0, forward_count = 0;

	*checker = NULL;
	for (unsigned i = 0; i < forwards->count; i++) {
		unsigned targets = count_targets(&forwards->list[i]);

		count += targets;
		forward_count += targets > 0;
	}
	if (!count)
		return 0;
	made = calloc(1, sizeof(*made) + count * sizeof(made->targets[0]));
	if (!made)
		return -ENOMEM;
	made->now_ms = timer_now_ms();
	made->waiting_last = &made->waiting_first;
	made->is_shared = forward_count > 1;
	timer_wheel_init(&made->wheel, made->now_ms);
	for (unsigned i = 0; i < CHECKER_PARALLEL_LIMIT; i++) {
		made->checks[i].fd = -1;
		made->checks[i].timer.kind = LIMIT_TIMER;
	}
	for (unsigned i = 0; i < forwards->count; i++)
		add_targets(made, &forwards->list[i]);
	*checker = made;
	return 0;
}

void checker_destroy(struct checker *checker)
{
	if (!checker)
		return;
	for (unsigned i = 0; i < CHECKER_PARALLEL_LIMIT; i++)
		if (checker->checks[i].fd >= 0)
			close(checker->checks[i].fd);
	free(checker);
}

/* Targets -------------------------------------------------------------------------------------- */

/* Arms the timer for the next check. Due times that have passed are left out. */
static void await_next(struct checker *checker, struct target *target)
{
	uint64_t interval_ms = options_of(target)->check_interval_ms;
	uint64_t passed_ms = checker->now_ms - target->due_ms;

	target->due_ms += (passed_ms / interval_ms + 1) * interval_ms;
	timer_arm(&checker->wheel, &target->timer, target->due_ms - checker->now_ms);
}

static void release(struct checker *checker, struct check *check)
{
	struct target *target = check->target;

	timer_cancel(&checker->wheel, &check->timer);
	if (check->fd >= 0)
		close(check->fd);
	check->fd = -1;
	check->stage = CHECK_IDLE;
	check->target = NULL;
	checker->running_count--;
	checker->running_of[target->forward->index]--;
	await_next(checker, target);
}

/* Ends a check. `fault` NULL: the backend is fit. */
static void conclude(struct checker *checker, struct check *check, const char *fault)
{
	const struct upstream_verdict verdict = {
		.member = check->target->member,
		.generation = check->generation,
		.address = &check->address,
		.fault = fault,
	};

	upstream_checked(check->target->forward->upstream, &verdict, checker->now_ms);
	release(checker, check);
}

/* Ends a check that says nothing about the backend: this host lacked something. */
static void skip(struct checker *checker, struct check *check, int error)
{
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_check_skipped)) {
		forward_log(check->target->forward, &line);
		log_addr(&line, "backend", &check->address);
		log_error(&line, "error", error);
		log_end(&line);
	}
	release(checker, check);
}

/*
 * An error, of either sign, ends a check. Of a session's connection a reset or a full backlog may
 * be the client's fault; of a check it is the backend's.
 */
static void fail(struct checker *checker, struct check *check, int error)
{
	const struct addr *source = source_of(check->target);

	if (upstream_fault_of(error) == UPSTREAM_FAULT_HERE ||
	    (source && route_lacks_source(source, error)))
		skip(checker, check, error);
	else
		conclude(checker, check, strerror(abs(error)));
}

/* One check ------------------------------------------------------------------------------------ */

static void write_request(struct check *check)
{
	const struct target *target = check->target;
	const struct config_bytes *text = &options_of(target)->check_send;
	const struct config_backend *backend =
		upstream_configured(target->forward->upstream, check->backend);
	const struct proxy_build build = {
		.version = backend->send_proxy == CONFIG_SEND_PROXY_V1 ? 1 : 2,
		.kind = PROXY_KIND_LOCAL,
		.checksum = true,
	};
	int length = 0;

	if (backend->send_proxy != CONFIG_SEND_PROXY_OFF)
		length = proxy_build(&build, check->request, PROXY_HEADER_LIMIT);
	CHECK(length >= 0);
	memcpy(check->request + length, text->bytes, text->count);
	check->request_bytes = (size_t)length + text->count;
}

static void begin(struct checker *checker, struct check *check, struct target *target)
{
	const struct sockaddr *address;
	socklen_t length_bytes;
	const struct config_forward_options *options = options_of(target);
	const struct addr *source = source_of(target);
	struct pool_snapshot member;
	int source_error;
	int congestion_error; /* ignored: a check moves too few bytes. Sessions report theirs. */

	pool_snapshot(upstream_pool(target->forward->upstream), target->member, checker->now_ms,
		      &member);
	check->target = target;
	checker->running_count++;
	checker->running_of[target->forward->index]++;
	if (member.state == POOL_EMPTY || member.state == POOL_DRAINING ||
	    member.state == POOL_OFF ||
	    !upstream_configured(target->forward->upstream, member.group)->check) {
		release(checker, check);
		return;
	}
	check->address = member.address;
	check->backend = member.group;
	check->generation = member.generation;
	check->sent_bytes = 0;
	check->answer_bytes = 0;
	write_request(check);
	/* as for a session: a firewall may tell sixpipe by its port or its TOS */
	check->fd = sock_open_backend(&check->address, &target->forward->tuning, &congestion_error);
	if (check->fd < 0) {
		fail(checker, check, check->fd);
		return;
	}
	/* unlike a session, a check has no stream that could look complete */
	sock_reset_on_close(check->fd, false);
	source_error = source ? sock_bind_source(check->fd, source) : 0;
	if (source_error) {
		skip(checker, check, source_error);
		return;
	}
	check->stage = CHECK_CONNECTING;
	timer_arm(&checker->wheel, &check->timer, options->check_timeout_ms);
	address = addr_sockaddr(&check->address, &length_bytes);
	if (connect(check->fd, address, length_bytes) && errno != EINPROGRESS)
		fail(checker, check, errno);
}

static void on_connect(struct checker *checker, struct check *check)
{
	int error = sock_take_error(check->fd);

	if (!error && sock_met_itself(check->fd, &check->address, &check->target->forward->tuning))
		error = ECONNREFUSED;
	if (error)
		fail(checker, check, error);
	else
		check->stage = CHECK_SENDING;
}

static void send_request(struct checker *checker, struct check *check)
{
	size_t left_bytes = check->request_bytes - check->sent_bytes;
	ssize_t sent = left_bytes ? send(check->fd, check->request + check->sent_bytes, left_bytes,
					 MSG_NOSIGNAL)
				  : 0;

	if (sent < 0) {
		if (errno != EAGAIN)
			fail(checker, check, errno);
		return;
	}
	check->sent_bytes += (size_t)sent;
	if (check->sent_bytes < check->request_bytes)
		return;
	if (options_of(check->target)->check_expect.count)
		check->stage = CHECK_EXPECTING;
	else
		conclude(checker, check, NULL);
}

static void read_answer(struct checker *checker, struct check *check)
{
	const struct config_bytes *expected = &options_of(check->target)->check_expect;
	ssize_t size = recv(check->fd, check->answer + check->answer_bytes,
			    CHECKER_ANSWER_BYTES - check->answer_bytes, 0);

	if (size < 0) {
		if (errno != EAGAIN)
			fail(checker, check, errno);
		return;
	}
	check->answer_bytes += (size_t)size;
	if (memmem(check->answer, check->answer_bytes, expected->bytes, expected->count))
		conclude(checker, check, NULL);
	else if (!size)
		conclude(checker, check, "the answer ended without the text of --check-expect");
	else if (check->answer_bytes == CHECKER_ANSWER_BYTES)
		conclude(checker, check,
			 "the first 4096 bytes of the answer lack the text of --check-expect");
}

/*
 * Does all that the check's socket is ready for. The time limit may be over although the backend
 * has done its part, if this process was stopped meanwhile (SIGSTOP, a frozen control group). Then
 * the next part gets the whole time.
 */
static void carry_on(struct checker *checker, struct check *check)
{
	enum stage stage = check->stage;
	size_t answer_bytes = check->answer_bytes, sent_bytes = check->sent_bytes;

	if (check->stage == CHECK_CONNECTING)
		on_connect(checker, check);
	if (check->stage == CHECK_SENDING)
		send_request(checker, check);
	else if (check->stage == CHECK_EXPECTING)
		read_answer(checker, check);
	if (check->stage != CHECK_IDLE && checker->now_ms >= check->timer.expires_ms &&
	    (check->stage != stage || check->answer_bytes != answer_bytes ||
	     check->sent_bytes != sent_bytes))
		timer_arm(&checker->wheel, &check->timer,
			  options_of(check->target)->check_timeout_ms);
}

static short awaited_events(const struct check *check)
{
	return check->stage == CHECK_EXPECTING ? POLLIN : POLLOUT;
}

/* --check-timeout has passed. Bytes that have come by now count. */
static void on_limit(struct checker *checker, struct check *check)
{
	static const char *const faults[] = {
		[CHECK_CONNECTING] = "no connection within --check-timeout",
		[CHECK_SENDING] = "the request was not taken within --check-timeout",
		[CHECK_EXPECTING] =
			"the text of --check-expect did not come within --check-timeout",
	};

	if (sock_is_ready(check->fd, awaited_events(check)))
		carry_on(checker, check);
	if (check->stage != CHECK_IDLE && !timer_is_armed(&check->timer))
		conclude(checker, check, faults[check->stage]);
}

/* Running -------------------------------------------------------------------------------------- */

void checker_prepare_poll(const struct checker *checker, struct poll_set *set)
{
	int64_t delay_ms = timer_wheel_delay_ms(&checker->wheel);

	for (unsigned i = 0; i < CHECKER_PARALLEL_LIMIT; i++)
		poll_set_add(set, checker->checks[i].fd, awaited_events(&checker->checks[i]));
	if (delay_ms >= 0)
		poll_set_due(set, checker->now_ms + (uint64_t)delay_ms);
}

static void fire_timers(struct checker *checker)
{
	struct timer *timer;

	while ((timer = timer_wheel_pop(&checker->wheel, checker->now_ms))) {
		struct target *target;

		if (timer->kind == LIMIT_TIMER) {
			on_limit(checker, CONTAINER_OF(timer, struct check, timer));
			continue;
		}
		target = CONTAINER_OF(timer, struct target, timer);
		target->next_waiting = NULL;
		*checker->waiting_last = target;
		checker->waiting_last = &target->next_waiting;
	}
}

/* Takes the first target off the queue whose forward may have a slot; NULL: none. */
static struct target *take_waiting(struct checker *checker)
{
	unsigned free_count = CHECKER_PARALLEL_LIMIT - checker->running_count;

	if (!free_count)
		return NULL;
	for (struct target **at = &checker->waiting_first; *at; at = &(*at)->next_waiting) {
		struct target *target = *at;

		if (checker->is_shared && checker->running_of[target->forward->index] >= free_count)
			continue;
		*at = target->next_waiting;
		if (!*at)
			checker->waiting_last = at;
		return target;
	}
	return NULL;
}

static void begin_waiting(struct checker *checker)
{
	struct target *target = take_waiting(checker);

	for (unsigned i = 0; target; i++) {
		CHECK(i < CHECKER_PARALLEL_LIMIT);
		/* a check that is over at once leaves the slot to the next target */
		while (target && checker->checks[i].stage == CHECK_IDLE) {
			begin(checker, &checker->checks[i], target);
			target = take_waiting(checker);
		}
	}
}

void checker_run(struct checker *checker, const struct poll_set *set)
{
	checker->now_ms = timer_now_ms();
	timer_wheel_advance(&checker->wheel, checker->now_ms);
	for (unsigned i = 0; i < CHECKER_PARALLEL_LIMIT; i++)
		if (poll_set_events(set, checker->checks[i].fd))
			carry_on(checker, &checker->checks[i]);
	fire_timers(checker);
	begin_waiting(checker);
}
