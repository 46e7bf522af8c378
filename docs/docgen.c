/* SPDX-License-Identifier: MIT */
/*
 * docgen FORM: copies a template from stdin to stdout, with each line that is a name such as
 * @OPTIONS@ replaced by that table, from the .def files in src/. FORM is markdown or man (for
 * docs/ and man/: page.h), or bash, zsh or fish (for the completions: complete.h).
 *
 * docgen runs on the machine that builds, also when sixpipe is built for another one. So it has no
 * libraries.
 */
#include <stdio.h>
#include <string.h>

#include "complete.h"
#include "page.h"

static const struct form {
	const char *name;
	bool (*print)(const char *table);
} forms[] = {
	{"markdown", page_print_markdown}, {"man", page_print_man},
	{"bash", complete_print_bash},	   {"zsh", complete_print_zsh},
	{"fish", complete_print_fish},
};

/* A line that begins with @ must be the name of a table. Returns the exit code. */
static int copy(const struct form *form)
{
	char line[1024];

	while (fgets(line, sizeof(line), stdin)) {
		if (*line != '@') {
			fputs(line, stdout);
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		if (!form->print(line)) {
			fprintf(stderr, "docgen: %s has no table %s\n", form->name, line);
			return 1;
		}
	}
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms) && argc == 2; i++)
		if (!strcmp(argv[1], forms[i].name))
			return copy(&forms[i]);
	fputs("usage: docgen markdown|man|bash|zsh|fish <TEMPLATE\n", stderr);
	return 2;
}
