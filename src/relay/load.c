/* SPDX-License-Identifier: MIT */
#include "relay/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

int load_init(struct load *load, uint32_t limit, uint32_t crowd, unsigned worker_count)
{
	memset(load, 0, sizeof(*load));
	load->workers = memory_alloc_lines(worker_count * sizeof(*load->workers));
	if (!load->workers)
		return -ENOMEM;
	load->limit = limit;
	load->crowd = crowd;
	load->worker_count = worker_count;
	return 0;
}

void load_finish(struct load *load)
{
	free(load->workers);
}

bool load_is_crowded(const struct load *load)
{
	return atomic_load_explicit(&load->sessions, memory_order_relaxed) >= load->crowd;
}

uint32_t load_count(const struct load *load)
{
	return atomic_load(&load->sessions);
}

uint32_t load_room(const struct load *load)
{
	/* sequentially consistent with load_wait() and load_release() */
	uint32_t sessions = atomic_load(&load->sessions);

	return sessions < load->limit ? load->limit - sessions : 0;
}

static uint32_t sessions_of(const struct load *load, unsigned worker)
{
	return atomic_load_explicit(&load->workers[worker].sessions, memory_order_relaxed);
}

uint32_t load_worker_count(const struct load *load, unsigned worker)
{
	return sessions_of(load, worker);
}

static unsigned choose_worker(const struct load *load, unsigned own)
{
	unsigned least = own;

	for (unsigned i = 0; i < load->worker_count; i++)
		if (sessions_of(load, i) < sessions_of(load, least))
			least = i;
	/* a hand-over wakes a thread, which costs too much for a difference of one session */
	return sessions_of(load, own) > sessions_of(load, least) + 1 ? least : own;
}

static bool count_session(struct load *load)
{
	if (atomic_fetch_add(&load->sessions, 1) < load->limit)
		return true;
	atomic_fetch_sub(&load->sessions, 1);
	return false;
}

int load_admit_here(struct load *load, unsigned own)
{
	if (!count_session(load))
		return -1;
	atomic_fetch_add(&load->workers[own].sessions, 1);
	return (int)own;
}

void load_resume(struct load *load, unsigned worker)
{
	atomic_fetch_add(&load->sessions, 1);
	atomic_fetch_add(&load->workers[worker].sessions, 1);
}

int load_admit(struct load *load, unsigned own)
{
	unsigned worker;

	if (!count_session(load))
		return -1;
	worker = choose_worker(load, own);
	if (atomic_fetch_add(&load->workers[worker].sessions, 1) & LOAD_RETIRED) {
		load_move(load, worker, own);
		worker = own;
	}
	return (int)worker;
}

void load_move(struct load *load, unsigned from, unsigned to)
{
	atomic_fetch_sub(&load->workers[from].sessions, 1);
	atomic_fetch_add(&load->workers[to].sessions, 1);
}

bool load_retire(struct load *load, unsigned worker)
{
	uint32_t none = 0;

	return atomic_compare_exchange_strong(&load->workers[worker].sessions, &none, LOAD_RETIRED);
}

void load_release(struct load *load, unsigned worker)
{
	CHECK(sessions_of(load, worker) > 0);
	atomic_fetch_sub_explicit(&load->workers[worker].sessions, 1, memory_order_relaxed);
	/*
	 * Sequentially consistent with load_wait() and load_room(): either the waiting worker sees
	 * this release, or load_take_waiting() sees that the worker waits.
	 */
	atomic_fetch_sub(&load->sessions, 1);
}

void load_wait(struct load *load, unsigned worker)
{
	atomic_store(&load->workers[worker].waits, true);
}

int load_take_waiting(struct load *load)
{
	for (unsigned i = 0; i < load->worker_count; i++)
		if (atomic_load(&load->workers[i].waits) &&
		    atomic_exchange(&load->workers[i].waits, false))
			return (int)i;
	return -1;
}
