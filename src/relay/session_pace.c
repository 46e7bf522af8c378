/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A lane without allowance does not read until its share is due. Meanwhile the
 * socket of its read side fills, and the peer cannot send. A lane that stops for another reason
 * gives its unused allowance back. If the session's own limit and the forward's limit both apply,
 * the lane gets the allowance that both grant.
 *
 * The time is that of the tick, so no clock is read. This is exact enough: a wait for a share lasts
 * 5 ms or longer, a tick is shorter. Both lanes share one timer. It fires when the first lane is
 * due, and is armed again for the other lane.
 *
 * The data of pacing is beside the session table, so sessions without limits are no larger.
 */

#include <errno.h>

#include "base/check.h"
#include "os/host.h"
#include "relay/session_private.h"

struct lane_pace {
	struct admission_bandwidth *bandwidth; /* NULL: no limit */
	struct pacer own;
	struct pacer_share own_share;
	struct pacer_share total_share;
	uint64_t due_us; /* while the lane waits: when it may go on */
};

struct session_pace {
	struct timer timer;
	struct lane_pace lanes[2];
};

int session_paces_create(struct sessions *sessions)
{
	if (!admission_limits_bandwidth(sessions->config))
		return 0;
	sessions->paces = host_reserve_memory(sessions->slot_count * sizeof(*sessions->paces));
	return sessions->paces ? 0 : -ENOMEM;
}

void session_paces_destroy(struct sessions *sessions)
{
	if (sessions->paces)
		host_release_memory(sessions->paces,
				    sessions->slot_count * sizeof(*sessions->paces));
}

static struct session_pace *pace_of(const struct sessions *sessions, const struct session *session)
{
	return &sessions->paces[session->slot];
}

static uint64_t now_us(const struct sessions *sessions)
{
	return sessions->now_ms * 1000;
}

void session_pace_begin(struct sessions *sessions, struct session *session)
{
	if (!sessions->paces)
		return;
	for (unsigned i = 0; i < 2; i++) {
		struct lane_pace *pace = &pace_of(sessions, session)->lanes[i];

		*pace = (struct lane_pace){
			.bandwidth = admission_bandwidth(session->tenancy.forward->admission, i)};
		session->lane[i].paced = pace->bandwidth;
		if (pace->bandwidth && pace->bandwidth->own_limited)
			pacer_init(&pace->own, &pace->bandwidth->own, now_us(sessions));
	}
}

/* Takes the bytes that both limits grant and returns them. 0: the lane must wait for `share`. */
static uint64_t take(struct lane_pace *pace, uint64_t want_bytes, uint64_t now,
		     const struct pacer_share **share)
{
	uint64_t bytes = want_bytes, shared;

	if (pace->bandwidth->own_limited) {
		*share = &pace->own_share;
		bytes = pacer_take(&pace->own, &pace->own_share, want_bytes, now);
	}
	if (!bytes || !pace->bandwidth->total_limited)
		return bytes;
	*share = &pace->total_share;
	shared = pacer_take(&pace->bandwidth->total, &pace->total_share, bytes, now);
	if (pace->bandwidth->own_limited && shared < bytes)
		pacer_give_back(&pace->own_share, bytes - shared);
	return shared;
}

/* Arms the timer for the lane that is due first. */
static void arm(struct sessions *sessions, struct session *session)
{
	struct session_pace *self = pace_of(sessions, session);
	uint64_t due_us = UINT64_MAX;

	for (unsigned i = 0; i < 2; i++)
		if (session->waits[i] == SESSION_WAIT_ALLOWANCE)
			due_us = MIN(due_us, self->lanes[i].due_us);
	self->timer.kind = SESSION_PACE_TIMER;
	/* a lane whose time has passed already makes the timer fire at once */
	timer_arm(sessions->wheel, &self->timer,
		  due_us > now_us(sessions) ? (due_us - now_us(sessions) + 999) / 1000 : 0);
}

bool session_pace_take(struct sessions *sessions, struct session *session, unsigned lane,
		       uint32_t want_bytes)
{
	struct lane_pace *pace = &pace_of(sessions, session)->lanes[lane];
	const struct pacer_share *share = NULL;
	uint64_t now = now_us(sessions);
	uint64_t bytes = take(pace, want_bytes, now, &share);

	if (bytes) {
		lane_on_allowance(&session->lane[lane], (uint32_t)bytes);
		return true;
	}
	pace->due_us = now + pacer_wait_us(share, now);
	metrics_add(sessions->metrics, METRIC_paced_waits, 1);
	session_wait_allowance(sessions, session, lane);
	arm(sessions, session);
	return false;
}

void session_pace_leave(struct sessions *sessions, struct session *session, unsigned lane)
{
	struct lane_pace *pace = &pace_of(sessions, session)->lanes[lane];
	uint32_t bytes = lane_take_allowance(&session->lane[lane]);

	if (pace->bandwidth->own_limited) {
		if (bytes)
			pacer_give_back(&pace->own_share, bytes);
		pacer_leave(&pace->own, &pace->own_share);
	}
	if (pace->bandwidth->total_limited) {
		if (bytes)
			pacer_give_back(&pace->total_share, bytes);
		pacer_leave(&pace->bandwidth->total, &pace->total_share);
	}
}

void session_pace_end(struct sessions *sessions, struct session *session)
{
	if (!sessions->paces)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (session->lane[i].paced)
			session_pace_leave(sessions, session, i);
	timer_cancel(sessions->wheel, &pace_of(sessions, session)->timer);
}

void session_pace_on_timer(struct sessions *sessions, struct timer *timer)
{
	struct session_pace *self = CONTAINER_OF(timer, struct session_pace, timer);
	struct session *session =
		session_table_at(sessions->table, (uint32_t)(self - sessions->paces));
	bool waiting = false;

	CHECK(session && session->state == SESSION_RELAYING);
	for (unsigned i = 0; i < 2; i++) {
		if (session->waits[i] != SESSION_WAIT_ALLOWANCE)
			continue;
		if (self->lanes[i].due_us > now_us(sessions)) {
			waiting = true;
			continue;
		}
		session->waits[i] = SESSION_WAIT_NONE;
		session_make_ready(sessions, session);
	}
	if (waiting)
		arm(sessions, session);
}
