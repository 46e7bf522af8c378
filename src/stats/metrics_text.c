/* SPDX-License-Identifier: MIT */
#include "stats/metrics_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"

enum kind { COUNTER, GAUGE };

/* First the metrics of the process, then those of a backend. */
static const struct row {
	enum kind kind;
	const char *word;
	const char *meaning;
} rows[METRIC_COUNT + BACKEND_METRIC_COUNT] = {
#define METRIC(word, kind, meaning) [METRIC_##word] = {kind, #word, meaning},
#define BACKEND_METRIC(word, kind, meaning)                                                        \
	[METRIC_COUNT + BACKEND_METRIC_##word] = {kind, "backend_" #word, meaning},
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
};

const char *metrics_word(enum metric metric)
{
	CHECK((unsigned)metric < METRIC_COUNT);
	return rows[metric].word;
}

bool metrics_is_counter(enum metric metric)
{
	CHECK((unsigned)metric < METRIC_COUNT);
	return rows[metric].kind == COUNTER;
}

static void print_name(FILE *out, const struct row *row)
{
	fprintf(out, "sixpipe_%s%s", row->word, row->kind == COUNTER ? "_total" : "");
}

/* Prints the lines before the samples of a metric. */
static void print_head(FILE *out, const struct row *row)
{
	fputs("# HELP ", out);
	print_name(out, row);
	fprintf(out, " %s\n# TYPE ", row->meaning);
	print_name(out, row);
	fprintf(out, " %s\n", row->kind == COUNTER ? "counter" : "gauge");
}

void metrics_text_print(FILE *out, const struct metrics_totals *totals)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		print_head(out, &rows[i]);
		print_name(out, &rows[i]);
		fprintf(out, " %" PRIu64 "\n", totals->values[i]);
	}
	fputs("# HELP sixpipe_sessions_closed_by_reason_total sessions that have ended, by reason\n"
	      "# TYPE sixpipe_sessions_closed_by_reason_total counter\n",
	      out);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		fprintf(out, "sixpipe_sessions_closed_by_reason_total{reason=\"%s\"} %" PRIu64 "\n",
			close_reason_rule((enum close_reason)i)->word, totals->closed_by_reason[i]);
}

/*
 * A label's value must be UTF-8, or Prometheus refuses all of the text; but the path of a local
 * socket may have any bytes. Bytes that are not UTF-8 are printed as in the log, as \xHH.
 */
static void print_value(FILE *out, const char *value)
{
	size_t left = strlen(value), length;

	for (; left; value += length, left -= length) {
		length = utf8_printable(value, left);
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		if (length) {
			fwrite(value, 1, length, out);
			continue;
		}
		length = 1;
		if (*value == '\n')
			fputs("\\n", out);
		else
			fprintf(out, "\\\\x%02x", (unsigned char)*value);
	}
}

static void print_labels(FILE *out, const struct metrics_backend *backend)
{
	char text[ADDR_TEXT_BYTES];

	fputs("{forward=\"", out);
	print_value(out, backend->forward);
	fputs("\",listen=\"", out);
	print_value(out, addr_print(backend->listen, text));
	fputs("\",backend=\"", out);
	print_value(out, addr_print(&backend->address, text));
	fputs("\",name=\"", out);
	print_value(out, backend->name);
	if (*backend->name)
		fprintf(out, ":%u", addr_port(&backend->address));
	fputs("\"}", out);
}

void metrics_text_print_backends(FILE *out, const struct metrics_backend *backends, size_t count)
{
	for (unsigned i = 0; i < BACKEND_METRIC_COUNT; i++) {
		const struct row *row = &rows[METRIC_COUNT + i];

		print_head(out, row);
		for (size_t j = 0; j < count; j++) {
			print_name(out, row);
			print_labels(out, &backends[j]);
			fprintf(out, " %" PRIu64 "\n", backends[j].values[i]);
		}
	}
}
