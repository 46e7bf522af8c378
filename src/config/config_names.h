/*
 * Backends by name: which text is one, and whether what is said about names fits together. Nothing
 * is looked up here.
 */
#pragma once

#include "config/config.h"

/*
 * Reads the address of a backend, or NAME:PORT, from the whole of `text`. Returns NULL on success;
 * otherwise the reason and the remedy in words, a static string.
 */
const char *config_names_parse_backend(const char *text, struct config_backend *backend);

/* Counts the names of a forward, and checks what they leave no choice of. Returns 0 or -EINVAL. */
int config_names_check_forward(const struct config *config, struct config_forward *forward,
			       struct fault *fault);

/*
 * Checks the options about names, and how many names there are in all forwards, which were checked. What is
 * wrong is added to config->errors.
 */
void config_names_check(struct config *config);
