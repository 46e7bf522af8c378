/* SPDX-License-Identifier: MIT */
/*
 * `sixpipe healthcheck`: asks a running sixpipe at its --metrics address whether it is ready, for
 * images without a shell and an HTTP client.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* The time limit of the whole command. */
#define HEALTHCHECK_LIMIT_MS 2000

struct healthcheck_answer {
	unsigned status; /* 200 ... */
	char line[256];	 /* the first line of the body, "ready"; cut off where it is longer */
};

/*
 * Reads an HTTP/1.x answer, or its beginning (RFC 9112). Bytes of the line that are not printable
 * become '?'. Returns false if it is no HTTP answer.
 */
bool healthcheck_parse(const char *text, struct healthcheck_answer *answer);

/*
 * Runs the command (commands.def). Prints one line: on stdout if the answer is 200, otherwise on
 * stderr with the reason and the remedy. Returns the exit code.
 */
int healthcheck_main(int argc, char **argv);
