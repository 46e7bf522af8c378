/* SPDX-License-Identifier: MIT */
#include "forward/listener_bind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "os/interfaces.h"
#include "os/route.h"
#include "os/sock.h"

#define IP_REMEDY_BYTES 160

/* After EADDRNOTAVAIL of bind(2): why the address cannot be bound, and the remedy. */
static const char *explain_not_available(const struct addr *address, bool may_freebind)
{
	switch (interfaces_ask_v6(address)) {
	case INTERFACES_V6_DUPLICATE:
		return "another host on the network has this address (duplicate address detection "
		       "failed, dmesg tells where); give one of the two another address";
	case INTERFACES_V6_OFF:
		return "IPv6 is off on this host (net.ipv6.conf.*.disable_ipv6); turn it on with "
		       "'" INTERFACES_V6_REMEDY "' and give an interface the address, or listen on "
		       "IPv4";
	default:
		return may_freebind ? "no interface has this address; choose one that 'ip address' "
				      "shows, or [::] for all, or add --freebind to listen before "
				      "the address exists"
				    : "no interface has this address; choose one that 'ip address' "
				      "shows, or [::] for all";
	}
}

/* The remedy for an error of a local listener. */
static const char *local_remedy(int error)
{
	switch (-error) {
	case EADDRINUSE:
		return "stop the program that listens there (ss -lxp shows it), or choose another "
		       "path";
	case EEXIST:
		return "a file that is not a socket has this path; remove it, or choose another "
		       "path";
	case ENOENT:
		return "create the directory, or choose another path";
	case EACCES:
	case EPERM:
		return "let this user write in the directory, or choose another path";
	default:
		return "choose another path";
	}
}

/* The remedy for an error of an IP listener; some remedies are printed into `text`. */
static const char *ip_remedy(const struct addr *address, int error, bool may_freebind,
			     char text[IP_REMEDY_BYTES])
{
	switch (-error) {
	case EADDRINUSE:
		snprintf(text, IP_REMEDY_BYTES,
			 "stop the program that has it (ss -ltnp 'sport = :%u' shows it), or "
			 "choose another port",
			 addr_port(address));
		return text;
	case EACCES:
		return "ports below 1024 need CAP_NET_BIND_SERVICE: start as root with --user "
		       "NAME, or choose a higher port";
	case EADDRNOTAVAIL:
		return explain_not_available(address, may_freebind);
	case EAFNOSUPPORT:
		return address->any.sa_family == AF_INET6
			       ? "there is no IPv6 here; boot the host without ipv6.disable=1, "
				 "allow AF_INET6 (RestrictAddressFamilies= of systemd, a seccomp "
				 "profile), or listen on IPv4"
			       : "allow AF_INET (RestrictAddressFamilies= of systemd, a seccomp "
				 "profile)";
	case EMFILE:
		return "raise the descriptor limit (ulimit -n)";
	case ENODEV:
		return "choose an interface that 'ip link' shows";
	case EINVAL:
		return "is it an address to listen on? 'ip address' lists those of this host";
	default:
		return "choose another address";
	}
}

void listener_describe_error(const struct addr *address, int error, bool may_freebind,
			     struct fault *fault)
{
	char where[ADDR_TEXT_BYTES], text[IP_REMEDY_BYTES];

	fault_set_object(fault, NULL, NULL, "cannot listen on %s: %s; %s",
			 addr_print(address, where), strerror(-error),
			 addr_is_local(address) ? local_remedy(error)
						: ip_remedy(address, error, may_freebind, text));
}

/* Why no client reaches a listener that was bound, and the remedy; NULL: clients reach it. */
static const char *explain_unreachable(const struct addr *address, bool may_lack_address,
				       const char **remedy)
{
	*remedy = NULL;
	switch (interfaces_ask_v6(address)) {
	case INTERFACES_V6_TENTATIVE:
		return "duplicate address detection runs; the listener takes clients when it has "
		       "ended";
	case INTERFACES_V6_DUPLICATE:
		*remedy = "give one of the two hosts another address";
		return "another host on the network has this address";
	case INTERFACES_V6_OFF:
		*remedy = INTERFACES_V6_REMEDY;
		return "IPv6 is off on every interface; no IPv6 client reaches the listener";
	case INTERFACES_V6_ONLY_LOOPBACK:
		*remedy = INTERFACES_V6_REMEDY;
		return "IPv6 is off on every interface but lo; no other host reaches the listener";
	case INTERFACES_V6_FINE:
		break;
	}
	if (!may_lack_address || addr_is_local(address) || addr_is_wildcard(address) ||
	    route_check_local(address) != -EADDRNOTAVAIL)
		return NULL;
	return "no interface has this address yet; the listener takes clients when one has it";
}

static void tell_unreachable(const char *forward, const struct addr *address, bool may_lack_address)
{
	const char *remedy, *cause = explain_unreachable(address, may_lack_address, &remedy);
	struct log_line line;

	if (!cause || !log_begin(&line, LOG_EVENT_listener_unreachable))
		return;
	log_forward(&line, forward, address);
	log_text(&line, "cause", cause);
	if (remedy)
		log_text(&line, "remedy", remedy);
	log_end(&line);
}

int listener_bind(struct addr *listen, const struct sock_tuning *tuning, unsigned backlog,
		  struct listener_sockets *sockets)
{
	int result;

	do
		result = sock_open_listeners(listen, tuning, backlog, sockets->fds, sockets->count);
	while (sock_may_try_again(result, &sockets->waited_ms));
	if (!result)
		tell_unreachable(sockets->forward, listen, tuning->freebind);
	return result;
}

int listener_adopt(const struct config_forward *forward, const struct sock_tuning *tuning,
		   struct listener_sockets *sockets, uint32_t *early_count)
{
	unsigned passed = forward->passed_count, backlog = (unsigned)forward->options.backlog;
	uint32_t early;
	int result = passed > sockets->count ? -E2BIG : 0;

	*early_count = 0;
	for (unsigned i = 0; i < passed && !result; i++) {
		sockets->fds[i] = forward->passed_fds[i];
		result = sock_adopt_listener(sockets->fds[i], &forward->listen, tuning, backlog,
					     &early);
		*early_count += early;
	}
	/* one socket of the service manager is enough: all workers accept from its queue */
	for (unsigned i = passed; i < sockets->count && !result; i++) {
		sockets->fds[i] = fcntl(sockets->fds[i % passed], F_DUPFD_CLOEXEC, 0);
		if (sockets->fds[i] >= 0)
			continue;
		result = -errno;
		while (i-- > passed)
			close(sockets->fds[i]);
		break;
	}
	if (!result)
		tell_unreachable(forward->name, &forward->listen, true);
	return result;
}

void listener_describe_adoption(const struct config_forward *forward, int error,
				unsigned worker_count, struct fault *fault)
{
	if (error == -E2BIG)
		config_fault_listen(fault, forward,
				    "%u sockets were passed for %u workers, each of which takes "
				    "one; give --workers %u, or remove sockets with ReusePort=yes "
				    "from the .socket unit",
				    forward->passed_count, worker_count, forward->passed_count);
	else
		config_fault_listen(fault, forward, "its passed socket cannot be used: %s; %s",
				    strerror(-error),
				    error == -EMFILE ? "raise the descriptor limit (ulimit -n)"
						     : "remove socket options of this forward");
}
