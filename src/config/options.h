/* SPDX-License-Identifier: MIT */
/*
 * The table of the options in options.def: name, type and bounds of the value, and the field for
 * it. config_set() sets values.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_COUNT,
	OPTION_SIZE,
	OPTION_DURATION,
	OPTION_RATE,
	OPTION_FLAG,
	OPTION_CHOICE,
	OPTION_TEXT,
	OPTION_SERVERS,
	OPTION_ADDRESS,
	OPTION_CIDRS,
	OPTION_TLV,
	OPTION_BYTES,
	OPTION_SOURCE,
	OPTION_TOS,
	OPTION_MARK,
	OPTION_MODE,
	OPTION_PORTS,
	OPTION_ALLOW,
	OPTION_DENY,
	OPTION_ALLOW_FILE,
	OPTION_DENY_FILE,
	OPTION_LISTEN,
	OPTION_BACKEND,
};

/* The owner of the value: the struct of config.h that `offset` is in. */
enum option_scope {
	OPTION_SCOPE_GLOBAL,  /* struct config */
	OPTION_SCOPE_FORWARD, /* struct config_forward_options */
	OPTION_SCOPE_BACKEND, /* struct config_backend: a parameter after the address, no dashes */
};

/*
 * The groups of --help: OPTION_GROUP(NAME, name, title). A title is at most 25 characters long, so
 * that two groups fit on a line.
 */
#define OPTION_GROUPS(OPTION_GROUP)                                                                \
	OPTION_GROUP(FORWARDING, "forwarding", "listeners and backends")                           \
	OPTION_GROUP(BALANCE, "balance", "choice among backends")                                  \
	OPTION_GROUP(CHECKS, "checks", "active checks of backends")                                \
	OPTION_GROUP(NAMES, "names", "backends by name, DNS")                                      \
	OPTION_GROUP(PROXY, "proxy", "PROXY protocol, both ways")                                  \
	OPTION_GROUP(SOURCE, "source", "the address backends see")                                 \
	OPTION_GROUP(ADMISSION, "admission", "who may connect")                                    \
	OPTION_GROUP(BANDWIDTH, "bandwidth", "how fast bytes may go")                              \
	OPTION_GROUP(PROCESS, "process", "user, threads, file")                                    \
	OPTION_GROUP(LIMITS, "limits", "sessions, backlog, pipes")                                 \
	OPTION_GROUP(TIMEOUTS, "timeouts", "time limits; 0 is never")                              \
	OPTION_GROUP(LISTENERS, "listeners", "how clients are accepted")                           \
	OPTION_GROUP(SOCKETS, "sockets", "dead peers, buffers, TCP")                               \
	OPTION_GROUP(LOGGING, "logging", "what the log has, where")                                \
	OPTION_GROUP(MONITORING, "monitoring", "health, metrics, admin")                           \
	OPTION_GROUP(GENERAL, "general", "checking, dumping, help")

enum option_group {
#define OPTION_GROUP(NAME, name, title) OPTION_GROUP_##NAME,
	OPTION_GROUPS(OPTION_GROUP)
#undef OPTION_GROUP
		OPTION_GROUP_COUNT
};

struct option_spec {
	const char *name; /* without the dashes */
	enum option_scope scope;
	enum option_type type;
	size_t offset;		  /* of its field */
	const char *default_text; /* "" for none */
	uint64_t least;
	uint64_t most;
	enum option_group group;
	const char *argument; /* the value's name in help texts; the choices of an OPTION_CHOICE */
	const char *help;
};

/*
 * The table of options and the table of the backends' parameters, in the order of options.def.
 * Static.
 */
const struct option_spec *options_list(size_t *count);
const struct option_spec *options_parameters(size_t *count);

/* Whether the option is given for each forward: its options, its listener and its backends. */
bool options_is_of_forward(const struct option_spec *option);

/* Whether the option is one of --allow, --deny, --allow-file and --deny-file. */
bool options_is_rule(const struct option_spec *option);

/* The option, or the parameter, of that name, or NULL. */
const struct option_spec *options_find(const char *name, size_t name_length);
const struct option_spec *options_find_parameter(const char *name, size_t name_length);

/* The option whose name is most like `name`, or NULL when none is close. */
const struct option_spec *options_suggest(const char *name, size_t name_length);

/*
 * The remedy for an option that only other programs have, such as --daemon; NULL: not known.
 * Static.
 */
const char *options_foreign_remedy(const char *name, size_t name_length);

struct option_group_words {
	const char *name; /* "forwarding", "proxy", ... */
	const char *title;
};

extern const struct option_group_words options_groups[OPTION_GROUP_COUNT];
