/*
 * The configuration: what every option set. Made once at the start, immutable afterwards, shared by
 * all threads. options.def is the list of options; its types and bounds are applied here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "cidr.h"
#include "options.h"
#include "proxy_protocol.h"
#include "util.h"

#define CONFIG_FORWARD_LIMIT 256 /* listeners; each costs a socket per worker */
#define CONFIG_BACKEND_LIMIT 256 /* per listener */
#define CONFIG_TRUST_LIMIT   64	 /* blocks of --trust, per listener */
#define CONFIG_TLV_LIMIT     16	 /* as many as there are types for custom use */
#define CONFIG_TLV_BYTES_LIMIT                                                                     \
	2048			/* of their texts together; so they fit a header, with the rest */
#define CONFIG_WORKER_LIMIT 256 /* a token has eight bits for a worker */
#define CONFIG_ERROR_BYTES  512

/* The values of --send-proxy, in its order. */
enum config_send_proxy {
	CONFIG_SEND_PROXY_OFF,
	CONFIG_SEND_PROXY_V1,
	CONFIG_SEND_PROXY_V2,
	CONFIG_SEND_PROXY_INHERIT, /* of a backend, until config_check(): as the forward */
};

struct backend {
	struct addr addr;
	uint64_t send_proxy; /* enum config_send_proxy */
};

enum config_source_kind {
	CONFIG_SOURCE_NONE,    /* the kernel chooses */
	CONFIG_SOURCE_ADDRESS, /* this one */
	CONFIG_SOURCE_POOL,    /* one for each client, out of the pool */
};

struct config_source {
	enum config_source_kind kind;
	bool embedded;	     /* the address inside the client's goes before `kind` */
	struct addr address; /* without a port */
	struct cidr pool;
};

/* The values of --pseudo-prefix, in its order. */
enum config_pseudo_prefix { CONFIG_PSEUDO_PREFIX_64, CONFIG_PSEUDO_PREFIX_128 };

/* What can be set for each forward by itself. Copied from the defaults when the forward begins. */
struct forward_options {
	uint64_t timeout_connect_ms; /* this and the other times: 0 is "never" */
	uint64_t timeout_idle_ms;
	uint64_t timeout_client_fin_ms;
	uint64_t timeout_server_fin_ms;
	uint64_t timeout_proxy_ms;
	uint64_t keepalive_ms;
	uint64_t user_timeout_ms;
	uint64_t send_proxy; /* enum config_send_proxy */
	bool accept_proxy;
	unsigned trust_count;
	struct cidr trust[CONFIG_TRUST_LIMIT];
	unsigned proxy_tlv_count;
	struct proxy_custom proxy_tlvs[CONFIG_TLV_LIMIT]; /* each type once */
	struct config_source source;
	uint64_t pseudo_prefix; /* enum config_pseudo_prefix */
	const char *pseudo_key;
	const char *pseudo_state;
	uint64_t pseudo_leases;
};

struct forward {
	struct addr listen;
	struct backend *backends;
	unsigned backend_count;
	bool wants_client; /* who the client is matters; set by config_check() */
	bool needs_client; /* ... so much that one who cannot be known is refused */
	struct forward_options options;
};

/* The values of --pin, in its order. */
enum config_pin { CONFIG_PIN_AUTO, CONFIG_PIN_ON, CONFIG_PIN_OFF };

struct config {
	struct forward *forwards;
	unsigned forward_count;
	struct forward_options defaults; /* of the forwards to come */

	const char *user; /* NULL: stay who we are */
	uint64_t workers; /* 0: from the CPUs and their quota */
	uint64_t pin;	  /* enum config_pin */
	uint64_t engine;  /* enum engine_kind */
	uint64_t maxconn; /* 0: from descriptors and memory */
	uint64_t backlog;
	uint64_t pipe_bytes;
	uint64_t maxpipes;
	uint64_t drain_delay_ms;   /* 0: none */
	uint64_t drain_timeout_ms; /* 0: never */
	uint64_t log_level;	   /* enum log_level */
	uint64_t log_format;	   /* enum log_format */
	bool access_log;
	struct addr metrics; /* none: off */
	const char *admin;   /* NULL: off */
	uint64_t admin_mode; /* 0: 0600, 1: 0660 */
	bool check;
	bool help;
	bool version;
	const char *none; /* stands in for the options without a field */
};

/* Writes `error`, printf(3) style, and returns -EINVAL. */
PRINTF_LIKE(2, 3) int config_fail(char error[CONFIG_ERROR_BYTES], const char *format, ...);

/* Sets every option's default and no forward. `config` must be given to config_finish(). */
void config_init(struct config *config);
void config_finish(struct config *config);

/*
 * Sets one option from text; `text` must outlive the configuration. LISTEN begins a forward,
 * BACKEND adds to the latest, options of a forward go to the latest or, before there is one, to the
 * defaults; FLAG may have NULL for yes. Returns 0, or -EINVAL with `error` naming
 * the option, the value, the reason and the remedy.
 */
int config_set(struct config *config, const struct option_spec *option, const char *text,
	       char error[CONFIG_ERROR_BYTES]);

/*
 * Checks what only the whole can tell: that there are forwards, each with backends, none in
 * conflict. What backends leave to their forward is filled in.
 */
int config_check(struct config *config, char error[CONFIG_ERROR_BYTES]);
