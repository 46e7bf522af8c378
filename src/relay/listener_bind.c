/* Listening sockets and the files of local ones: made and given away at the start, removed at the end. */
#include "relay/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/sock.h"
#include "os/sock_local.h"

void listener_describe_error(const struct addr *address, int error, char text[CONFIG_ERROR_BYTES])
{
	char where[ADDR_TEXT_BYTES];
	const char *remedy = "choose another address";
	char stop[160];

	if (addr_is_local(address)) {
		snprintf(
			text, CONFIG_ERROR_BYTES,
			"cannot listen on %s: %s; a program that listens there must stop, what is no "
			"socket must go, and the directory must be there for us to write in",
			addr_print(address, where), strerror(-error));
		return;
	}
	switch (-error) {
	case EADDRINUSE:
		snprintf(
			stop, sizeof(stop),
			"stop the program that has it (ss -ltnp 'sport = :%u' shows it), or choose another "
			"port",
			addr_port(address));
		remedy = stop;
		break;
	case EACCES:
		remedy =
			"ports below 1024 need CAP_NET_BIND_SERVICE: start as root with --user NAME, "
			"or choose a higher port";
		break;
	case EADDRNOTAVAIL:
		remedy =
			"no interface has this address; 'ip address' lists them, [::] is all of them";
		break;
	case EMFILE:
		remedy = "raise the descriptor limit (ulimit -n)";
		break;
	case EINVAL:
		remedy = "is it an address to listen on? 'ip address' lists those of this host";
		break;
	}
	snprintf(text, CONFIG_ERROR_BYTES, "cannot listen on %s: %s; %s",
		 addr_print(address, where), strerror(-error), remedy);
}

/* The files of local ones go too: until the end of the start nobody else would remove them. */
static void unbind(const struct config *config, unsigned worker_count, int *fds, unsigned bound)
{
	for (unsigned i = 0; i < bound; i++) {
		for (unsigned j = 0; j < worker_count; j++) {
			close(fds[j * config->forward_count + i]);
			fds[j * config->forward_count + i] = -1;
		}
		if (addr_is_local(&config->forwards[i].listen))
			sock_remove_local(&config->forwards[i].listen);
	}
}

int listeners_open(struct config *config, unsigned worker_count, int *fds,
		   char error[CONFIG_ERROR_BYTES])
{
	int *of_forward = calloc(worker_count, sizeof(int));
	int result = of_forward ? 0 : -ENOMEM;

	for (unsigned i = 0; i < config->forward_count && !result; i++) {
		struct addr *address = &config->forwards[i].listen;
		const struct forward_options *options = &config->forwards[i].options;

		result = sock_open_listeners(address, &options->tuning, (unsigned)options->backlog,
					     of_forward, worker_count);
		if (result) {
			listener_describe_error(address, result, error);
			unbind(config, worker_count, fds, i);
		}
		for (unsigned j = 0; j < worker_count && !result; j++)
			fds[j * config->forward_count + i] = of_forward[j];
	}
	free(of_forward);
	return result;
}

int listeners_give_files(const struct config *config, uid_t uid, gid_t gid,
			 char error[CONFIG_ERROR_BYTES])
{
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct addr *listen = &config->forwards[i].listen;
		char text[ADDR_TEXT_BYTES];
		int result;

		if (!addr_is_local(listen) || !*listen->local.name->sun_path)
			continue;
		result = sock_give_local(listen->local.name->sun_path, uid, gid);
		if (result)
			return config_fail(error,
					   "--listen '%.120s': cannot be given to --user: %s; let "
					   "CAP_CHOWN be there at the start",
					   addr_print(listen, text), strerror(-result));
	}
	return 0;
}

void listeners_remove_files(const struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++)
		if (addr_is_local(&config->forwards[i].listen))
			sock_remove_local(&config->forwards[i].listen);
}
