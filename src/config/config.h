/* SPDX-License-Identifier: MIT */
/*
 * The configuration: the values of all options. It is made once at the start. After config_check()
 * it does not change, and all threads read it. options.def lists the options with their types and
 * bounds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/cidr.h"
#include "base/util.h"
#include "config/config_values.h"
#include "config/dns.h"
#include "config/options.h"
#include "identity/proxy_protocol.h"
#include "os/activation.h"
#include "os/inherited.h"
#include "os/sock_tuning.h"

#define CONFIG_FORWARD_LIMIT   256  /* listeners; each costs a socket per worker */
#define CONFIG_BACKEND_LIMIT   256  /* per listener */
#define CONFIG_DNS_NAME_LIMIT  1024 /* backends by name, of all listeners */
#define CONFIG_TRUST_LIMIT     64   /* blocks of --trust, per listener */
#define CONFIG_RULE_LIMIT      64   /* options of --allow, --deny and their files, per listener */
#define CONFIG_TLV_LIMIT       16   /* as many as there are types for custom use */
#define CONFIG_TLV_BYTES_LIMIT 2048 /* of all texts together: a header has room for them */
#define CONFIG_BYTES_LIMIT     255  /* of --check-send, --check-expect */
#define CONFIG_NAME_LIMIT      63   /* bytes of a forward's name */
#define CONFIG_WORKER_LIMIT    256  /* a token has eight bits for a worker */

/* The values of --send-proxy, in its order. */
enum config_send_proxy {
	CONFIG_SEND_PROXY_OFF,
	CONFIG_SEND_PROXY_V1,
	CONFIG_SEND_PROXY_V2,
	CONFIG_SEND_PROXY_INHERIT, /* a backend, until config_check(): the value of its forward */
};

struct config_backend {
	struct addr addr;	   /* of a backend by name: 0.0.0.0 and the port */
	char name[DNS_NAME_BYTES]; /* "": the backend has an address */
	struct config_origin origin;
	unsigned port_count; /* of a range that begins with `addr`; 1 after config_check() */
	uint64_t send_proxy; /* enum config_send_proxy */
	uint64_t weight;
	uint64_t maxconn; /* 0: no limit for this backend */
	bool backup;
	bool down;
	bool check;    /* its own parameter or the forward's option; set by config_check() */
	bool fastopen; /* as `check` */
};

/* --max-fails is not given. config_check() chooses the value by the number of backends. */
#define CONFIG_MAX_FAILS_AUTO UINT64_MAX

/* The bytes of a text after its escapes were read. */
struct config_bytes {
	unsigned count;
	char bytes[CONFIG_BYTES_LIMIT];
};

/* The values of --on-down, in its order: the sessions of a backend that goes down. */
enum config_on_down { CONFIG_ON_DOWN_KEEP, CONFIG_ON_DOWN_RESET };

enum config_source_kind {
	CONFIG_SOURCE_NONE,    /* the kernel chooses */
	CONFIG_SOURCE_ADDRESS, /* `address` */
	CONFIG_SOURCE_POOL,    /* a lease for each client, out of `pool` */
};

struct config_source {
	enum config_source_kind kind;
	bool embedded; /* first choice: the IPv4 address inside the client's address; then `kind` */
	struct addr address; /* without a port */
	struct cidr pool;
};

/* The values of --pseudo-prefix, in its order. */
enum config_pseudo_prefix { CONFIG_PSEUDO_PREFIX_64, CONFIG_PSEUDO_PREFIX_128 };

/* One --allow, --deny, --allow-file or --deny-file. `text` is a list of blocks or a file's path. */
struct config_rule {
	const char *text;
	bool allow;
	bool file;
};

/* Bytes per second, by lane: up is 0, down is 1. 0: no limit. */
struct config_bandwidth {
	uint64_t own[2];   /* of each session */
	uint64_t total[2]; /* of all sessions of the forward */
};

/* A backend that was added at run time. Zeroed: none. */
struct config_added {
	struct config_backend backend;
	struct config_kept *kept; /* the name of a local socket; config_kept_finish() frees it */
};

/* The options of one forward. A new forward begins with a copy of the defaults. */
struct config_forward_options {
	uint64_t timeout_connect_ms; /* this and the other timeouts: 0 is "never" */
	uint64_t timeout_idle_ms;
	uint64_t timeout_client_fin_ms;
	uint64_t timeout_server_fin_ms;
	uint64_t timeout_proxy_ms;
	uint64_t timeout_session_ms;
	uint64_t timeout_write_ms;
	uint64_t backlog;
	struct sock_tuning tuning;
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
	unsigned rule_count;
	struct config_rule rules[CONFIG_RULE_LIMIT]; /* in the order of the command line */
	uint64_t maxconn_forward;		     /* this and the next two: 0 is "no limit" */
	uint64_t per_source_maxconn;
	uint64_t per_source_rate;
	uint64_t per_source_prefix6;
	uint64_t per_source_prefix4;
	struct config_bandwidth limits;
	uint64_t balance; /* enum pool_balance */
	uint64_t retries;
	uint64_t max_fails;
	uint64_t fail_timeout_ms; /* above 0 with max_fails */
	uint64_t slow_start_ms;	  /* 0: none */
	uint64_t on_down;	  /* enum config_on_down */
	bool check_backends;
	bool fastopen_backends;
	uint64_t check_interval_ms; /* this and check_timeout_ms: above 0 if a backend has checks */
	uint64_t check_timeout_ms;
	uint64_t fall;
	uint64_t rise;
	struct config_bytes check_send;
	struct config_bytes check_expect;
};

struct config_forward {
	const char *name; /* of its section or variable; otherwise config_check() gives a number */
	struct config_origin origin;
	struct config_values values; /* listen, backends and everything in `options`, as given */
	bool broken;		     /* a value was refused, so a missing value is not reported */
	struct addr listen;	     /* systemd:NAME, without a passed socket: "no address" */
	unsigned port_count; /* of a range that begins with `listen`; 1 after config_check() */
	bool is_of_range;    /* made for a port of a range or a passed socket, but not the first */
	const char *socket_name; /* NAME of systemd:NAME; NULL: sixpipe opens the sockets itself */
	/* the passed sockets, all on `listen`; config_check() sets them. Also inherited ones */
	const int *passed_fds;
	unsigned passed_count;
	struct config_backend *backends;
	unsigned backend_count;
	unsigned name_count; /* backends by name; set by config_check() */
	bool wants_client;   /* a session looks up its client's address; set by config_check() */
	bool needs_client; /* a client without a known address is refused; set by config_check() */
	bool has_checks;   /* at least one backend has checks; set by config_check() */
	bool auto_max_fails; /* max_fails follows the number of backends in use; names change it */
	struct config_forward_options options;
};

/* The values of --dns-family and of --resolve-at-start, in their order. */
enum config_dns_family { CONFIG_DNS_V4, CONFIG_DNS_BOTH };
enum config_resolve { CONFIG_RESOLVE_TRY, CONFIG_RESOLVE_REQUIRE };

/* The values of --ready, in its order. */
enum config_ready { CONFIG_READY_LISTENERS, CONFIG_READY_BACKENDS };

/* The values of --log-target, in its order. */
enum config_log_target { CONFIG_LOG_STDERR, CONFIG_LOG_SYSLOG };

/* The values of --pin, in its order. */
enum config_pin { CONFIG_PIN_AUTO, CONFIG_PIN_ON, CONFIG_PIN_OFF };

struct config {
	struct config_forward *forwards;
	unsigned forward_count;
	struct config_forward_options defaults; /* of new forwards */
	unsigned early_forward_count; /* of the file or the environment; they come first */
	unsigned name_count;	      /* backends by name; set by config_check() */

	const char *file;	     /* NULL: none */
	struct config_origin origin; /* of the next config_set() */
	struct config_values values; /* of the process, as given */
	struct config_values default_values;
	struct config_kept *kept; /* texts; names of local sockets */
	struct config_errors errors;
	struct activation passed; /* set by the caller before config_check() */
	/* from the process that this one takes over from; set before config_check(). NULL: none */
	struct inherited *inherited;
	bool broken; /* as config_forward.broken, for all forwards: outside of the file */

	const char *user; /* NULL: the user does not change */
	uint64_t workers; /* 0: from the CPUs and their quota */
	uint64_t pin;	  /* enum config_pin */
	uint64_t engine;  /* enum engine_kind */
	uint64_t maxconn; /* 0: from descriptors and memory */
	uint64_t pipe_bytes;
	uint64_t maxpipes;
	uint64_t drain_delay_ms;      /* 0: none */
	uint64_t drain_timeout_ms;    /* 0: never */
	uint64_t takeover_timeout_ms; /* 0: never */
	uint64_t log_target;	      /* enum config_log_target */
	const char *log_file;	      /* NULL: none */
	uint64_t log_level;	      /* enum log_level */
	uint64_t log_format;	      /* enum log_format */
	bool access_log;
	struct addr metrics;	 /* "no address": off */
	uint64_t ready;		 /* enum config_ready */
	const char *admin;	 /* NULL: off */
	uint64_t admin_mode;	 /* 0: 0600, 1: 0660 */
	const char *dns_servers; /* NULL: those of resolv.conf(5) */
	uint64_t dns_family;	 /* enum config_dns_family */
	uint64_t dns_min_ttl_ms;
	uint64_t dns_max_ttl_ms;
	uint64_t resolve_at_start;   /* enum config_resolve */
	uint64_t resolve_timeout_ms; /* 0: the start does not wait */
	bool check;
	bool dump_config;
	bool help;
	bool version;
	const char *none; /* not used: the field of options without a field */
};

#define CONFIG_TOO_MANY_FORWARDS                                                                   \
	"one too many; 256 listeners are the limit, start another process for more"
_Static_assert(CONFIG_FORWARD_LIMIT == 256, "as the words say");

#define CONFIG_NO_NAME "no name for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' and '-'"
_Static_assert(CONFIG_NAME_LIMIT == 63, "as the words say");

/* fault_set() for a forward's --listen, with its address as the value. Returns -EINVAL. */
PRINTF_LIKE(3, 4)
int config_fault_listen(struct fault *fault, const struct config_forward *forward,
			const char *format, ...);

/* Sets the defaults of all options, and no forward. config_finish() frees the memory. */
void config_init(struct config *config);
void config_finish(struct config *config);

/*
 * Adds a forward with the default options; `name` may be NULL. Returns the forward, a pointer that
 * is valid until the next call, or NULL when the limit is reached: CONFIG_TOO_MANY_FORWARDS is the
 * text for the user.
 */
struct config_forward *config_begin_forward(struct config *config, const char *name);

/* Whether a text can be the name of a forward. If not, CONFIG_NO_NAME is the text for the user. */
bool config_is_name(const char *name);

/* The forward of that name, or NULL. */
const struct config_forward *config_find_forward(const struct config *config, const char *name);

/*
 * Inserts a copy of a forward `distance` places behind it, with its place as a part of its name.
 * Pointers to forwards are not valid afterwards.
 */
void config_insert_copy(struct config *config, unsigned index, unsigned distance);

/*
 * Replaces every forward with a range of ports by one forward for each port. A backend with a range
 * gives each forward one port. Called after all checks, so that a fault is reported once and not
 * for each port.
 */
void config_expand_ranges(struct config *config);

/*
 * Sets one option from `text`, which is copied. `config->origin` says where the text was given.
 * `text` may be NULL for a flag: yes.
 * - LISTEN of the command line adds a forward. Elsewhere the forward is there already, made by its
 *   section or by its number, and LISTEN sets its address.
 * - BACKEND adds a backend to the latest forward.
 * - An option of a forward is set in the latest forward. If there are only early forwards, the
 *   option is set in the defaults and in all of them: the command line replaces the values of the
 *   environment, and both replace the values of the file.
 * Returns 0, or -EINVAL with `fault`, which names the option as its origin does.
 */
int config_set(struct config *config, const struct option_spec *option, const char *text,
	       struct fault *fault);

/*
 * Checks the configuration as a whole: there are forwards, each has backends, and no two are in
 * conflict. Then completes it: a forward with a range of ports becomes one forward for each port,
 * backends get the values of their forward, and forwards without a name get one. Returns 0, or
 * -EINVAL with all faults in config->errors.
 */
int config_check(struct config *config);

/* Questions about a checked configuration: */

/* Whether the forward was given a listener, by address or by name. */
bool config_has_listener(const struct config_forward *forward);

/* Prints a listener as it was given, and the address of passed sockets; returns `text`. */
const char *config_print_listen(const struct config_forward *forward, char text[ADDR_TEXT_BYTES]);

/* Prints a backend's address, or its name and port; returns `text`. */
#define CONFIG_BACKEND_TEXT_BYTES (DNS_NAME_BYTES + sizeof(":65535"))
const char *config_print_backend(const struct config_backend *backend,
				 char text[CONFIG_BACKEND_TEXT_BYTES]);

/*
 * Reads a backend that is to be added to a running forward: ADDRESS [PARAMETER[=VALUE] ...]. It gets
 * the values of the forward, as config_check() does. Returns 0, or -EINVAL with `fault`; call
 * config_kept_finish(&added->kept) in both cases.
 */
int config_read_added(const struct config_forward *forward, const char *text,
		      struct config_added *added, struct fault *fault);

/*
 * Takes the next block of the list in a rule's text, as units_next_item() does. Returns NULL, or
 * the reason why the block is refused; `word` gets the text of the block, cut if it is too long.
 */
const char *config_rules_next(const char **at, struct cidr *cidr, char word[CIDR_TEXT_BYTES]);

/* The value, with its origin, that gave a forward the rule. */
const struct config_value *config_rules_value(const struct config_forward *forward,
					      const struct config_rule *rule);

/* Whether two forwards were given the same rules. */
bool config_rules_are_same(const struct config_forward_options *a,
			   const struct config_forward_options *b);

/* Whether two forwards, each with a pool of source addresses, share that pool. */
bool config_source_is_shared(const struct config_forward_options *a,
			     const struct config_forward_options *b);

/*
 * Whether a connection from this host to the address `to` comes to a forward's listener, which is
 * bound to `listen`. Looks at the addresses only.
 */
enum config_reach {
	CONFIG_REACH_NONE,
	CONFIG_REACH_IF_OWN, /* if the address is this host's: config_loop.h asks the kernel */
	CONFIG_REACH_SURE,
};

enum config_reach config_conflict_reach(const struct config_forward *forward,
					const struct addr *listen, const struct addr *to);

/* The largest backlog of all forwards. */
uint64_t config_largest_backlog(const struct config *config);
