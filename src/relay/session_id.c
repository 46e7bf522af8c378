/* SPDX-License-Identifier: MIT */
/* The ids of sessions as text: session.h. */
#include "relay/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BOOT_DIGITS 16

const char *session_id_print(uint64_t boot_id, uint64_t id, char text[SESSION_ID_TEXT_BYTES])
{
	snprintf(text, SESSION_ID_TEXT_BYTES, "%016" PRIx64 "-%" PRIu64, boot_id, id);
	return text;
}

bool session_id_parse(const char *text, uint64_t *boot_id, uint64_t *id)
{
	char printed[SESSION_ID_TEXT_BYTES];

	if (strspn(text, "0123456789abcdef") != BOOT_DIGITS || text[BOOT_DIGITS] != '-' ||
	    sscanf(text, "%" SCNx64 "-%" SCNu64, boot_id, id) != 2)
		return false;
	/* sscanf() takes signs, blanks and numbers that are too large */
	return !strcmp(session_id_print(*boot_id, *id, printed), text);
}
