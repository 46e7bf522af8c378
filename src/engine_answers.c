#include "engine_answers.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "host.h"

int engine_answers_init(struct engine_answers *answers, size_t limit)
{
	*answers = (struct engine_answers){.limit = limit};
	answers->events = host_reserve_memory(limit * sizeof(*answers->events));
	return answers->events ? 0 : -ENOMEM;
}

void engine_answers_finish(struct engine_answers *answers)
{
	if (answers->events)
		host_release_memory(answers->events, answers->limit * sizeof(*answers->events));
	memset(answers, 0, sizeof(*answers));
}

size_t engine_answers_count(const struct engine_answers *answers)
{
	return answers->end - answers->first;
}

void engine_answers_add(struct engine_answers *answers, uint64_t token, int32_t result, bool more)
{
	size_t count = engine_answers_count(answers);

	if (answers->end == answers->limit) {
		CHECK(count < answers->limit);
		memmove(answers->events, answers->events + answers->first,
			count * sizeof(*answers->events));
		answers->first = 0;
		answers->end = count;
	}
	answers->events[answers->end++] =
		(struct engine_event){.token = token, .result = result, .more = more};
}

unsigned engine_answers_take(struct engine_answers *answers, struct engine_event *events,
			     unsigned limit)
{
	size_t count = MIN(engine_answers_count(answers), limit);

	memcpy(events, answers->events + answers->first, count * sizeof(*events));
	answers->first += count;
	if (answers->first == answers->end)
		answers->first = answers->end = 0;
	return (unsigned)count;
}
