/* SPDX-License-Identifier: MIT */
#include "forward/listener_bind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
		       "NAME, listen on a socket of systemd (systemd:NAME), or choose a higher "
		       "port";
	case EPERM:
		return "--mark needs CAP_NET_ADMIN: start as root with --user NAME, or leave it "
		       "out";
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

/* Makes room for `count` sockets. Returns 0 or -ENOMEM. */
static int make_room(struct listener_sockets *sockets, unsigned count)
{
	int *fds = reallocarray(sockets->fds, count, sizeof(*fds));

	if (!fds)
		return -ENOMEM;
	sockets->fds = fds;
	return 0;
}

/*
 * Duplicates sockets until each worker has one. One socket is enough: all workers accept from its
 * queue.
 */
static int share(struct listener_sockets *sockets)
{
	unsigned own = sockets->count;
	int result = make_room(sockets, MAX(own, sockets->worker_count));

	sockets->shared = own < sockets->worker_count;
	while (sockets->count < sockets->worker_count && !result) {
		int fd = fcntl(sockets->fds[sockets->count % own], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			result = -errno;
		else
			sockets->fds[sockets->count++] = fd;
	}
	while (result && sockets->count > own)
		close(sockets->fds[--sockets->count]);
	return result;
}

int listener_bind(struct addr *listen, const struct sock_tuning *tuning, unsigned backlog,
		  struct listener_sockets *sockets)
{
	unsigned count = sockets->worker_count;
	int result = make_room(sockets, count);

	if (result)
		return result;
	do
		result = sock_open_listeners(listen, tuning, backlog, sockets->fds, count);
	while (sock_may_try_again(result, &sockets->waited_ms));
	sockets->count = result ? 0 : count;
	sockets->shared = addr_is_local(listen);
	if (!result)
		tell_unreachable(sockets->forward, listen, tuning->freebind);
	return result;
}

/* Takes the sockets that config_check() has given to the forward. Returns 0 or -ENOMEM. */
static int take_passed(const struct config_forward *forward, struct listener_sockets *sockets)
{
	unsigned count = forward->passed_count;
	int result = make_room(sockets, count);

	if (result)
		return result;
	memcpy(sockets->fds, forward->passed_fds, count * sizeof(*sockets->fds));
	sockets->count = count;
	return 0;
}

int listener_adopt(const struct config_forward *forward, const struct sock_tuning *tuning,
		   struct listener_sockets *sockets, uint32_t *early_count)
{
	unsigned backlog = (unsigned)forward->options.backlog;
	int result = take_passed(forward, sockets);
	uint32_t early;

	*early_count = 0;
	for (unsigned i = 0; i < forward->passed_count && !result; i++) {
		result = sock_adopt_listener(sockets->fds[i], &forward->listen, tuning, backlog,
					     &early);
		*early_count += early;
	}
	if (!result)
		result = share(sockets);
	if (!result)
		tell_unreachable(forward->name, &forward->listen, true);
	return result;
}

void listener_describe_adoption(const struct config_forward *forward, int error,
				struct fault *fault)
{
	config_fault_listen(fault, forward, "its passed socket cannot be used: %s; %s",
			    strerror(-error),
			    error == -EMFILE ? "raise the descriptor limit (ulimit -n)"
					     : "remove socket options of this forward");
}

/* From the process before this one ------------------------------------------------------------- */

/* Whether the port was 0 when the socket was opened. */
static bool had_port_0(const struct inherited_socket *socket)
{
	size_t length = strlen(socket->given);

	return length > 2 && !strcmp(socket->given + length - 2, ":0");
}

/* Whether the socket is bound to the address of `forward`, whose text is `listen`. */
static bool is_at(const struct inherited_socket *socket, const struct config_forward *forward,
		  const char *listen)
{
	struct addr bound;

	if (!strcmp(socket->given, listen))
		return !had_port_0(socket) || !strcmp(socket->forward, forward->name);
	if (!had_port_0(socket))
		return false;
	sock_get_local(socket->fd, &bound);
	return addr_equal(&bound, &forward->listen);
}

/* Whether interface and families, which bind(2) has fixed, are those of the forward. */
static bool is_alike(const struct inherited_socket *socket, const struct config_forward *forward)
{
	const struct sock_tuning *tuning = &forward->options.tuning;
	struct activation_facts facts;

	if (strcmp(socket->device, tuning->device ? tuning->device : "") != 0)
		return false;
	(void)activation_inspect(socket->fd, &facts);
	return facts.dual_stack == (tuning->dual_stack && addr_is_v6_wildcard(&forward->listen));
}

static bool is_of(const struct inherited_socket *socket, const struct config_forward *forward,
		  const char *listen)
{
	return socket->role == INHERITED_LISTENER && socket->fd >= 0 && !*socket->socket_name &&
	       is_at(socket, forward, listen) && is_alike(socket, forward);
}

/* Takes the sockets that the forward would open itself. Returns 0 or -ENOMEM. */
static int take_own(struct inherited *inherited, const struct config_forward *forward,
		    struct listener_sockets *sockets)
{
	char listen[ADDR_TEXT_BYTES];
	int result = 0;

	addr_print(&forward->listen, listen);
	sockets->count = 0;
	for (unsigned i = 0; i < inherited->count && !result; i++) {
		struct inherited_socket *socket = &inherited->sockets[i];

		if (!is_of(socket, forward, listen))
			continue;
		result = make_room(sockets, sockets->count + 1);
		if (!result)
			sockets->fds[sockets->count++] = inherited_take(socket);
	}
	return result;
}

/* The mode of a local socket's file can be changed only by its owner. */
static int check_mode(const struct config_forward *forward, struct fault *fault)
{
	mode_t mode = (mode_t)forward->options.tuning.local_mode;
	char listen[ADDR_TEXT_BYTES];
	struct stat status;

	if (!*forward->listen.local.name->sun_path ||
	    lstat(forward->listen.local.name->sun_path, &status) ||
	    (status.st_mode & 0777) == mode || status.st_uid == geteuid())
		return 0;
	fault_set(fault, "unix-mode", NULL,
		  "the file of %s belongs to another user, and keeps mode %03o while sixpipe runs; "
		  "restart sixpipe",
		  addr_print(&forward->listen, listen), (unsigned)status.st_mode & 0777);
	return -EPERM;
}

/* Whether the sockets can get all options of the forward: --mark needs a privilege. */
static int check_options(const struct config_forward *forward, int fd, struct fault *fault)
{
	uint32_t mark = 0;
	socklen_t length_bytes = sizeof(mark);

	if (forward->passed_count && addr_is_local(&forward->listen))
		return 0;
	if (addr_is_local(&forward->listen))
		return check_mode(forward, fault);
	if (getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &length_bytes) ||
	    mark == (uint32_t)forward->options.tuning.mark)
		return 0;
	fault_set(
		fault, "mark", NULL,
		"the listener has %#x, which needs CAP_NET_ADMIN to change, and sixpipe has given "
		"its privileges up; restart sixpipe",
		mark);
	return -EPERM;
}

int listener_inherit(const struct config *config, const struct config_forward *forward,
		     struct listener_sockets *sockets, struct fault *fault)
{
	int result = forward->passed_count ? take_passed(forward, sockets)
					   : take_own(config->inherited, forward, sockets);

	if (!result && !sockets->count)
		return 0;
	if (!result)
		result = check_options(forward, sockets->fds[0], fault);
	if (!result)
		result = share(sockets);
	if (result && result != -EPERM)
		config_fault_listen(fault, forward,
				    "its sockets cannot be taken over: %s; raise the descriptor "
				    "limit (ulimit -n), or restart sixpipe",
				    strerror(-result));
	while (result && sockets->count)
		close(sockets->fds[--sockets->count]);
	return result;
}

bool listener_describe_holder(const struct addr *address, const struct inherited *inherited,
			      struct fault *fault)
{
	char own[ADDR_TEXT_BYTES], text[ADDR_TEXT_BYTES];

	addr_print(address, own);
	for (unsigned i = 0; inherited && i < inherited->count; i++) {
		const struct inherited_socket *socket = &inherited->sockets[i];
		struct addr bound;

		if (socket->fd < 0 || socket->role == INHERITED_LOCK)
			continue;
		sock_get_local(socket->fd, &bound);
		if (addr_is_local(address) ? strcmp(socket->given, own) != 0
					   : addr_port(&bound) != addr_port(address))
			continue;
		fault_set_object(fault, NULL, NULL,
				 "cannot listen on %s: sixpipe listens on %s, and cannot change "
				 "address, --bind-device or --dual-stack of a socket; restart "
				 "sixpipe, or remove the old listener by one reload and add the "
				 "new one by the next",
				 own, addr_is_local(address) ? own : addr_print(&bound, text));
		return true;
	}
	return false;
}
