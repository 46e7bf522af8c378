/* SPDX-License-Identifier: MIT */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *file, int line, const char *condition)
{
	char text[256];
	int length = snprintf(text, sizeof(text), "sixpipe: internal error: %s:%d: %s\n", file,
			      line, condition);

	if (length > 0) {
		size_t bytes = MIN((size_t)length, sizeof(text) - 1);
		ssize_t written = write(STDERR_FILENO, text, bytes);

		(void)written; /* an error here has no remedy: the process ends */
	}
	abort();
}
