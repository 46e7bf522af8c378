/* SPDX-License-Identifier: MIT */
/* Why sessions end; the reasons are listed in close_reasons.def. */
#pragma once

enum close_reason {
#define CLOSE_REASON(word, side, how, meaning, remedy) CLOSE_##word,
#include "stats/close_reasons.def"
#undef CLOSE_REASON
	CLOSE_REASON_COUNT
};

enum close_side { CLOSE_SIDE_CLIENT, CLOSE_SIDE_BACKEND, CLOSE_SIDE_NONE };
enum close_how { CLOSE_HOW_FIN, CLOSE_HOW_RELAY, CLOSE_HOW_RST };

struct close_rule {
	const char *word;
	enum close_side failed_side;
	enum close_how how;
};

/* The row of `reason` in close_reasons.def; static. */
const struct close_rule *close_reason_rule(enum close_reason reason);

/*
 * The reason for an error (an errno, of either sign) of the client's socket (`side` 0) or the
 * backend's socket (1).
 */
enum close_reason close_reason_of_error(unsigned side, int error);
