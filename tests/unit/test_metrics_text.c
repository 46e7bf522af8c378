#include "metrics_text.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

TestSuite(metrics_text, .fini = support_check_leaks);

static const struct row {
	const char *word;
	const char *kind;
} rows[METRIC_COUNT] = {
#define METRIC(word, kind, meaning) {#word, #kind},
#include "metrics.def"
#undef METRIC
};

/* Every number differs, so that none can stand for another. */
static char *print(void)
{
	struct metrics_totals totals;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	cr_assert_not_null(out);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		totals.values[i] = UINT64_MAX - i;
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		totals.closed_by_reason[i] = 1000 + i;
	metrics_text_print(out, &totals);
	cr_assert(!fclose(out));
	return text;
}

static void expect_line(const char *text, const char *line)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "\n%s\n", line);
	cr_expect_not_null(strstr(text, whole), "no line '%s'", line);
}

Test(metrics_text, every_metric_has_its_line_and_type)
{
	char *text = print();
	char line[200];

	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		bool counter = !strcmp(rows[i].kind, "COUNTER");
		const char *suffix = counter ? "_total" : "";

		snprintf(line, sizeof(line), "sixpipe_%s%s %" PRIu64, rows[i].word, suffix,
			 UINT64_MAX - i);
		expect_line(text, line);
		snprintf(line, sizeof(line), "# TYPE sixpipe_%s%s %s", rows[i].word, suffix,
			 counter ? "counter" : "gauge");
		expect_line(text, line);
	}
	free(text);
}

Test(metrics_text, every_close_reason_is_a_label)
{
	char *text = print();
	char line[200];

	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
		snprintf(line, sizeof(line),
			 "sixpipe_sessions_closed_by_reason_total{reason=\"%s\"} %u",
			 close_reason_rule((enum close_reason)i)->word, 1000 + i);
		expect_line(text, line);
	}
	free(text);
}

/* HELP and TYPE stand before the first sample of their name; a backslash in a HELP would escape. */
Test(metrics_text, the_form_of_every_line)
{
	char *text = print(), *rest = NULL;
	char help[128] = "", type[128] = "";

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char name[128] = "";

		if (sscanf(line, "# HELP %127s", help) == 1) {
			cr_expect_null(strchr(line, '\\'), "%s", line);
			continue;
		}
		if (sscanf(line, "# TYPE %127s", type) == 1) {
			cr_expect_str_eq(type, help, "%s", line);
			continue;
		}
		cr_assert_eq(sscanf(line, "%127[a-z0-9_]", name), 1, "%s", line);
		cr_expect_str_eq(name, type, "%s", line);
	}
	free(text);
}
