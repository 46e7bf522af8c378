/*
 * The configuration: what every option set. Made once at the start, immutable afterwards, shared by
 * all threads. options.def is the list of options; its types and bounds are applied here.
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
#include "os/sock_tuning.h"

#define CONFIG_FORWARD_LIMIT  256  /* listeners; each costs a socket per worker */
#define CONFIG_BACKEND_LIMIT  256  /* per listener */
#define CONFIG_DNS_NAME_LIMIT 1024 /* backends by name, of all listeners */
#define CONFIG_TRUST_LIMIT    64   /* blocks of --trust, per listener */
#define CONFIG_RULE_LIMIT     64   /* options of --allow, --deny and their files, per listener */
#define CONFIG_TLV_LIMIT      16   /* as many as there are types for custom use */
#define CONFIG_TLV_BYTES_LIMIT                                                                     \
	2048			/* of their texts together; so they fit a header, with the rest */
#define CONFIG_BYTES_LIMIT  255 /* of --check-send, --check-expect */
#define CONFIG_WORKER_LIMIT 256 /* a token has eight bits for a worker */

/* The values of --send-proxy, in its order. */
enum config_send_proxy {
	CONFIG_SEND_PROXY_OFF,
	CONFIG_SEND_PROXY_V1,
	CONFIG_SEND_PROXY_V2,
	CONFIG_SEND_PROXY_INHERIT, /* of a backend, until config_check(): as the forward */
};

struct config_backend {
	struct addr addr;	   /* of one by name, 0.0.0.0 and the port */
	char name[DNS_NAME_BYTES]; /* "": by address */
	struct config_origin origin;
	unsigned port_count; /* of a range that begins with `addr`; 1 after config_check() */
	uint64_t send_proxy; /* enum config_send_proxy */
	uint64_t weight;
	uint64_t maxconn; /* 0: no limit of its own */
	bool backup;
	bool down;
	bool check;    /* by itself, or as all of the forward; set by config_check() */
	bool fastopen; /* the same */
};

/* --max-fails, until config_check(): as the number of backends says. */
#define CONFIG_MAX_FAILS_AUTO UINT64_MAX

/* Text whose escapes were read: any bytes. */
struct config_bytes {
	unsigned count;
	char bytes[CONFIG_BYTES_LIMIT];
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

/* One option of those that say who may connect; its text is a list of blocks or a file's path. */
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

/* What can be set for each forward by itself. Copied from the defaults when the forward begins. */
struct config_forward_options {
	uint64_t timeout_connect_ms; /* this and the other times: 0 is "never" */
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
	bool check_backends;
	bool fastopen_backends;
	uint64_t check_interval_ms; /* this and the next: above 0 where backends are checked */
	uint64_t check_timeout_ms;
	uint64_t fall;
	uint64_t rise;
	struct config_bytes check_send;
	struct config_bytes check_expect;
};

struct config_forward {
	const char *name; /* of its section; otherwise a number, from config_check() on */
	struct config_origin origin;
	struct config_values values; /* listen, backends and everything in `options`, as given */
	bool broken;		     /* something of it was refused: what it lacks is no news */
	struct addr listen;
	unsigned port_count; /* of a range that begins with `listen`; 1 after config_check() */
	bool is_of_range;    /* made for a port of a range that is not the first */
	struct config_backend *backends;
	unsigned backend_count;
	unsigned name_count; /* of these, those by name; set by config_check() */
	bool wants_client;   /* who the client is matters; set by config_check() */
	bool needs_client;   /* ... so much that one who cannot be known is refused */
	bool has_checks;     /* of a backend at least; set by config_check() */
	bool auto_max_fails; /* max_fails follows the number of backends in use, which names change */
	struct config_forward_options options;
};

/* The values of --dns-family and of --resolve-at-start, in their order. */
enum config_dns_family { CONFIG_DNS_V4, CONFIG_DNS_BOTH };
enum config_resolve { CONFIG_RESOLVE_TRY, CONFIG_RESOLVE_REQUIRE };

/* The values of --ready, in its order. */
enum config_ready { CONFIG_READY_LISTENERS, CONFIG_READY_BACKENDS };

/* The values of --pin, in its order. */
enum config_pin { CONFIG_PIN_AUTO, CONFIG_PIN_ON, CONFIG_PIN_OFF };

struct config {
	struct config_forward *forwards;
	unsigned forward_count;
	struct config_forward_options defaults; /* of the forwards to come */
	unsigned file_forward_count;		/* the first ones, when they came from a file */
	unsigned name_count;			/* backends by name; set by config_check() */

	const char *file;	     /* NULL: none */
	struct config_origin origin; /* of what is set next */
	struct config_values values; /* of the process, as given */
	struct config_values default_values;
	struct config_kept *kept; /* texts, and what the addresses of local sockets point to */
	struct config_errors errors;
	bool broken; /* as of a forward, for all of them: not in the file, but beside it */

	const char *user; /* NULL: stay who we are */
	uint64_t workers; /* 0: from the CPUs and their quota */
	uint64_t pin;	  /* enum config_pin */
	uint64_t engine;  /* enum engine_kind */
	uint64_t maxconn; /* 0: from descriptors and memory */
	uint64_t pipe_bytes;
	uint64_t maxpipes;
	uint64_t drain_delay_ms;   /* 0: none */
	uint64_t drain_timeout_ms; /* 0: never */
	uint64_t log_level;	   /* enum log_level */
	uint64_t log_format;	   /* enum log_format */
	bool access_log;
	struct addr metrics;	 /* none: off */
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
	const char *none; /* stands in for the options without a field */
};

#define CONFIG_TOO_MANY_FORWARDS                                                                   \
	"one too many; 256 listeners are the limit, start another process for more"
_Static_assert(CONFIG_FORWARD_LIMIT == 256, "as the words say");

/* Sets a fault of a forward's --listen, with its address as the value: fault_set(). Returns -EINVAL. */
PRINTF_LIKE(3, 4)
int config_fault_listen(struct fault *fault, const struct config_forward *forward,
			const char *format, ...);

/* Sets every option's default and no forward. `config` must be given to config_finish(). */
void config_init(struct config *config);
void config_finish(struct config *config);

/*
 * Begins a forward with the defaults' options; `name` may be NULL. Returns it, which stays where it is
 * until the next begins, or NULL when there are too many, which CONFIG_TOO_MANY_FORWARDS says.
 */
struct config_forward *config_begin_forward(struct config *config, const char *name);

/*
 * Sets one option from text, which is copied; `config->origin` says where it comes from. LISTEN begins a
 * forward, or in a file gives its address to the one that the section began; BACKEND adds to the latest.
 * Options of a forward go to the latest or, before there is one besides the file's, to the defaults and to all
 * those of the file, because the command line and the environment go before it. FLAG may have NULL for
 * yes. Returns 0, or -EINVAL with `fault`, in which the option has the name that it has where it was given.
 */
int config_set(struct config *config, const struct option_spec *option, const char *text,
	       struct fault *fault);

/*
 * Checks what only the whole can tell: that there are forwards, each with backends, none in
 * conflict. A forward of a range of ports becomes one for each. What backends leave to their forward is filled in, and forwards without a name get one.
 * Returns 0, or -EINVAL; config->errors has all that is wrong.
 */
int config_check(struct config *config);

/* What the rest of the program asks of a checked configuration: */

/* Prints a listener's address, with its range of ports; returns `text`. */
const char *config_print_listen(const struct config_forward *forward, char text[ADDR_TEXT_BYTES]);

/* Prints a backend's address, or its name and port; returns `text`. */
#define CONFIG_BACKEND_TEXT_BYTES (DNS_NAME_BYTES + sizeof(":65535"))
const char *config_print_backend(const struct config_backend *backend,
				 char text[CONFIG_BACKEND_TEXT_BYTES]);

/*
 * Takes the next block of the list in a rule's text, as units_next_item() does. Returns NULL, or the reason why the
 * block is refused; `word` gets the text of the block, cut if it is too long.
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
 * Whether what this host sends to an address comes to a forward's listener, which is bound to `listen`, as far as the
 * addresses tell.
 */
enum config_reach {
	CONFIG_REACH_NONE,
	CONFIG_REACH_IF_OWN, /* if the address is one of this host's: config_loop.h asks the kernel */
	CONFIG_REACH_SURE,
};

enum config_reach config_conflict_reach(const struct config_forward *forward,
					const struct addr *listen, const struct addr *to);

/* The largest backlog of all forwards. */
uint64_t config_largest_backlog(const struct config *config);
