/*
 * The listening sockets of all forwards, and the files of local ones: made and given away at the start, removed at the end.
 */
#pragma once

#include <sys/types.h>

#include "config/config.h"

/*
 * Binds every forward's listening sockets, one per worker: fds[worker * forward_count + forward].
 * Ports of 0 are replaced in `config`. Returns 0, or -errno, and then nothing is left open, nor a
 * file that was made, and config->errors has got all: each names the address, the reason and the remedy.
 */
int listeners_open(struct config *config, unsigned worker_count, int *fds);

/*
 * Gives the files of local listeners to the user that the process becomes, so that --unix-mode lets that user's group in: before the
 * privileges go. Returns 0, or -errno and adds to config->errors what names the listener and the remedy.
 */
int listeners_give_files(struct config *config, uid_t uid, gid_t gid);

/*
 * Removes the files of local listeners, as far as we still may, once nobody listens there any more:
 * after all workers have ended.
 */
void listeners_remove_files(const struct config *config);

/*
 * Says in words why listening on `address` failed: the address, the reason (`error`, -errno) and
 * the remedy. `may_freebind`: --freebind holds for this address.
 */
void listener_describe_error(const struct addr *address, int error, bool may_freebind,
			     char text[CONFIG_ERROR_BYTES]);
