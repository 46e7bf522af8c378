/*
 * The file of --config: INI, options by their names without dashes. What stands before the first section or in
 * [global] is for the process and, of the options of a forward, the default for all; each [forward NAME] is a
 * forward, whose own options go before that. docs/configuration.md says it to users.
 */
#pragma once

#include "config/config.h"

#define CONFIG_FILE_LIMIT_BYTES (16 << 20)
#define CONFIG_FILE_LINE_LIMIT	8192 /* bytes of a line */
#define CONFIG_FILE_VALUE_LIMIT                                                                    \
	4096 /* bytes of a value; its line has room for more, as --dump-config needs */
#define CONFIG_NAME_LIMIT 63 /* bytes of a forward's name */

/*
 * Reads the file at `path`, which may be a pipe, into a configuration without forwards. What is wrong is
 * added to config->errors, each with FILE:LINE, reason and remedy, and reading goes on behind it.
 */
void config_file_read(struct config *config, const char *path);

/* The same for a text of `count` bytes, which may be any; `path` is what errors and origins call it. */
void config_file_parse(struct config *config, const char *path, const char *text, size_t count);
