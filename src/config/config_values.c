/* SPDX-License-Identifier: MIT */
#include "config/config_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "os/host.h"

void *config_grow(void *array, size_t count, size_t element_bytes)
{
	void *grown = reallocarray(array, count, element_bytes);

	CHECK(grown);
	return grown;
}

bool config_is_list(const struct option_spec *option)
{
	return option->type == OPTION_BACKEND || option->type == OPTION_CIDRS ||
	       option->type == OPTION_TLV || options_is_rule(option);
}

void config_values_put(struct config_values *values, const struct config_value *value)
{
	for (unsigned i = 0; i < values->count && !config_is_list(value->option); i++)
		if (values->list[i].option == value->option) {
			values->list[i] = *value;
			return;
		}
	values->list = config_grow(values->list, values->count + 1, sizeof(*value));
	values->list[values->count++] = *value;
}

void config_values_copy(struct config_values *values, const struct config_values *from)
{
	values->list = config_grow(NULL, from->count + 1, sizeof(*from->list));
	values->count = from->count;
	if (from->count)
		memcpy(values->list, from->list, from->count * sizeof(*from->list));
}

void config_values_finish(struct config_values *values)
{
	free(values->list);
	*values = (struct config_values){0};
}

const struct config_value *config_values_next(const struct config_values *values,
					      const struct option_spec *option, unsigned *at)
{
	while (*at < values->count)
		if (values->list[(*at)++].option == option)
			return &values->list[*at - 1];
	return NULL;
}

void *config_keep(struct config_kept **kept, size_t bytes)
{
	struct config_kept *memory = config_grow(NULL, sizeof(*memory) + bytes, 1);

	memory->next = *kept;
	*kept = memory;
	return memory->bytes;
}

const char *config_text_keep(struct config_kept **kept, const char *text)
{
	size_t bytes = strlen(text) + 1;

	return memcpy(config_keep(kept, bytes), text, bytes);
}

void config_kept_finish(struct config_kept **kept)
{
	while (*kept) {
		struct config_kept *memory = *kept;

		*kept = memory->next;
		free(memory);
	}
}

/* A permission that is missing may be one that the process before had at its start. */
static void explain_lost_privileges(struct fault *fault)
{
	char words[128 + HOST_USER_BYTES], user[HOST_USER_BYTES];
	size_t length = strlen(fault->remedy);

	if (!strstr(fault->reason, strerror(EACCES)) && !strstr(fault->reason, strerror(EPERM)))
		return;
	snprintf(words, sizeof(words),
		 "%srestart sixpipe, which runs as user '%s' and has given up the privileges of "
		 "its start",
		 length ? ", or " : "", host_user_name(user));
	if (length + strlen(words) < sizeof(fault->remedy))
		strcpy(fault->remedy + length, words);
}

void config_errors_add(struct config_errors *errors, const struct fault *fault)
{
	char text[FAULT_TEXT_BYTES], other[FAULT_TEXT_BYTES];
	struct fault added = *fault;

	if (errors->count == CONFIG_ERROR_LIMIT) {
		errors->more++;
		return;
	}
	if (errors->takes_over)
		explain_lost_privileges(&added);
	/* forwards with the same origin have the same fault */
	fault_print(&added, text);
	for (unsigned i = 0; i < errors->count; i++)
		if (!strcmp(fault_print(&errors->list[i], other), text))
			return;
	errors->list = config_grow(errors->list, errors->count + 1, sizeof(*errors->list));
	errors->list[errors->count++] = added;
}

void config_errors_add_words(struct config_errors *errors, const char *words)
{
	struct fault fault;

	fault_set_words(&fault, NULL, NULL, words);
	config_errors_add(errors, &fault);
}

void config_errors_finish(struct config_errors *errors)
{
	free(errors->list);
	*errors = (struct config_errors){0};
}
