/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with the configuration or with this host, as a value: the option, its value, the
 * reason and the remedy. config/config_origin.h adds where the option was given.
 */
#pragma once

#include <stdarg.h>

#include "base/util.h"

/* Room for the beginning of a file's name, a line and an option's name. */
#define FAULT_NAME_BYTES   320
#define FAULT_VALUE_BYTES  320
#define FAULT_REASON_BYTES 512
#define FAULT_REMEDY_BYTES 384
#define FAULT_TEXT_BYTES                                                                           \
	(FAULT_NAME_BYTES + FAULT_VALUE_BYTES + FAULT_REASON_BYTES + FAULT_REMEDY_BYTES + 32)

enum fault_kind {
	FAULT_OF_OPTION, /* the option is wrong with any value; or the fault has no option */
	FAULT_OF_VALUE,	 /* the option's value is wrong */
	FAULT_OF_OBJECT, /* a file, a line of a file or the like is wrong; `value` names it */
};

struct fault {
	const char *option; /* as options.def calls it, static; NULL: none */
	enum fault_kind kind;
	char name[FAULT_NAME_BYTES];   /* where the option was given, "FILE:8: deny"; "": unknown */
	char value[FAULT_VALUE_BYTES]; /* a longer value is cut and ends in "..." */
	char reason[FAULT_REASON_BYTES];
	char remedy[FAULT_REMEDY_BYTES]; /* "": none */
};

/*
 * Sets all of a fault. The format, as for printf(3), is "REASON; REMEDY" or "REASON". The last "; "
 * of the format divides the two; a "; " in an argument does not. Without a `value` (NULL) the kind
 * is FAULT_OF_OPTION, otherwise FAULT_OF_VALUE. Returns -EINVAL.
 */
PRINTF_LIKE(4, 5)
int fault_set(struct fault *fault, const char *option, const char *value, const char *format, ...);
__attribute__((format(printf, 4, 0))) int fault_set_list(struct fault *fault, const char *option,
							 const char *value, const char *format,
							 va_list arguments);

/* As fault_set(), for FAULT_OF_OBJECT. `option` is the option that named the object, or NULL. */
PRINTF_LIKE(4, 5)
int fault_set_object(struct fault *fault, const char *option, const char *object,
		     const char *format, ...);

/* fault_set() with the static "REASON; REMEDY" that a parser has returned. */
int fault_set_words(struct fault *fault, const char *option, const char *value, const char *words);

/*
 * Prints "--option 'value': reason; remedy", with `name` in place of "--option" if `name` is set.
 * For FAULT_OF_OBJECT: "object: reason; remedy (given by NAME)". Returns `text`.
 */
const char *fault_print(const struct fault *fault, char text[FAULT_TEXT_BYTES]);

/* As fault_print(), without the remedy and without "(given by NAME)". */
const char *fault_print_reason(const struct fault *fault, char text[FAULT_TEXT_BYTES]);
