#include "engine_answers.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"

int engine_answers_init(struct engine_answers *answers, size_t limit)
{
	void *memory = mmap(NULL, limit * sizeof(*answers->events), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	*answers = (struct engine_answers){.events = memory, .limit = limit};
	return 0;
}

void engine_answers_finish(struct engine_answers *answers)
{
	if (answers->events)
		munmap(answers->events, answers->limit * sizeof(*answers->events));
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
