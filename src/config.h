/*
 * The configuration: what every option set. Made once at the start, immutable afterwards, shared by
 * all threads. options.def is the list of options; its types and bounds are applied here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "util.h"

#define CONFIG_FORWARD_LIMIT 256 /* listeners; each costs a socket per worker */
#define CONFIG_BACKEND_LIMIT 256 /* per listener */
#define CONFIG_WORKER_LIMIT  256 /* a token has eight bits for a worker */
#define CONFIG_ERROR_BYTES   512

struct forward {
	struct addr listen;
	struct addr *backends;
	unsigned backend_count;
};

/* The values of --pin, in its order. */
enum config_pin { CONFIG_PIN_AUTO, CONFIG_PIN_ON, CONFIG_PIN_OFF };

struct config {
	struct forward *forwards;
	unsigned forward_count;

	const char *user; /* NULL: stay who we are */
	uint64_t workers; /* 0: from the CPUs and their quota */
	uint64_t pin;	  /* enum config_pin */
	uint64_t engine;  /* enum engine_kind */
	uint64_t maxconn; /* 0: from descriptors and memory */
	uint64_t backlog;
	uint64_t pipe_bytes;
	uint64_t maxpipes;
	uint64_t timeout_connect_ms; /* this and the other times: 0 is "never" */
	uint64_t timeout_idle_ms;
	uint64_t timeout_client_fin_ms;
	uint64_t timeout_server_fin_ms;
	uint64_t drain_delay_ms; /* 0: none */
	uint64_t drain_timeout_ms;
	uint64_t keepalive_ms;
	uint64_t user_timeout_ms;
	uint64_t log_level;  /* enum log_level */
	uint64_t log_format; /* enum log_format */
	bool access_log;
	struct addr metrics; /* none: off */
	bool check;
	bool help;
	bool version;
	const char *none; /* stands in for the options without a field */
};

enum option_type {
	OPTION_COUNT,
	OPTION_SIZE,
	OPTION_DURATION,
	OPTION_FLAG,
	OPTION_CHOICE,
	OPTION_TEXT,
	OPTION_ADDRESS,
	OPTION_LISTEN,
	OPTION_BACKEND,
};

enum option_group {
	OPTION_GROUP_FORWARDING,
	OPTION_GROUP_PROCESS,
	OPTION_GROUP_LIMITS,
	OPTION_GROUP_TIMEOUTS,
	OPTION_GROUP_LOGGING,
	OPTION_GROUP_MONITORING,
	OPTION_GROUP_GENERAL,
	OPTION_GROUP_COUNT
};

struct option_spec {
	const char *name; /* without the dashes */
	enum option_type type;
	size_t offset;		  /* of its field in struct config */
	const char *default_text; /* "" for none */
	uint64_t least;
	uint64_t most;
	enum option_group group;
	const char *argument; /* how the value is called; the choices of an OPTION_CHOICE */
	const char *help;
};

/* Writes `error`, printf(3) style, and returns -EINVAL. */
PRINTF_LIKE(2, 3) int config_fail(char error[CONFIG_ERROR_BYTES], const char *format, ...);

/* The table, in the order of options.def. Static. */
const struct option_spec *config_options(size_t *count);
const struct option_spec *config_find_option(const char *name, size_t name_length);

/* The option whose name is most like `name`, or NULL when none is close. */
const struct option_spec *config_suggest_option(const char *name, size_t name_length);

/* "forwarding", "process", ... */
const char *config_group_name(enum option_group group);

/* Sets every option's default and no forward. `config` must be given to config_finish(). */
void config_init(struct config *config);
void config_finish(struct config *config);

/*
 * Sets one option from text; `text` must outlive the configuration. LISTEN begins a forward,
 * BACKEND adds to the latest, FLAG may have NULL for yes. Returns 0, or -EINVAL with `error` naming
 * the option, the value, the reason and the remedy.
 */
int config_set(struct config *config, const struct option_spec *option, const char *text,
	       char error[CONFIG_ERROR_BYTES]);

/*
 * Checks what only the whole can tell: that there are forwards, each with backends, none in
 * conflict.
 */
int config_check(const struct config *config, char error[CONFIG_ERROR_BYTES]);
