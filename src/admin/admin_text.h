/* SPDX-License-Identifier: MIT */
/*
 * The text of the admin socket's answers: for each session or ban a line of key=value, with the
 * keys of the access log; or one JSON document (RFC 8259). Times are RFC 3339, UTC, with
 * milliseconds.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/log.h"
#include "forward/forward.h"
#include "limits/bans.h"
#include "stats/history.h"

/* The present by both clocks. It converts times of CLOCK_MONOTONIC to dates. */
struct admin_clock {
	uint64_t now_ms;      /* CLOCK_MONOTONIC */
	uint64_t unix_now_ms; /* CLOCK_REALTIME */
};

/* Prints a time of CLOCK_MONOTONIC, in milliseconds, as a date; BANS_NEVER as "never". */
const char *admin_date_print(const struct admin_clock *clock, uint64_t time_ms,
			     char text[LOG_DATE_BYTES]);

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
	/* the client that leases the address asked for, with or without sessions; NULL: unknown */
	const struct cidr *lease;
	const char *lease_source; /* the leased address */
};

void admin_text_print_sessions(const struct admin_text *text,
			       const struct admin_sessions *sessions);
void admin_text_print_bans(const struct admin_text *text, const struct ban *bans, unsigned count);

/* A client that had a source address, and the end of its last known session from this address. */
struct admin_holder {
	struct cidr client;
	uint64_t closed_ms;
};

/*
 * Print a new ban, the number of sessions it ended, and the client that had the address before
 * (NULL: none); and a ban that was removed.
 */
void admin_text_print_ban(const struct admin_text *text, const struct ban *ban,
			  unsigned reset_count, const struct admin_holder *previous);
void admin_text_print_unban(const struct admin_text *text, const struct ban *ban);
