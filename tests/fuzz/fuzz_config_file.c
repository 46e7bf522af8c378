/* SPDX-License-Identifier: MIT */
/*
 * config_file.h: any bytes are either a configuration, and then what --dump-config prints of it is the
 * same one, or each error names a line of the file. Only a missing forward has no line: that error names the file.
 */
#include "config/config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/config_dump.h"
#include "fuzz.h"

static const char no_forward[] = "--config 'f': has no forward";

static void check_errors(const struct config *config, const uint8_t *bytes, size_t count)
{
	unsigned line, lines = 1;

	for (size_t i = 0; i < count; i++)
		lines += bytes[i] == '\n';
	CHECK(config->errors.count <= CONFIG_ERROR_LIMIT);
	for (unsigned i = 0; i < config->errors.count; i++) {
		char text[FAULT_TEXT_BYTES];
		const char *error = fault_print(&config->errors.list[i], text);

		CHECK(strlen(error) < sizeof(text) && strchr(error, ';'));
		if (!strncmp(error, no_forward, strlen(no_forward)))
			continue;
		CHECK(sscanf(error, "f:%u: ", &line) == 1 && line >= 1 && line <= lines);
	}
}

/* Cuts the origins off, in place. */
static void strip(char *dump)
{
	char *to = dump;

	for (char *at = dump; *at;) {
		if (!strncmp(at, "  # ", 4))
			at += strcspn(at, "\n");
		else
			*to++ = *at++;
	}
	*to = '\0';
}

static void check_dump(const struct config *config)
{
	struct fault fault;
	char *dump = config_dump(config, &fault), *second;
	struct config again;

	CHECK(dump);
	config_init(&again);
	config_file_parse(&again, "f", dump, strlen(dump));
	CHECK(!config_check(&again));
	second = config_dump(&again, &fault);
	CHECK(second);
	strip(dump);
	strip(second);
	CHECK(!strcmp(dump, second));
	free(dump);
	free(second);
	config_finish(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct config config;

	config_init(&config);
	config_file_parse(&config, "f", (const char *)bytes, count);
	if (config_check(&config))
		check_errors(&config, bytes, count);
	else
		check_dump(&config);
	config_finish(&config);
	return 0;
}
