#include "command.h"

#include <string.h>

#include "admin_client.h"
#include "doctor.h"
#include "healthcheck.h"
#include "util.h"

static const struct command commands[] = {
#define COMMAND(word, function, arguments, help) {#word, function},
#include "commands.def"
#undef COMMAND
};

const struct command *command_find(const char *word)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (!strcmp(commands[i].word, word))
			return &commands[i];
	return NULL;
}
