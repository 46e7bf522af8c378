/* SPDX-License-Identifier: MIT */
/*
 * Where the lines of the log go: stderr, a file (log_file.h) or syslog. log_ring.c is the only
 * caller. One thread at a time uses these functions: the main thread, or the writer thread while it
 * runs. They may block.
 *
 * - If the systemd journal reads stderr, each line gets its priority in front, such as `<4>`:
 *   sd-daemon(3).
 * - Lines of level error also go to stderr if the target is another: they say why a start failed,
 *   and service managers show them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fault.h"
#include "base/log.h"

/* A file that belongs to user `uid`, as log_file_open(). Returns 0, or -errno with `fault`. */
int log_target_set_file(const char *path, uid_t uid, gid_t gid, struct fault *fault);

/* The datagram socket of a syslog daemon. `path` must stay. Connects with the first line. */
void log_target_set_syslog(const char *path);

/* The path of the file or socket; NULL: stderr. */
const char *log_target_path(void);
bool log_target_is_file(void);

/*
 * Opens the file anew, under its path. Returns 0, or -errno with `fault`: then the file that was
 * open stays in use.
 */
int log_target_reopen(struct fault *fault);

/* What is lost: how many lines, and the errno with which the last was lost (0: none was). */
struct log_loss {
	uint64_t lines;
	int error;
};

/*
 * Takes a whole line with its newline, at most LOG_LINE_BYTES. Lines may be collected until
 * log_target_flush(). Adds lines that could not be written to `loss`.
 */
void log_target_put(enum log_level level, const char *line, size_t length_bytes,
		    struct log_loss *loss);
void log_target_flush(struct log_loss *loss);
