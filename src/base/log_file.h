/* SPDX-License-Identifier: MIT */
/*
 * The file of --log-file. The start opens it with its privileges, in a directory where another user
 * may be able to write. So the file must be what it seems, or another user could lead the log into
 * a file of root:
 *
 * - The path names a regular file, not a symbolic link. No hard link gives the file another name.
 * - The file belongs to the user that sixpipe runs as. Only a file that the start makes is given to
 *   this user (mode 0640, less the umask); no existing file changes its owner.
 *
 * The directories above the path are trusted, as those of any path that an administrator gives.
 */
#pragma once

#include <sys/types.h>

#include "base/fault.h"

/*
 * Opens the file to append, and makes it for `uid` and `gid` if it does not exist. Returns a
 * close-on-exec descriptor, the caller's, or -errno with `fault`: path, reason and remedy. open(2).
 */
int log_file_open(const char *path, uid_t uid, gid_t gid, struct fault *fault);

/* Checks a file that exists, and opens nothing. Returns 0, or -errno with `fault`, as above. */
int log_file_check(const char *path, uid_t uid, struct fault *fault);
