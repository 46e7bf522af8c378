/* Commands besides forwarding: `sixpipe doctor` and the like. commands.def is the list of them. */
#pragma once

struct command {
	const char *word;
	/* Takes argv[0], the word, and what follows it. Returns the exit code. */
	int (*run)(int argc, char **argv);
};

/* The command called `word`, or NULL. Static. */
const struct command *command_find(const char *word);
