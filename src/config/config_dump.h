/* --dump-config: the configuration in effect, as a file that --config reads. */
#pragma once

#include "config/config.h"

/*
 * Prints every value as it was written, its origin behind it as a comment. All that holds for a forward stands
 * in its section, so reading it again gives the same configuration. Takes one that config_check() has
 * accepted. Returns the text, which the caller frees, or NULL with `fault` where a value has no place in a
 * file: with control characters in it, blanks around it or what would be a comment.
 */
char *config_dump(const struct config *config, struct fault *fault);
