/*
 * `sixpipe healthcheck`: asks a running sixpipe's --metrics address how it is, for images that have
 * no shell and no HTTP client.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* The most that it waits, for everything together. */
#define HEALTHCHECK_LIMIT_MS 2000

struct healthcheck_answer {
	unsigned status; /* 200 ... */
	char line[256];	 /* the first line of the body, "ready"; cut off where it is longer */
};

/*
 * Reads an HTTP/1.x answer, as much of it as came (RFC 9112). Returns false where it is none; what
 * is not printable in the line is shown as '?'.
 */
bool healthcheck_parse(const char *text, struct healthcheck_answer *answer);

/*
 * Runs the command (commands.def): prints one line, on stdout when the answer is 200, otherwise on
 * stderr with the reason and what to do. Returns the exit code.
 */
int healthcheck_main(int argc, char **argv);
