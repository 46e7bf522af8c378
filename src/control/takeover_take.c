/* SPDX-License-Identifier: MIT */
#include "control/takeover_take.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "control/control.h"
#include "forward/forward_carry.h"
#include "os/carrier.h"
#include "os/host.h"
#include "os/timer.h"

static int fail(struct fault *fault, int error, const char *what)
{
	const char *reason = strerror(-error);

	if (error == -ENOSPC)
		reason = "a forward has more than 256 backends, those of the old configuration "
			 "that have sessions included; remove and add backends in two reloads";
	else if (error == -EPIPE)
		reason = "the old process has ended, or has given up";
	fault_set(fault, NULL, NULL,
		  "cannot take over from the running process: %s: %s; its log "
		  "says more",
		  what, reason);
	return error;
}

/* The addresses of names, up to the second GREETED. Returns 0 or -errno. */
static int take_names(struct takeover_take *take)
{
	struct carrier *carrier = take->inherited.carrier;
	enum carrier_kind kind;
	int result;

	do {
		result = carrier_next(carrier, &kind);
		if (!result && kind == CARRIER_NAME)
			result = names_read(&take->names, carrier);
	} while (!result && kind != CARRIER_GREETED);
	take->kind = result ? TAKEOVER_NONE : (enum takeover_kind)carrier_take(carrier);
	return result;
}

int takeover_take_open(struct takeover_take *take, int fd, struct fault *fault)
{
	struct inherited *inherited = &take->inherited;
	int result = carrier_create(&inherited->carrier, fd);

	/* the parent has the soft limit of the start, and there may be thousands of sockets */
	(void)host_raise_descriptor_limit();
	if (!result) {
		carrier_begin(inherited->carrier, CARRIER_HELLO);
		carrier_put(inherited->carrier, INHERITED_PROTOCOL);
		carrier_put(inherited->carrier, INHERITED_STATE_VERSION);
		carrier_put_text(inherited->carrier, SIXPIPE_VERSION);
		carrier_end(inherited->carrier);
		result = carrier_flush(inherited->carrier);
	}
	if (!result)
		result = inherited_read(inherited, inherited->carrier);
	if (!result)
		result = take_names(take);
	if (!result)
		host_expect_descriptors(inherited->count + 2 * (uint64_t)inherited->old_sessions,
					carrier_fd(inherited->carrier));
	return result ? fail(fault, result, "its sockets did not arrive") : 0;
}

void takeover_take_finish(struct takeover_take *take)
{
	inherited_finish(&take->inherited);
	names_answers_finish(&take->names);
	takeover_take_close(take);
	*take = (struct takeover_take){0};
}

void takeover_take_close(struct takeover_take *take)
{
	carrier_destroy(take->inherited.carrier);
	take->inherited.carrier = NULL;
}

void takeover_take_refuse(const struct inherited *inherited, int code,
			  const struct config_errors *errors)
{
	struct carrier *carrier = inherited ? inherited->carrier : NULL;
	char text[FAULT_TEXT_BYTES];

	for (unsigned i = 0; carrier && i < errors->count; i++) {
		carrier_begin(carrier, CARRIER_REFUSED);
		carrier_put(carrier, (uint64_t)code);
		carrier_put_text(carrier, fault_print(&errors->list[i], text));
		carrier_end(carrier);
	}
	/* the old process may be gone */
	if (carrier)
		(void)carrier_flush(carrier);
}

/* Tells which forwards this process has. */
static int say_prepared(const struct inherited *inherited, const struct forwards *forwards)
{
	struct carrier *carrier = inherited->carrier;

	for (unsigned i = 0; i < forwards->count; i++) {
		carrier_begin(carrier, CARRIER_SERVES);
		carrier_put_text(carrier, forwards->list[i].config->name);
		carrier_end(carrier);
	}
	carrier_begin(carrier, CARRIER_PREPARED);
	carrier_put(carrier, inherited->listeners_only);
	inherited_put_adopted(inherited, carrier);
	carrier_end(carrier);
	return carrier_flush(carrier);
}

/* Takes one record of the state. Returns 0 or -errno. */
static int take_record(const struct control_task *task, struct carrier *carrier,
		       enum carrier_kind kind)
{
	switch (kind) {
	case CARRIER_LEASE_POOL:
	case CARRIER_LEASE:
	case CARRIER_FORWARD:
	case CARRIER_MEMBER:
		return forwards_read(task->forwards, carrier, kind);
	case CARRIER_BAN:
	case CARRIER_CHANGE:
	case CARRIER_SERVICE:
		return task->admin ? admin_read(task->admin, carrier, kind) : 0;
	case CARRIER_COUNTERS:
	case CARRIER_CLOSED:
	case CARRIER_FORWARD_COUNTS:
	case CARRIER_HISTORY:
	case CARRIER_CLIENT:
	case CARRIER_SESSION:
	case CARRIER_PIPE:
		return workers_read(task->workers, carrier, kind);
	default: /* of a later version */
		return 0;
	}
}

/* Takes the whole state. Returns 0 or -errno. */
static int take_records(const struct control_task *task, struct carrier *carrier)
{
	enum carrier_kind kind;
	uint64_t before, count;
	int result;

	do {
		before = carrier_take_count(carrier);
		result = carrier_next(carrier, &kind);
		if (!result && kind != CARRIER_STATE_END)
			result = take_record(task, carrier, kind);
	} while (!result && kind != CARRIER_STATE_END);
	count = result ? 0 : carrier_take(carrier);
	return result || count == before ? result : -EBADMSG;
}

static int await_commit(struct carrier *carrier, uint64_t session_count,
			struct takeover_commit *commit)
{
	enum carrier_kind kind;
	int result;

	carrier_begin(carrier, CARRIER_HAVE_ALL);
	carrier_put(carrier, session_count);
	carrier_end(carrier);
	result = carrier_flush(carrier);
	if (!result)
		result = carrier_next(carrier, &kind);
	if (result)
		return result;
	if (kind != CARRIER_COMMIT)
		return -EPIPE;
	commit->again = (enum takeover_kind)carrier_take(carrier);
	commit->frozen_us = carrier_take(carrier);
	return 0;
}

int takeover_take_state(const struct takeover_take *take, const struct control_task *task,
			struct takeover_commit *commit, struct fault *fault)
{
	const struct inherited *inherited = &take->inherited;
	int result = say_prepared(inherited, task->forwards);

	/* a reload makes the backends what the configuration says */
	task->forwards->keeps_changes = take->kind == TAKEOVER_UPGRADE;

	if (!result)
		result = take_records(task, inherited->carrier);
	/* what can still fail comes before the word that this process has everything */
	if (!result)
		result = workers_complete(task->workers);
	if (result)
		return fail(fault, result, "its sessions did not arrive");
	result = await_commit(inherited->carrier,
			      workers_metric(task->workers, METRIC_sessions_open), commit);
	return result ? fail(fault, result, "it did not hand over, and goes on itself") : 0;
}

void takeover_take_log(const struct takeover_take *take, const struct control_task *task,
		       const struct takeover_commit *commit)
{
	struct log_line line;

	task->forwards->takeovers++;
	if (!log_begin(&line, LOG_EVENT_takeover_done))
		return;
	log_text(&line, "kind", takeover_word(take->kind));
	log_text(&line, "from", take->inherited.old_version);
	log_number(&line, "sessions", workers_metric(task->workers, METRIC_sessions_open));
	log_number(&line, "pause_us", timer_now_us() - commit->frozen_us);
	log_end(&line);
}
