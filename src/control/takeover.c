/* SPDX-License-Identifier: MIT */
#include "control/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *takeover_word(enum takeover_kind kind)
{
	static const char *const words[] = {
		[TAKEOVER_NONE] = "none",
		[TAKEOVER_RELOAD] = "reload",
		[TAKEOVER_UPGRADE] = "upgrade",
	};

	return words[kind];
}

const char *takeover_print_failure(char text[TAKEOVER_FAILURE_BYTES], int error,
				   unsigned long long timeout_ms)
{
	if (error == -EPIPE)
		snprintf(text, TAKEOVER_FAILURE_BYTES,
			 "the new process ended before it could take over; its last lines in the "
			 "log say why");
	else if (error == -ETIMEDOUT && timeout_ms)
		snprintf(text, TAKEOVER_FAILURE_BYTES,
			 "the new process has not taken over within --takeover-timeout (%llu ms); "
			 "raise it, or find out what the new process waits for",
			 timeout_ms);
	else if (error == -ETIMEDOUT)
		snprintf(text, TAKEOVER_FAILURE_BYTES,
			 "the new process has not taken the sessions within %d ms; look whether "
			 "this host lacks CPU or memory, then try again",
			 TAKEOVER_PAUSE_LIMIT_MS);
	else if (error == -EINTR)
		snprintf(text, TAKEOVER_FAILURE_BYTES,
			 "the process was told to drain during the takeover; start it again");
	else
		snprintf(text, TAKEOVER_FAILURE_BYTES, "the state could not be handed over: %s",
			 strerror(-error));
	return text;
}
