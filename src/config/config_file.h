/* SPDX-License-Identifier: MIT */
/*
 * The file of --config: INI, with the options' names without dashes. docs/configuration.md is the
 * user's description.
 *
 * - Lines before the first section, or in [global], set the options of the process and the defaults
 *   of all forwards.
 * - Each [forward NAME] is a forward; its options replace the defaults.
 */
#pragma once

#include "config/config.h"

#define CONFIG_FILE_LIMIT_BYTES (16 << 20)
#define CONFIG_FILE_LINE_LIMIT	8192 /* bytes of a line */
#define CONFIG_FILE_VALUE_LIMIT                                                                    \
	4096 /* bytes of a value; its line has room for more, as --dump-config needs */

/*
 * Reads the file at `path`, which may be a pipe, into a configuration without forwards. Adds every
 * fault to config->errors with FILE:LINE, and reads on after it.
 */
void config_file_read(struct config *config, const char *path);

/*
 * The same for a text of `count` bytes of any values. Errors and origins show `path` as its file.
 */
void config_file_parse(struct config *config, const char *path, const char *text, size_t count);
