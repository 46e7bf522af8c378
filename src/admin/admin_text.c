/* SPDX-License-Identifier: MIT */
#include "admin/admin_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "stats/close_reason.h"

const char *admin_date_print(const struct admin_clock *clock, uint64_t time_ms,
			     char text[LOG_DATE_BYTES])
{
	if (time_ms == BANS_NEVER)
		return strcpy(text, "never");
	return log_date_print(clock->unix_now_ms + time_ms - clock->now_ms, text);
}

/* Prints the first key of a record and its value. */
static void print_string(const struct admin_text *text, const char *key, const char *value)
{
	if (!text->json) {
		fprintf(text->out, "%s=%s", key, value);
		return;
	}
	fprintf(text->out, "\"%s\":", key);
	json_print_string(text->out, value);
}

static void print_separator(const struct admin_text *text)
{
	fputc(text->json ? ',' : ' ', text->out);
}

/* Prints a further key and its value. */
static void print_next(const struct admin_text *text, const char *key, const char *value)
{
	print_separator(text);
	print_string(text, key, value);
}

static void print_date(const struct admin_text *text, const char *key, uint64_t time_ms)
{
	char date[LOG_DATE_BYTES];

	print_next(text, key, admin_date_print(&text->clock, time_ms, date));
}

static void print_number(const struct admin_text *text, const char *key, uint64_t value)
{
	print_separator(text);
	fprintf(text->out, text->json ? "\"%s\":%" PRIu64 : "%s=%" PRIu64, key, value);
}

static void print_endpoint(const struct admin_text *text, const char *key,
			   const struct addr *endpoint)
{
	char printed[ADDR_TEXT_BYTES];

	if (text->json && !endpoint->length_bytes)
		fprintf(text->out, ",\"%s\":null", key);
	else
		print_next(text, key, addr_print(endpoint, printed));
}

static void print_session(const struct admin_text *text, const struct forwards *forwards,
			  const struct session_record *record)
{
	fputs(text->json ? "{" : "", text->out);
	print_string(text, "state", record->closed_ms ? "closed" : "live");
	print_endpoint(text, "client", &record->client);
	print_next(text, "forward", forwards->list[record->forward].config->name);
	print_endpoint(text, "listen", &forwards->list[record->forward].listen);
	print_endpoint(text, "backend", &record->backend);
	print_endpoint(text, "source", &record->source);
	print_date(text, "since", record->opened_ms);
	print_number(text, "bytes_up", record->bytes_up);
	print_number(text, "bytes_down", record->bytes_down);
	if (record->closed_ms) {
		print_date(text, "closed", record->closed_ms);
		print_next(text, "reason",
			   close_reason_rule((enum close_reason)record->reason)->word);
	}
	fputs(text->json ? "}" : "\n", text->out);
}

static void print_lease(const struct admin_text *text, const struct admin_sessions *sessions)
{
	char client[CIDR_TEXT_BYTES];

	if (!text->json)
		fputs("state=lease ", text->out);
	print_string(text, "client", cidr_print(sessions->lease, client));
	print_next(text, "source", sessions->lease_source);
}

void admin_text_print_sessions(const struct admin_text *text, const struct admin_sessions *sessions)
{
	if (sessions->lease) {
		fputs(text->json ? "{\"lease\":{" : "", text->out);
		print_lease(text, sessions);
		fputs(text->json ? "},\"sessions\":[" : "\n", text->out);
	} else if (text->json) {
		fputs("{\"lease\":null,\"sessions\":[", text->out);
	}
	for (unsigned i = 0; i < sessions->count; i++) {
		if (text->json && i)
			fputc(',', text->out);
		print_session(text, sessions->forwards, sessions->records[i]);
	}
	if (text->json)
		fprintf(text->out, "],\"truncated\":%s}\n", sessions->truncated ? "true" : "false");
	else if (sessions->truncated)
		fputs("truncated=true\n", text->out);
}

static void print_ban(const struct admin_text *text, const struct ban *ban)
{
	char client[CIDR_TEXT_BYTES];

	print_string(text, "client", cidr_print_on_link(&ban->client, client));
	print_next(text, "given", ban->given);
	print_date(text, "since", ban->since_ms);
	print_date(text, "until", ban->expires_ms);
}

void admin_text_print_bans(const struct admin_text *text, const struct ban *bans, unsigned count)
{
	fputs(text->json ? "{\"bans\":[" : "", text->out);
	for (unsigned i = 0; i < count; i++) {
		fputs(!text->json ? "" : i ? ",{" : "{", text->out);
		print_ban(text, &bans[i]);
		fputs(text->json ? "}" : "\n", text->out);
	}
	fputs(text->json ? "]}\n" : "", text->out);
}

/* The client that had the address before. A ban meant for this client came too late. */
static void print_previous(const struct admin_text *text, const struct admin_holder *previous)
{
	char client[CIDR_TEXT_BYTES];

	if (!previous) {
		fputs(text->json ? ",\"previous\":null" : "", text->out);
		return;
	}
	fputs(text->json ? ",\"previous\":{" : " ", text->out);
	print_string(text, text->json ? "client" : "previous",
		     cidr_print_on_link(&previous->client, client));
	print_date(text, text->json ? "closed" : "previous_closed", previous->closed_ms);
	fputs(text->json ? "}" : "", text->out);
}

void admin_text_print_ban(const struct admin_text *text, const struct ban *ban,
			  unsigned reset_count, const struct admin_holder *previous)
{
	fputs(text->json ? "{\"ban\":{" : "", text->out);
	print_ban(text, ban);
	fputs(text->json ? "}" : "", text->out);
	print_number(text, "sessions_reset", reset_count);
	print_previous(text, previous);
	fputs(text->json ? "}\n" : "\n", text->out);
}

void admin_text_print_unban(const struct admin_text *text, const struct ban *ban)
{
	fputs(text->json ? "{\"unban\":{" : "", text->out);
	print_ban(text, ban);
	fputs(text->json ? "}}\n" : "\n", text->out);
}
