/* SPDX-License-Identifier: MIT */
#include "relay/pulse.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

struct answer {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t answered; /* number of a question */
	atomic_bool left;
};

struct pulse {
	_Atomic uint32_t asked; /* number of the last question; 0: none yet */
	unsigned worker_count;
	struct answer answers[];
};

int pulse_create(struct pulse **pulse, unsigned worker_count)
{
	struct pulse *made =
		memory_alloc_lines(sizeof(*made) + worker_count * sizeof(made->answers[0]));

	if (!made)
		return -ENOMEM;
	made->worker_count = worker_count;
	*pulse = made;
	return 0;
}

void pulse_destroy(struct pulse *pulse)
{
	free(pulse);
}

void pulse_ask(struct pulse *pulse)
{
	atomic_fetch_add_explicit(&pulse->asked, 1, memory_order_release);
}

unsigned pulse_silent_count(const struct pulse *pulse)
{
	uint32_t asked = atomic_load_explicit(&pulse->asked, memory_order_relaxed);
	unsigned count = 0;

	for (unsigned i = 0; i < pulse->worker_count; i++) {
		const struct answer *answer = &pulse->answers[i];

		count += atomic_load_explicit(&answer->answered, memory_order_acquire) != asked &&
			 !atomic_load_explicit(&answer->left, memory_order_acquire);
	}
	return count;
}

bool pulse_answer(struct pulse *pulse, unsigned worker)
{
	struct answer *answer = &pulse->answers[worker];
	uint32_t asked = atomic_load_explicit(&pulse->asked, memory_order_acquire);

	CHECK(worker < pulse->worker_count);
	if (asked == atomic_load_explicit(&answer->answered, memory_order_relaxed))
		return false;
	atomic_store_explicit(&answer->answered, asked, memory_order_release);
	return true;
}

void pulse_leave(struct pulse *pulse, unsigned worker)
{
	CHECK(worker < pulse->worker_count);
	atomic_store_explicit(&pulse->answers[worker].left, true, memory_order_release);
}
