/*
 * What the admin socket answers, as text: a line of key=value for each session or ban, with the keys
 * of the access log, or one JSON document (RFC 8259). Times are RFC 3339, UTC, with milliseconds.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/log.h"
#include "forward/forward.h"
#include "limits/bans.h"
#include "stats/history.h"

/* One moment by both clocks, to turn times of CLOCK_MONOTONIC into dates. */
struct admin_clock {
	uint64_t now_ms;      /* CLOCK_MONOTONIC */
	uint64_t unix_now_ms; /* CLOCK_REALTIME */
};

/* Prints the date of a time in milliseconds of CLOCK_MONOTONIC, "never" for BANS_NEVER; returns `text`. */
const char *admin_date_print(const struct admin_clock *clock, uint64_t time_ms,
			     char text[LOG_DATE_BYTES]);

/* Where to print, and how. */
struct admin_text {
	FILE *out;
	bool json;
	struct admin_clock clock;
};

struct admin_sessions {
	const struct forwards *forwards; /* that the sessions are of */
	const struct session_record *const *records;
	unsigned count;
	bool truncated;
	/* the client that holds the address asked for, whether or not it has sessions; NULL: unknown */
	const struct cidr *lease;
	const char *lease_source; /* the address */
};

void admin_text_print_sessions(const struct admin_text *text,
			       const struct admin_sessions *sessions);
void admin_text_print_bans(const struct admin_text *text, const struct ban *bans, unsigned count);

/* Who had a source address, and when the last of its sessions that is known ended. */
struct admin_holder {
	struct cidr client;
	uint64_t closed_ms;
};

/*
 * A ban that was made, how many sessions it ended, and who had the address asked for before its
 * client, or NULL; one that was taken back.
 */
void admin_text_print_ban(const struct admin_text *text, const struct ban *ban,
			  unsigned reset_count, const struct admin_holder *previous);
void admin_text_print_unban(const struct admin_text *text, const struct ban *ban);
