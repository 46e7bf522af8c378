/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The kernel refuses some options when a socket is made. It accepts others and
 * does not obey them: it cuts a buffer that is larger than the sysctl, ignores a port range outside
 * of the sysctl's, and leaves fast open out. Sockets towards backends are made without privileges,
 * so the privileges at the start do not count: every user must be allowed to use the congestion
 * control.
 */
#include "config/tuning_check.h"

#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "config/config_origin.h"
#include "os/host.h"

/* net.ipv4.tcp_fastopen, ip-sysctl */
#define FASTOPEN_CLIENT_BIT 1
#define FASTOPEN_SERVER_BIT 2

#define SYSCTL_BYTES	    512

/* Reads the first line of a file of /proc/sys. False: no file, or an empty line. */
static bool read_sysctl(const char *root, const char *path, char text[SYSCTL_BYTES])
{
	*text = '\0';
	if (host_read_file(root, path, text, SYSCTL_BYTES))
		return false;
	text[strcspn(text, "\n")] = '\0';
	return *text;
}

/* The check of one forward. */
struct look {
	const struct config *config;
	struct config_errors *errors;
	const struct config_forward *forward;
	const char *root;
	int result; /* -EINVAL once something was refused */
};

PRINTF_LIKE(3, 4)
static void refuse(struct look *look, const char *name, const char *format, ...)
{
	const struct option_spec *option = options_find(name, strlen(name));
	struct config_value given =
		config_origin_of(&look->forward->values, option, look->forward->origin);
	struct fault fault;
	va_list arguments;

	va_start(arguments, format);
	fault_set_list(&fault, name, given.text, format, arguments);
	va_end(arguments);
	config_origin_add_to(look->errors, look->config, look->forward, &fault);
	look->result = -EINVAL;
}

static void check_congestion(struct look *look)
{
	const char *wanted = look->forward->options.tuning.congestion;
	char allowed[SYSCTL_BYTES];

	if (!wanted ||
	    !read_sysctl(look->root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
			 allowed) ||
	    host_lists(allowed, " ", wanted))
		return;
	refuse(look, "congestion",
	       "not allowed on this host; give one of: %.200s, or add it to "
	       "net.ipv4.tcp_allowed_congestion_control",
	       allowed);
}

static bool has_fastopen_backends(const struct config_forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (forward->backends[i].fastopen)
			return true;
	return false;
}

static void check_fastopen(struct look *look)
{
	uint64_t queue = look->forward->options.tuning.fastopen_queue;
	char text[SYSCTL_BYTES];
	unsigned bits;

	if (!read_sysctl(look->root, "/proc/sys/net/ipv4/tcp_fastopen", text) ||
	    sscanf(text, "%u", &bits) != 1)
		return;
	if (queue && !(bits & FASTOPEN_SERVER_BIT))
		refuse(look, "fastopen",
		       "this host does not allow it to listeners; run: sysctl -w "
		       "net.ipv4.tcp_fastopen=%u",
		       bits | FASTOPEN_SERVER_BIT);
	if (has_fastopen_backends(look->forward) && !(bits & FASTOPEN_CLIENT_BIT))
		refuse(look, "fastopen-backends",
		       "this host does not allow it towards backends; run: sysctl -w "
		       "net.ipv4.tcp_fastopen=%u",
		       bits | FASTOPEN_CLIENT_BIT);
}

static void check_buffer(struct look *look, const char *name, const char *sysctl, int option)
{
	const struct sock_tuning *tuning = &look->forward->options.tuning;
	uint64_t bytes = option == SO_SNDBUF ? tuning->send_bytes : tuning->receive_bytes;
	uint64_t given = bytes ? sock_try_buffer(option, bytes) : 0;
	char given_text[UNITS_TEXT_BYTES];

	if (given && given < bytes)
		refuse(look, name, "this host gives %s at most; run: sysctl -w %s=%" PRIu64,
		       units_print_size(given, given_text), sysctl, bytes);
}

static void check_ports(struct look *look)
{
	struct sock_ports ports = look->forward->options.tuning.ports;
	int result = ports.first ? sock_try_ports(ports) : 0;
	struct sock_ports range = sock_read_port_range(look->root);

	if (result)
		refuse(look, "source-port-range",
		       "%s; it needs Linux 6.3 or newer, before that set "
		       "net.ipv4.ip_local_port_range for the whole host",
		       strerror(-result));
	if (result || !ports.first || (range.first <= ports.first && ports.last <= range.last))
		return;
	refuse(look, "source-port-range",
	       "the kernel would ignore what is outside of this host's own %u-%u; stay within, or "
	       "widen net.ipv4.ip_local_port_range",
	       range.first, range.last);
}

static void check_listener(struct look *look)
{
	const struct sock_tuning *tuning = &look->forward->options.tuning;
	/* without privileges an inherited listener keeps its mark: forwards_open() compares */
	bool may_mark = look->config->inherited || !tuning->mark;
	int result = may_mark ? 0 : sock_try_mark(tuning->mark);

	if (result)
		refuse(look, "mark",
		       "%s; it needs CAP_NET_ADMIN at the start: start as root with --user NAME",
		       strerror(-result));
	if (tuning->device && !if_nametoindex(tuning->device))
		refuse(look, "bind-device",
		       "this host has no such interface; 'ip link' lists them");
}

int tuning_check(const struct config *config, const char *root, struct config_errors *errors)
{
	struct look look = {.config = config, .errors = errors, .root = root};

	for (unsigned i = 0; i < config->forward_count; i++) {
		look.forward = &config->forwards[i];
		check_congestion(&look);
		check_fastopen(&look);
		check_buffer(&look, "sndbuf", "net.core.wmem_max", SO_SNDBUF);
		check_buffer(&look, "rcvbuf", "net.core.rmem_max", SO_RCVBUF);
		check_ports(&look);
		check_listener(&look);
	}
	return look.result;
}
