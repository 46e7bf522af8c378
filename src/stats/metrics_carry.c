/* SPDX-License-Identifier: MIT */
#include "stats/metrics_carry.h"

#include <errno.h>
#include <string.h>

/* Longer than every word of metrics.def and close_reasons.def. */
#define WORD_BYTES 64

static void put(struct carrier *carrier, const char *word, uint64_t value)
{
	carrier_put_text(carrier, word);
	carrier_put(carrier, value);
}

void metrics_write(const struct metrics_totals *totals, struct carrier *carrier)
{
	carrier_begin(carrier, CARRIER_COUNTERS);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		if (metrics_is_counter((enum metric)i))
			put(carrier, metrics_word((enum metric)i), totals->values[i]);
	put(carrier, "", 0);
	carrier_end(carrier);
	carrier_begin(carrier, CARRIER_CLOSED);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		put(carrier, close_reason_rule((enum close_reason)i)->word,
		    totals->closed_by_reason[i]);
	put(carrier, "", 0);
	carrier_end(carrier);
}

static void add(struct metrics *metrics, const char *word, uint64_t amount)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		if (metrics_is_counter((enum metric)i) &&
		    !strcmp(metrics_word((enum metric)i), word))
			metrics_add(metrics, (enum metric)i, amount);
}

static void add_closed(struct metrics *metrics, const char *word, uint64_t amount)
{
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		if (!strcmp(close_reason_rule((enum close_reason)i)->word, word))
			metrics_count_closes(metrics, (enum close_reason)i, amount);
}

int metrics_read(struct metrics *metrics, struct carrier *carrier, enum carrier_kind kind)
{
	char word[WORD_BYTES];

	if (kind != CARRIER_COUNTERS && kind != CARRIER_CLOSED)
		return -ENOTSUP;
	while (*carrier_take_text(carrier, word, sizeof(word))) {
		uint64_t amount = carrier_take(carrier);

		if (!carrier_is_whole(carrier))
			break;
		if (kind == CARRIER_COUNTERS)
			add(metrics, word, amount);
		else
			add_closed(metrics, word, amount);
	}
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}
