#include "metrics_text.h"

#include <inttypes.h>

#include "check.h"

enum kind { COUNTER, GAUGE };

static const struct row {
	enum kind kind;
	const char *meaning;
} rows[METRIC_COUNT] = {
#define METRIC(word, kind, meaning) {kind, meaning},
#include "metrics.def"
#undef METRIC
};

static void print_metric(FILE *out, enum metric metric, uint64_t value)
{
	const struct row *row = &rows[metric];
	const char *word = metrics_word(metric);
	const char *suffix = row->kind == COUNTER ? "_total" : "";

	fprintf(out, "# HELP sixpipe_%s%s %s\n", word, suffix, row->meaning);
	fprintf(out, "# TYPE sixpipe_%s%s %s\n", word, suffix,
		row->kind == COUNTER ? "counter" : "gauge");
	fprintf(out, "sixpipe_%s%s %" PRIu64 "\n", word, suffix, value);
}

void metrics_text_print(FILE *out, const struct metrics_totals *totals)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		print_metric(out, (enum metric)i, totals->values[i]);
	fputs("# HELP sixpipe_sessions_closed_by_reason_total sessions ended, by why they ended\n"
	      "# TYPE sixpipe_sessions_closed_by_reason_total counter\n",
	      out);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		fprintf(out, "sixpipe_sessions_closed_by_reason_total{reason=\"%s\"} %" PRIu64 "\n",
			close_reason_rule((enum close_reason)i)->word, totals->closed_by_reason[i]);
}
