/* SPDX-License-Identifier: MIT */
#include "stats/metrics_text.h"

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
#define BACKEND_METRIC(word, kind, meaning)
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
};

static const struct row backend_rows[BACKEND_METRIC_COUNT] = {
#define METRIC(word, kind, meaning)
#define BACKEND_METRIC(word, kind, meaning) {#word, #kind},
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
};

/* A backend, and the labels that it must get. */
static const struct backend_row {
	const char *forward, *listen, *address, *name;
	const char *labels;
} backends[] = {
	{"1", "[::]:80", "192.0.2.1:80", "",
	 "forward=\"1\",listen=\"[::]:80\",backend=\"192.0.2.1:80\",name=\"\""},
	{"web.a_b-c", "0.0.0.0:80", "[2001:db8::1]:8080", "web.example",
	 "forward=\"web.a_b-c\",listen=\"0.0.0.0:80\",backend=\"[2001:db8::1]:8080\","
	 "name=\"web.example:8080\""},
	{"1", "unix:/l", "unix:/a\\b\"c\nd", "",
	 "forward=\"1\",listen=\"unix:/l\",backend=\"unix:/a\\\\b\\\"c\\nd\",name=\"\""},
	{"1", "unix:/l", "unix:/\xc3\xa4", "",
	 "forward=\"1\",listen=\"unix:/l\",backend=\"unix:/\xc3\xa4\",name=\"\""},
	{"1", "unix:/l", "unix:/\t\xff\xc3", "",
	 "forward=\"1\",listen=\"unix:/l\",backend=\"unix:/\\\\x09\\\\xff\\\\xc3\",name=\"\""},
};

#define BACKEND_COUNT ARRAY_COUNT(backends)

static void read_address(const char *text, struct sockaddr_un *name, struct addr *address)
{
	if (addr_is_local_text(text))
		cr_assert_null(addr_parse_local(text, strlen(text), name, address), "%s", text);
	else
		cr_assert_null(addr_parse(text, address), "%s", text);
}

static void print_backends(FILE *out)
{
	struct metrics_backend made[BACKEND_COUNT];
	struct sockaddr_un names[2 * BACKEND_COUNT];
	struct addr listens[BACKEND_COUNT];

	for (unsigned i = 0; i < BACKEND_COUNT; i++) {
		made[i] = (struct metrics_backend){.forward = backends[i].forward,
						   .listen = &listens[i],
						   .name = backends[i].name};
		read_address(backends[i].listen, &names[2 * i], &listens[i]);
		read_address(backends[i].address, &names[2 * i + 1], &made[i].address);
		for (unsigned j = 0; j < BACKEND_METRIC_COUNT; j++)
			made[i].values[j] = 100 * i + j;
	}
	metrics_text_print_backends(out, made, BACKEND_COUNT);
}

/* Every number differs, so that none is taken for another. */
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
	print_backends(out);
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

Test(metrics_text, every_metric_of_every_backend)
{
	char *text = print();
	char line[256];

	for (unsigned i = 0; i < BACKEND_METRIC_COUNT; i++) {
		bool counter = !strcmp(backend_rows[i].kind, "COUNTER");
		const char *suffix = counter ? "_total" : "";

		snprintf(line, sizeof(line), "# TYPE sixpipe_backend_%s%s %s", backend_rows[i].word,
			 suffix, counter ? "counter" : "gauge");
		expect_line(text, line);
		for (unsigned j = 0; j < BACKEND_COUNT; j++) {
			snprintf(line, sizeof(line), "sixpipe_backend_%s%s{%s} %u",
				 backend_rows[i].word, suffix, backends[j].labels, 100 * j + i);
			expect_line(text, line);
		}
	}
	free(text);
}

/* The lines of a metric are together: its head once, then its samples. */
Test(metrics_text, every_name_has_one_head)
{
	char *text = print();

	for (char *at = strstr(text, "# TYPE "); at; at = strstr(at + 1, "# TYPE ")) {
		char head[128];

		cr_assert_eq(sscanf(at + 7, "%100s", head), 1);
		strcat(head, " ");
		for (char *other = strstr(at + 1, "# TYPE "); other;
		     other = strstr(other + 1, "# TYPE "))
			cr_expect_neq(strncmp(other + 7, head, strlen(head)), 0, "%stwice", head);
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
