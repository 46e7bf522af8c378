/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. If a backend's address is that of a listener of this process, a session
 * takes a step: from its own forward to the forward of that listener. Recent steps are remembered.
 * If known steps lead from the end of a new step back to its start, the new step closes a loop and
 * is not taken. A step to the same forward always closes a loop. So a loop of N forwards ends with
 * its Nth session. Steps are forgotten after a while, because names and addresses change.
 */
#include "forward/loops.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/siphash.h"
#include "config/config_loop.h"

/* How long a step is remembered. Each step takes at most --timeout-connect, 5 s by default. */
#define STEP_MS 10000

/*
 * The kernel's answers are kept for a few milliseconds. If an address moves to this host in that
 * time, some sessions may go round in a loop; the next answer ends the loop.
 */
#define ANSWERS	    64
#define ANSWER_MS   10
#define ANSWER_TIME 0x7fff /* the bits of an answer that hold the millisecond */
#define ANSWER_YES  0x8000
#define ANSWER_HASH (~(uint64_t)0xffff)

struct loops {
	const struct config *config;
	uint8_t key[SIPHASH_KEY_BYTES];
	const struct addr *listens[CONFIG_FORWARD_LIMIT]; /* as configured, then as bound */
	/* of the listeners; most backends have another port; 0: a local socket, or not bound yet */
	uint16_t ports[CONFIG_FORWARD_LIMIT];
	/* the upper bits of the question's hash, ANSWER_YES, and the millisecond of the answer */
	_Atomic uint64_t answers[ANSWERS];
	/* from * forward_count + to: when a session last took the step, 0: never */
	_Atomic uint64_t steps_ms[];
};

int loops_create(struct loops **loops, const struct config *config)
{
	size_t count = config->forward_count;
	struct loops *made = calloc(1, sizeof(*made) + count * count * sizeof(made->steps_ms[0]));

	if (!made)
		return -ENOMEM;
	made->config = config;
	for (size_t i = 0; i < count; i++)
		loops_set_listen(made, (unsigned)i, &config->forwards[i].listen);
	if (getrandom(made->key, sizeof(made->key), 0) != (ssize_t)sizeof(made->key)) {
		free(made);
		return -EAGAIN;
	}
	*loops = made;
	return 0;
}

void loops_destroy(struct loops *loops)
{
	free(loops);
}

void loops_set_listen(struct loops *loops, unsigned forward, const struct addr *listen)
{
	loops->listens[forward] = listen;
	loops->ports[forward] = (uint16_t)addr_port(listen);
}

static bool has_step(struct loops *self, unsigned from, unsigned to, uint64_t now_ms)
{
	uint64_t step_ms = atomic_load_explicit(
		&self->steps_ms[from * self->config->forward_count + to], memory_order_relaxed);

	return step_ms && now_ms - step_ms < STEP_MS;
}

/* Whether known steps lead from one forward to the other, or both are the same. */
static bool leads_to(struct loops *self, unsigned from, unsigned to, uint64_t now_ms)
{
	bool met[CONFIG_FORWARD_LIMIT] = {0};
	uint16_t queue[CONFIG_FORWARD_LIMIT] = {(uint16_t)from};
	unsigned read = 0, written = 1;

	met[from] = true;
	while (read < written && !met[to]) {
		unsigned at = queue[read++];

		for (unsigned i = 0; i < self->config->forward_count; i++) {
			if (met[i] || !has_step(self, at, i, now_ms))
				continue;
			met[i] = true;
			queue[written++] = (uint16_t)i;
		}
	}
	return met[to];
}

/* Whether connections to the address reach the listener; the answer is ANSWER_MS old at most. */
static bool reaches(struct loops *self, unsigned forward, const struct addr *to, uint64_t now_ms)
{
	struct {
		struct in6_addr address;
		uint32_t scope, forward;
	} question = {.address = cidr_address_of(to), .forward = forward};
	uint64_t time = now_ms & ANSWER_TIME, hash, answer;
	_Atomic uint64_t *slot;

	if (to->any.sa_family == AF_INET6)
		question.scope = to->v6.sin6_scope_id;
	hash = siphash24(self->key, &question, sizeof(question));
	slot = &self->answers[hash % ANSWERS];
	answer = atomic_load_explicit(slot, memory_order_relaxed);
	if ((answer & ANSWER_HASH) != (hash & ANSWER_HASH) ||
	    ((time - answer) & ANSWER_TIME) >= ANSWER_MS) {
		answer = (hash & ANSWER_HASH) | time;
		if (config_loop_reaches(&self->config->forwards[forward], self->listens[forward],
					to))
			answer |= ANSWER_YES;
		atomic_store_explicit(slot, answer, memory_order_relaxed);
	}
	return answer & ANSWER_YES;
}

/*
 * The forward whose listener connections to the address reach, or -1. For a listener on one
 * interface the kernel is not asked who has the address: that takes getifaddrs(3), which allocates.
 */
static int find_taker(struct loops *self, const struct addr *to, uint64_t now_ms)
{
	unsigned count = self->config->forward_count, port = addr_port(to);

	for (unsigned i = 0; i < count; i++) {
		const struct config_forward *listener = &self->config->forwards[i];
		enum config_reach reach;

		if (self->ports[i] && self->ports[i] != port)
			continue;
		reach = config_conflict_reach(listener, self->listens[i], to);
		if (reach == CONFIG_REACH_SURE ||
		    (reach == CONFIG_REACH_IF_OWN && !listener->options.tuning.device &&
		     reaches(self, i, to, now_ms)))
			return (int)i;
	}
	return -1;
}

bool loops_would_close(struct loops *loops, unsigned forward, const struct addr *backend,
		       uint64_t now_ms)
{
	int taker = addr_is_local(backend) ? -1 : find_taker(loops, backend, now_ms);

	if (taker < 0)
		return false;
	if (leads_to(loops, (unsigned)taker, forward, now_ms))
		return true;
	atomic_store_explicit(
		&loops->steps_ms[forward * loops->config->forward_count + (unsigned)taker], now_ms,
		memory_order_relaxed);
	return false;
}
