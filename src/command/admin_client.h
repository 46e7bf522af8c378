/* SPDX-License-Identifier: MIT */
/* `sixpipe who`, ban, unban and bans: ask a running sixpipe through its admin socket. */
#pragma once

#include <stddef.h>

/* The path of the socket without --admin and SIXPIPE_ADMIN. */
#define ADMIN_CLIENT_PATH "/run/sixpipe/admin.sock"

/* The most that a command waits for its whole answer. */
#define ADMIN_CLIENT_LIMIT_MS	       10000
#define ADMIN_CLIENT_TAKEOVER_LIMIT_MS 86400000 /* reload, upgrade */

/*
 * Splits a NUL-terminated answer (admin_job.h) in place: stores its message ("": none) and the text
 * for stdout. Returns its exit code, or -EPROTO if it is no answer.
 */
int admin_client_split(char *text, size_t bytes, const char **message, const char **output);

/*
 * Runs the command argv[0] (commands.def). Returns the exit code: 0; 1 if there is no such session,
 * no such ban or no answer; 2 on bad usage.
 */
int admin_client_main(int argc, char **argv);
