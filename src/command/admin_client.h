/*
 * `sixpipe who`, ban, unban and bans: ask a running sixpipe through its admin socket.
 */
#pragma once

#include <stddef.h>

/* Where the socket is looked for when neither --admin nor SIXPIPE_ADMIN says. */
#define ADMIN_CLIENT_PATH "/run/sixpipe/admin.sock"

/* The most that a command waits for its whole answer. */
#define ADMIN_CLIENT_LIMIT_MS 10000

/*
 * Splits an answer (admin_job.h) of `bytes`, NUL-terminated, in place: stores its message, "" where
 * it has none, and what is for stdout. Returns its exit code, or -EPROTO where it is no answer.
 */
int admin_client_split(char *text, size_t bytes, const char **message, const char **output);

/*
 * Runs the command argv[0] (commands.def). Returns the exit code: 0, 1 when there is nobody, no such ban
 * or no answer, 2 on bad usage.
 */
int admin_client_main(int argc, char **argv);
