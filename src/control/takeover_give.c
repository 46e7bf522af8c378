/* SPDX-License-Identifier: MIT */
#include "control/takeover_give.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "control/control.h"
#include "forward/forward_carry.h"
#include "os/carrier.h"
#include "os/sock.h"
#include "os/timer.h"

/* How long the old process waits for the new one after the commit, before it closes its copies. */
#define END_LIMIT_MS 2000

struct takeover_give {
	const struct control_task *task;
	struct parent_link *link;
	struct carrier *carrier; /* to the new process; NULL: no takeover is under way */
	enum takeover_kind kind;
	enum takeover_kind again; /* begins when this one has ended */
	uint64_t due_ms;
	bool sockets_only;		       /* the new process cannot read the state */
	bool *moves;			       /* by forward: the new process has it */
	bool adopted[INHERITED_FORWARD_LIMIT]; /* by forward: it has the sockets */
	uint64_t moved_count, left_count;      /* of the sessions, after the commit */
	unsigned ended_count;
	int code;   /* of the refusal, or of the last takeover */
	char *text; /* the same in words; NULL: it went well, or there was no memory */
};

int takeover_give_create(struct takeover_give **give, const struct control_task *task,
			 struct parent_link *link)
{
	struct takeover_give *made = calloc(1, sizeof(*made));

	if (made)
		made->moves = calloc(task->forwards->count, sizeof(bool));
	if (!made || !made->moves) {
		free(made);
		return -ENOMEM;
	}
	made->task = task;
	made->link = link;
	*give = made;
	return 0;
}

void takeover_give_destroy(struct takeover_give *self)
{
	if (!self)
		return;
	carrier_destroy(self->carrier);
	free(self->moves);
	free(self->text);
	free(self);
}

/* The outcome ---------------------------------------------------------------------------------- */

/* Adds a line to the text that tells what is wrong. */
static void add_text(struct takeover_give *self, const char *line)
{
	char *longer = NULL;

	if (asprintf(&longer, "%s%s%s", self->text ? self->text : "", self->text ? "\n" : "",
		     line) < 0)
		return;
	free(self->text);
	self->text = longer;
}

/* The takeover has ended, without or after the commit. */
static void end(struct takeover_give *self)
{
	carrier_destroy(self->carrier);
	self->carrier = NULL;
	self->ended_count++;
}

static void begin(struct takeover_give *self, enum takeover_kind kind);

/* The old process goes on as before. */
static void fail(struct takeover_give *self, int code, const char *reason)
{
	enum takeover_kind again = self->again;
	struct log_line line;

	if (reason)
		add_text(self, reason);
	self->code = code;
	self->task->forwards->takeover_failures++;
	if (log_begin(&line, LOG_EVENT_takeover_failed)) {
		log_text(&line, "kind", takeover_word(self->kind));
		log_text(&line, "error", self->text ? self->text : "out of memory");
		log_end(&line);
	}
	if (self->carrier)
		parent_link_give_up(self->link);
	end(self);
	self->again = TAKEOVER_NONE;
	if (again)
		begin(self, again);
}

static void fail_with(struct takeover_give *self, int error)
{
	char reason[TAKEOVER_FAILURE_BYTES];
	bool late = timer_now_ms() >= self->due_ms;

	/* it has said why, and then ended */
	if (error == -EPIPE && self->text)
		fail(self, self->code ? self->code : EXIT_FAILURE, NULL);
	else
		fail(self, EXIT_FAILURE,
		     takeover_print_failure(reason, error,
					    late ? self->task->takeover_timeout_ms : 0));
}

/* Beginning ------------------------------------------------------------------------------------ */

/* Gives one end to the parent, which gives it to the new process. Returns 0 or -errno. */
static int start_process(struct takeover_give *self)
{
	int fds[2];
	int result = carrier_pair(fds);

	if (result)
		return result;
	result = parent_link_start(
		self->link, self->kind == TAKEOVER_UPGRADE ? PARENT_START_NEW : PARENT_START_SAME,
		fds[1]);
	close(fds[1]);
	if (result)
		close(fds[0]);
	return result ? result : carrier_create(&self->carrier, fds[0]);
}

static void begin(struct takeover_give *self, enum takeover_kind kind)
{
	struct log_line line;
	int result;

	free(self->text);
	self->text = NULL;
	self->code = EXIT_SUCCESS;
	self->kind = kind;
	self->sockets_only = false;
	memset(self->moves, 0, self->task->forwards->count * sizeof(bool));
	self->due_ms = self->task->takeover_timeout_ms
			       ? timer_now_ms() + self->task->takeover_timeout_ms
			       : POLL_SET_NEVER;
	if (log_begin(&line, LOG_EVENT_takeover_started)) {
		log_text(&line, "kind", takeover_word(kind));
		log_end(&line);
	}
	result = start_process(self);
	if (result)
		fail_with(self, result);
	else
		carrier_set_due(self->carrier, self->due_ms);
}

void takeover_give_ask(struct takeover_give *self, enum takeover_kind kind)
{
	if (self->carrier)
		self->again = MAX(self->again, kind);
	else
		begin(self, kind);
}

void takeover_give_cancel(struct takeover_give *self)
{
	self->again = TAKEOVER_NONE;
	if (self->carrier)
		fail_with(self, -EINTR);
}

/* The new process reads its configuration ------------------------------------------------------ */

/* From here on the control loop waits for the new process, but not for long: until this time. */
static uint64_t limit_wait(struct takeover_give *self)
{
	uint64_t until_ms = MIN(self->due_ms, timer_now_ms() + TAKEOVER_PAUSE_LIMIT_MS);

	carrier_set_due(self->carrier, until_ms);
	return until_ms;
}

static void put_greeted(struct carrier *carrier, enum takeover_kind kind)
{
	carrier_begin(carrier, CARRIER_GREETED);
	carrier_put(carrier, kind);
	carrier_end(carrier);
}

/* Takes HELLO and answers it. Returns 0 or -errno. */
static int greet(struct takeover_give *self)
{
	const struct control_task *task = self->task;
	struct carrier *carrier = self->carrier;

	if (carrier_take(carrier) != INHERITED_PROTOCOL)
		return -EPROTONOSUPPORT;
	(void)limit_wait(self);
	carrier_begin(carrier, CARRIER_HELLO);
	carrier_put(carrier, INHERITED_PROTOCOL);
	carrier_put(carrier, INHERITED_STATE_VERSION);
	carrier_put_text(carrier, SIXPIPE_VERSION);
	carrier_put(carrier, workers_slot_count(task->workers));
	carrier_put(carrier, workers_running_count(task->workers));
	carrier_put(carrier, workers_boot_id(task->workers));
	carrier_put(carrier, workers_metric(task->workers, METRIC_sessions_open));
	carrier_put_text(carrier, task->forwards->config->user);
	carrier_end(carrier);
	workers_write_sockets(task->workers, carrier);
	source_addresses_write_locks(task->forwards->sources, carrier);
	if (task->http)
		http_write_socket(task->http, carrier);
	if (task->admin)
		admin_write_socket(task->admin, carrier);
	put_greeted(carrier, self->kind);
	names_write(task->names, carrier);
	put_greeted(carrier, self->kind);
	return carrier_flush(carrier);
}

/* A forward that the new process has: its sessions move. */
static void take_name(struct takeover_give *self)
{
	const struct forward *forward = forwards_take_name(self->task->forwards, self->carrier);

	if (forward)
		self->moves[forward->index] = true;
}

static void take_refusal(struct takeover_give *self)
{
	char text[TAKEOVER_TEXT_BYTES];

	self->code = (int)carrier_take(self->carrier);
	add_text(self, carrier_take_text(self->carrier, text, sizeof(text)));
}

/* Handing over --------------------------------------------------------------------------------- */

/* Whether TERM or INT waits to be read by the control loop. */
static bool is_terminating(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/*
 * The state while no worker runs. There may be a million leases: those that no session has used
 * since `leases_ms` were written before.
 */
static void write_state(const struct takeover_give *self, uint64_t leases_ms)
{
	const struct control_task *task = self->task;

	forwards_write(task->forwards, self->carrier);
	forwards_write_leases(task->forwards, self->carrier, leases_ms);
	if (task->admin)
		admin_write(task->admin, self->carrier);
	workers_write(task->workers, self->carrier, self->moves);
}

/* The state of the frozen workers, and the answer of the new process. Returns 0 or -errno. */
static int hand_over(struct takeover_give *self, uint64_t leases_ms)
{
	struct carrier *carrier = self->carrier;
	enum carrier_kind kind;
	int result;

	if (self->task->admin)
		admin_write_before(self->task->admin, carrier, self->kind == TAKEOVER_UPGRADE);
	if (self->sockets_only)
		workers_write_pipes(self->task->workers, carrier);
	else
		write_state(self, leases_ms);
	carrier_begin(carrier, CARRIER_STATE_END);
	carrier_put(carrier, carrier_put_count(carrier));
	carrier_end(carrier);
	result = carrier_flush(carrier);
	while (!result && !(result = carrier_next(carrier, &kind)) && kind != CARRIER_HAVE_ALL)
		if (kind == CARRIER_REFUSED)
			take_refusal(self);
	if (!result) {
		uint64_t open_count = workers_metric(self->task->workers, METRIC_sessions_open);

		self->moved_count = carrier_take(carrier);
		self->left_count = open_count - MIN(open_count, self->moved_count);
	}
	return result;
}

/*
 * Lets another takeover follow for HUP and USR2 that the control loop has not read yet: the new
 * process has read its files before.
 */
static void take_late_signals(struct takeover_give *self)
{
	const struct timespec at_once = {0};
	sigset_t late;
	int number;

	sigemptyset(&late);
	sigaddset(&late, SIGHUP);
	sigaddset(&late, SIGUSR2);
	while ((number = sigtimedwait(&late, NULL, &at_once)) > 0)
		self->again =
			MAX(self->again, number == SIGUSR2 ? TAKEOVER_UPGRADE : TAKEOVER_RELOAD);
}

static int commit(struct takeover_give *self, uint64_t frozen_us, uint64_t until_ms)
{
	struct carrier *carrier = self->carrier;
	int result = is_terminating() ? -EINTR : parent_link_commit(self->link, until_ms);

	if (result)
		return result;
	/* from here on the parent sends these signals to the new process */
	take_late_signals(self);
	carrier_begin(carrier, CARRIER_COMMIT);
	carrier_put(carrier, self->again);
	carrier_put(carrier, frozen_us);
	carrier_end(carrier);
	return carrier_flush(carrier);
}

/*
 * Waits until the new process has closed its end: its sessions run. Closing the old descriptors
 * before would take CPU time from the new process.
 */
static void await_end(struct takeover_give *self)
{
	enum carrier_kind kind;

	carrier_set_due(self->carrier, timer_now_ms() + END_LIMIT_MS);
	while (!carrier_next(self->carrier, &kind))
		;
}

/* Forgets what the new process has; the rest drains. */
static void leave(struct takeover_give *self)
{
	const struct control_task *task = self->task;

	/* sessions that stay stand still until workers_leave() */
	if (!self->left_count)
		await_end(self);
	forwards_give_away(task->forwards, self->adopted);
	if (self->sockets_only)
		memset(self->moves, 0, task->forwards->count * sizeof(bool));
	workers_leave(task->workers, self->moves);
	if (task->http)
		http_leave(task->http);
	if (task->admin)
		admin_leave(task->admin, self->kind == TAKEOVER_RELOAD);
	end(self);
}

/* Returns whether the new process serves from here on. */
static bool give(struct takeover_give *self)
{
	const struct control_task *task = self->task;
	const uint64_t leases_ms = timer_now_ms();
	uint64_t frozen_us, until_ms;
	int result = task->saver ? saver_pause(task->saver, self->due_ms) : 0;

	(void)limit_wait(self);
	if (!result && !self->sockets_only)
		forwards_write_leases(task->forwards, self->carrier, 0);
	frozen_us = timer_now_us();
	/* a new process that hangs from here on must not hold up the sessions for long */
	until_ms = limit_wait(self);
	if (!result)
		result = workers_freeze(task->workers, until_ms);
	if (!result)
		result = hand_over(self, leases_ms);
	if (!result)
		result = commit(self, frozen_us, until_ms);
	if (!result) {
		leave(self);
		return true;
	}
	workers_thaw(task->workers);
	if (task->saver)
		saver_resume(task->saver);
	fail_with(self, result);
	return false;
}

/* Running -------------------------------------------------------------------------------------- */

/* Takes one record. Returns whether the new process serves from here on. */
static bool take_record(struct takeover_give *self, enum carrier_kind kind)
{
	int result = 0;

	switch (kind) {
	case CARRIER_HELLO:
		result = greet(self);
		break;
	case CARRIER_REFUSED:
		take_refusal(self);
		break;
	case CARRIER_SERVES:
		take_name(self);
		break;
	case CARRIER_PREPARED:
		self->sockets_only = carrier_take(self->carrier) != 0;
		inherited_take_adopted(self->carrier, self->adopted);
		return give(self);
	default:
		break;
	}
	if (result)
		fail_with(self, result);
	return false;
}

void takeover_give_prepare_poll(const struct takeover_give *self, struct poll_set *set)
{
	if (!self->carrier)
		return;
	poll_set_add(set, carrier_fd(self->carrier), POLLIN);
	poll_set_due(set, self->due_ms);
}

bool takeover_give_run(struct takeover_give *self)
{
	enum carrier_kind kind;

	while (self->carrier && (carrier_has_record(self->carrier) ||
				 sock_is_ready(carrier_fd(self->carrier), POLLIN))) {
		int result = carrier_next(self->carrier, &kind);

		if (!result && take_record(self, kind))
			return true;
		if (result)
			fail_with(self, result);
	}
	if (self->carrier && timer_now_ms() >= self->due_ms)
		fail_with(self, -ETIMEDOUT);
	return false;
}

unsigned takeover_give_next(const struct takeover_give *self)
{
	return self->ended_count + 1 + (self->carrier != NULL);
}

const char *takeover_give_cause(const struct takeover_give *self)
{
	if (self->sockets_only)
		return "the new version cannot take sessions of this version";
	return self->left_count ? "the new configuration has no such forward" : "none";
}

struct takeover_outcome takeover_give_outcome(const struct takeover_give *self)
{
	return (struct takeover_outcome){
		.count = self->ended_count,
		.code = self->code,
		.text = self->text ? self->text : "",
		.moved_count = self->moved_count,
		.left_count = self->left_count,
	};
}
