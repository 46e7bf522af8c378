/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const char separator[] = "; ";

/* The last separator in `text`, or its end. */
static const char *find_remedy(const char *text)
{
	const char *found = NULL;

	for (const char *at = text; (at = strstr(at, separator)); at++)
		found = at;
	return found ? found : text + strlen(text);
}

static void begin(struct fault *fault, const char *option, const char *value)
{
	memset(fault, 0, sizeof(*fault));
	fault->option = option;
	if (!value)
		return;
	fault->kind = FAULT_OF_VALUE;
	if (snprintf(fault->value, sizeof(fault->value), "%s", value) >= FAULT_VALUE_BYTES)
		memcpy(fault->value + FAULT_VALUE_BYTES - sizeof("..."), "...", sizeof("..."));
}

int fault_set_list(struct fault *fault, const char *option, const char *value, const char *format,
		   va_list arguments)
{
	char reason_format[FAULT_REASON_BYTES], text[FAULT_REASON_BYTES + FAULT_REMEDY_BYTES];
	size_t length = (size_t)(find_remedy(format) - format);
	va_list again;
	int reason_length;

	begin(fault, option, value);
	CHECK(length < sizeof(reason_format));
	memcpy(reason_format, format, length);
	reason_format[length] = '\0';
	va_copy(again, arguments);
	vsnprintf(text, sizeof(text), format, again);
	va_end(again);
	reason_length = vsnprintf(fault->reason, sizeof(fault->reason), reason_format, arguments);
	if (format[length] && (size_t)reason_length < strlen(text))
		snprintf(fault->remedy, sizeof(fault->remedy), "%s",
			 text + reason_length + strlen(separator));
	return -EINVAL;
}

int fault_set(struct fault *fault, const char *option, const char *value, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fault_set_list(fault, option, value, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int fault_set_object(struct fault *fault, const char *option, const char *object,
		     const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fault_set_list(fault, option, object, format, arguments);
	va_end(arguments);
	fault->kind = FAULT_OF_OBJECT;
	return -EINVAL;
}

int fault_set_words(struct fault *fault, const char *option, const char *value, const char *words)
{
	const char *remedy = find_remedy(words);

	begin(fault, option, value);
	snprintf(fault->reason, sizeof(fault->reason), "%.*s", (int)(remedy - words), words);
	if (*remedy)
		snprintf(fault->remedy, sizeof(fault->remedy), "%s", remedy + strlen(separator));
	return -EINVAL;
}

const char *fault_print_reason(const struct fault *fault, char text[FAULT_TEXT_BYTES])
{
	bool of_object = fault->kind == FAULT_OF_OBJECT, quoted = fault->kind == FAULT_OF_VALUE;
	const char *name = of_object ? "" : fault->name;
	const char *dashes = of_object || !fault->option || *name ? "" : "--";
	const char *quote = quoted ? "'" : "";

	if (*dashes)
		name = fault->option;
	snprintf(text, FAULT_TEXT_BYTES, "%s%s%s%s%s%s%s%s", dashes, name,
		 quoted && *name ? " " : "", quote, fault->value, quote,
		 *name || *fault->value || quoted ? ": " : "", fault->reason);
	return text;
}

const char *fault_print(const struct fault *fault, char text[FAULT_TEXT_BYTES])
{
	size_t length = strlen(fault_print_reason(fault, text));
	bool given = fault->kind == FAULT_OF_OBJECT && *fault->name;

	snprintf(text + length, FAULT_TEXT_BYTES - length, "%s%s%s%s%s",
		 *fault->remedy ? separator : "", fault->remedy, given ? " (given by " : "",
		 given ? fault->name : "", given ? ")" : "");
	return text;
}
