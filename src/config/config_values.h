/* SPDX-License-Identifier: MIT */
/*
 * The texts of all values and where each was given, for --dump-config and for errors. They are kept
 * beside the parsed values, so no type needs a printer.
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
	unsigned line;	 /* of the file, from 1 */
	unsigned number; /* in SIXPIPE_FORWARD_1_LISTEN; 0: the variable has none */
};

struct config_value {
	const struct option_spec *option;
	const char *text;
	struct config_origin origin;
};

/*
 * The values of one owner: all elements of a list, in their order; otherwise the last value. All
 * zeros: none.
 */
struct config_values {
	struct config_value *list;
	unsigned count;
};

/* Memory that lives as long as the configuration. NULL: none. */
struct config_kept {
	struct config_kept *next;
	char bytes[];
};

/* All faults that were found; all zeros: none. */
struct config_errors {
	struct fault *list;
	unsigned count;	 /* at most CONFIG_ERROR_LIMIT */
	unsigned more;	 /* than that */
	bool takes_over; /* the faults of a process that inherits: config->inherited */
};

/* Whether the option may be given again and adds to its values. */
bool config_is_list(const struct option_spec *option);

/* Adds a value. An option that is no list has one value, which is replaced. */
void config_values_put(struct config_values *values, const struct config_value *value);
void config_values_copy(struct config_values *values, const struct config_values *from);
void config_values_finish(struct config_values *values);

/*
 * The next value of the option, from position `*at` on; moves `*at` after the value. NULL: no more.
 */
const struct config_value *config_values_next(const struct config_values *values,
					      const struct option_spec *option, unsigned *at);

/* reallocarray(3). The program ends if there is no memory: CHECK(). */
void *config_grow(void *array, size_t count, size_t element_bytes);

/*
 * Returns `bytes` of memory, aligned like a pointer, or a copy of a text. config_kept_finish()
 * frees it.
 */
void *config_keep(struct config_kept **kept, size_t bytes);
const char *config_text_keep(struct config_kept **kept, const char *text);
void config_kept_finish(struct config_kept **kept);

/*
 * Adds a fault, unless the same text is there already. If `takes_over` is set, the remedy of a
 * missing permission (EACCES, EPERM) names the user of the process, and says that a restart has the
 * privileges which a takeover lacks.
 */
void config_errors_add(struct config_errors *errors, const struct fault *fault);

/* The same for a static "REASON; REMEDY" that is about no option. */
void config_errors_add_words(struct config_errors *errors, const char *words);
void config_errors_finish(struct config_errors *errors);
