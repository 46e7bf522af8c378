/*
 * What was set, as it was written, and where: for --dump-config and for errors. Kept beside the values
 * themselves, so that no type needs a printer that must agree with its parser.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"
#include "config/options.h"

#define CONFIG_ERROR_LIMIT 100 /* more are only counted */

enum config_origin_kind {
	CONFIG_ORIGIN_DEFAULT,
	CONFIG_ORIGIN_FILE,
	CONFIG_ORIGIN_ENVIRONMENT,
	CONFIG_ORIGIN_COMMAND_LINE,
};

struct config_origin {
	enum config_origin_kind kind;
	unsigned line; /* of the file, from 1 */
};

struct config_value {
	const struct option_spec *option;
	const char *text;
	struct config_origin origin;
};

/* The values of one owner: for a list every element in its order, otherwise what holds. All zeros: none. */
struct config_values {
	struct config_value *list;
	unsigned count;
};

/* Memory that lives as long as the configuration. NULL: none. */
struct config_kept {
	struct config_kept *next;
	char bytes[];
};

/* What is wrong, all of it; all zeros: nothing. */
struct config_errors {
	struct fault *list;
	unsigned count; /* at most CONFIG_ERROR_LIMIT */
	unsigned more;	/* than that */
};

/* Whether giving the option again adds to what it has. */
bool config_is_list(const struct option_spec *option);

/* Adds a value, or replaces the one that is there unless the option is a list. */
void config_values_put(struct config_values *values, const struct config_value *value);
void config_values_copy(struct config_values *values, const struct config_values *from);
void config_values_finish(struct config_values *values);

/* The first value of the option at or behind place `*at`, which is moved behind it; NULL: no more. */
const struct config_value *config_values_next(const struct config_values *values,
					      const struct option_spec *option, unsigned *at);

/* reallocarray(3); memory that cannot be had at the start ends the program. */
void *config_grow(void *array, size_t count, size_t element_bytes);

/* Returns so much memory, aligned as a pointer is, or a copy of a text; config_kept_finish() frees it. */
void *config_keep(struct config_kept **kept, size_t bytes);
const char *config_text_keep(struct config_kept **kept, const char *text);
void config_kept_finish(struct config_kept **kept);

/* Adds what is not there already. */
void config_errors_add(struct config_errors *errors, const struct fault *fault);

/* The same for a static "REASON; REMEDY" that is about no option. */
void config_errors_add_words(struct config_errors *errors, const char *words);
void config_errors_finish(struct config_errors *errors);
