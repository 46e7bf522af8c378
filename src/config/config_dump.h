/* SPDX-License-Identifier: MIT */
/* --dump-config: the configuration in effect, as a file that --config reads. */
#pragma once

#include "config/config.h"

/*
 * Prints every value as it was written, with its origin as a comment. A forward's section has all
 * options of the forward, so --config reads the same configuration. `config` must have passed
 * config_check(). Returns the text, which the caller frees, or NULL with `fault` if a file cannot
 * have a value: one with control characters, blanks around it or the beginning of a comment.
 */
char *config_dump(const struct config *config, struct fault *fault);
