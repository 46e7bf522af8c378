/*
 * Theory of operation. Some options are refused by the kernel when a socket is made, and some, worse,
 * taken and not obeyed: a buffer larger than the sysctl is cut, a port range beyond the sysctl's
 * ignored, fast open left out. Sockets towards backends are made when no privilege is left, so what
 * root may do at the start is not asked for: the congestion control must be one that all may use.
 */
#include "config/tuning_check.h"

#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "config/config_origin.h"
#include "os/host.h"

/* net.ipv4.tcp_fastopen, ip-sysctl */
#define FASTOPEN_CLIENT_BIT 1
#define FASTOPEN_SERVER_BIT 2

#define SYSCTL_BYTES	    512

/* A file of /proc/sys, one line; false where there is none. */
static bool read_sysctl(const char *root, const char *path, char text[SYSCTL_BYTES])
{
	*text = '\0';
	if (host_read_file(root, path, text, SYSCTL_BYTES))
		return false;
	text[strcspn(text, "\n")] = '\0';
	return *text;
}

static int check_congestion(const struct sock_tuning *tuning, const char *root,
			    char error[CONFIG_ERROR_BYTES])
{
	char allowed[SYSCTL_BYTES];

	if (!tuning->congestion ||
	    !read_sysctl(root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control", allowed) ||
	    host_lists(allowed, " ", tuning->congestion))
		return 0;
	return config_fail(
		error,
		"--congestion '%.40s': not allowed on this host; give one of: %.200s, or add "
		"it to net.ipv4.tcp_allowed_congestion_control",
		tuning->congestion, allowed);
}

static bool has_fastopen_backends(const struct forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (forward->backends[i].fastopen)
			return true;
	return false;
}

static int check_fastopen(const struct forward *forward, const char *root,
			  char error[CONFIG_ERROR_BYTES])
{
	uint64_t queue = forward->options.tuning.fastopen_queue;
	char text[SYSCTL_BYTES];
	unsigned bits;

	if (!read_sysctl(root, "/proc/sys/net/ipv4/tcp_fastopen", text) ||
	    sscanf(text, "%u", &bits) != 1)
		return 0;
	if (queue && !(bits & FASTOPEN_SERVER_BIT))
		return config_fail(error,
				   "--fastopen '%" PRIu64
				   "': this host does not allow it to listeners; run: sysctl -w "
				   "net.ipv4.tcp_fastopen=%u",
				   queue, bits | FASTOPEN_SERVER_BIT);
	if (has_fastopen_backends(forward) && !(bits & FASTOPEN_CLIENT_BIT))
		return config_fail(error,
				   "--fastopen-backends: this host does not allow it towards "
				   "backends; run: sysctl -w net.ipv4.tcp_fastopen=%u",
				   bits | FASTOPEN_CLIENT_BIT);
	return 0;
}

static int check_buffer(const char *name, const char *sysctl, int option, uint64_t bytes,
			char error[CONFIG_ERROR_BYTES])
{
	uint64_t given = bytes ? sock_try_buffer(option, bytes) : 0;
	char asked_text[UNITS_TEXT_BYTES], given_text[UNITS_TEXT_BYTES];

	if (!given || given >= bytes)
		return 0;
	return config_fail(error,
			   "--%s '%s': this host gives %s at most; run: sysctl -w %s=%" PRIu64,
			   name, units_print_size(bytes, asked_text),
			   units_print_size(given, given_text), sysctl, bytes);
}

static int check_ports(const struct sock_tuning *tuning, const char *root,
		       char error[CONFIG_ERROR_BYTES])
{
	struct sock_ports ports = tuning->ports;
	char text[SYSCTL_BYTES];
	unsigned first, last;
	int result;

	if (!ports.first)
		return 0;
	result = sock_try_ports(ports);
	if (result)
		return config_fail(
			error,
			"--source-port-range '%u-%u': %s; it needs Linux 6.3 or newer, before "
			"that set net.ipv4.ip_local_port_range for the whole host",
			ports.first, ports.last, strerror(-result));
	if (!read_sysctl(root, "/proc/sys/net/ipv4/ip_local_port_range", text) ||
	    sscanf(text, "%u %u", &first, &last) != 2 ||
	    (first <= ports.first && ports.last <= last))
		return 0;
	return config_fail(
		error,
		"--source-port-range '%u-%u': the kernel would ignore what is outside of this "
		"host's own %u-%u; stay within, or widen net.ipv4.ip_local_port_range",
		ports.first, ports.last, first, last);
}

static int check_listener(const struct sock_tuning *tuning, char error[CONFIG_ERROR_BYTES])
{
	int result = tuning->mark ? sock_try_mark(tuning->mark) : 0;

	if (result)
		return config_fail(error,
				   "--mark '%" PRIu64
				   "': %s; it needs CAP_NET_ADMIN at the start: start as root with "
				   "--user NAME",
				   tuning->mark, strerror(-result));
	if (tuning->device && !if_nametoindex(tuning->device))
		return config_fail(
			error,
			"--bind-device '%.80s': this host has no such interface; 'ip link' "
			"lists them",
			tuning->device);
	return 0;
}

int tuning_check(const struct config *config, const char *root, char error[CONFIG_ERROR_BYTES])
{
	int result = 0;

	for (unsigned i = 0; i < config->forward_count && !result; i++) {
		const struct sock_tuning *tuning = &config->forwards[i].options.tuning;

		result = check_congestion(tuning, root, error);
		if (!result)
			result = check_fastopen(&config->forwards[i], root, error);
		if (!result)
			result = check_buffer("sndbuf", "net.core.wmem_max", SO_SNDBUF,
					      tuning->send_bytes, error);
		if (!result)
			result = check_buffer("rcvbuf", "net.core.rmem_max", SO_RCVBUF,
					      tuning->receive_bytes, error);
		if (!result)
			result = check_ports(tuning, root, error);
		if (!result)
			result = check_listener(tuning, error);
		if (result)
			config_origin_rename_of(config, &config->forwards[i], error);
	}
	return result;
}
