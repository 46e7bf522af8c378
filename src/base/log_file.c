/* SPDX-License-Identifier: MIT */
#include "base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *remedy_of(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
	case EROFS:
		return "let the user of sixpipe write to the file and enter its directory; to make "
		       "the file, that user must be able to write in the directory";
	case ENOENT:
	case ENOTDIR:
		return "make its directory, for example by systemd's LogsDirectory=";
	case ENOSPC:
	case EDQUOT:
		return "make room there";
	case EMFILE:
	case ENFILE:
		return "raise the descriptor limit (ulimit -n)";
	default:
		return "give the path of a regular file";
	}
}

static int fail_errno(const char *path, const char *what, int error, struct fault *fault)
{
	fault_set(fault, "log-file", path, "%s: %s; %s", what, strerror(error), remedy_of(error));
	return -error;
}

static int refuse(const char *path, int error, const char *words, struct fault *fault)
{
	fault_set_words(fault, "log-file", path, words);
	return -error;
}

/* Whether the file is one that log lines may go to. */
static int judge(const char *path, const struct stat *status, uid_t uid, struct fault *fault)
{
	if (S_ISLNK(status->st_mode))
		return refuse(path, ELOOP,
			      "is a symbolic link, which could lead to another user's file; give "
			      "the path that it leads to",
			      fault);
	if (!S_ISREG(status->st_mode))
		return refuse(path, EINVAL,
			      "is not a regular file; give the path of a file, or leave --log-file "
			      "out to log to stderr",
			      fault);
	if (status->st_nlink > 1)
		return refuse(path, EMLINK,
			      "has another name too (a hard link), which could be another user's "
			      "file; remove it",
			      fault);
	if (status->st_uid != uid) {
		fault_set(
			fault, "log-file", path,
			"belongs to uid %u, and sixpipe runs as uid %u; give another path, or give "
			"the old log to that user (chown)",
			(unsigned)status->st_uid, (unsigned)uid);
		return -EPERM;
	}
	return 0;
}

/*
 * Opens the directory of a path, without following symbolic links, and sets `name` to the file's
 * name in it. Returns the descriptor, or -1 with errno; ENOTDIR for a link, too.
 */
static int open_directory(const char *path, const char **name)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = open(*path == '/' ? "/" : ".", flags);
	const char *slash;

	for (; fd >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
		char part[NAME_MAX + 1];
		size_t length = (size_t)(slash - path);
		int parent = fd, error;

		if (!length)
			continue;
		fd = -1;
		errno = ENAMETOOLONG;
		if (length < sizeof(part)) {
			memcpy(part, path, length);
			part[length] = '\0';
			fd = openat(parent, part, flags);
		}
		error = errno;
		close(parent);
		errno = error;
	}
	*name = path;
	return fd;
}

/*
 * Makes the file, with O_EXCL: a file that comes to be under this name in this moment is not ours.
 * For another user, a link on the way would let that user choose the directory where root makes a
 * file for them. Returns the descriptor, or -errno with `fault`.
 */
static int make(const char *path, int flags, uid_t uid, gid_t gid, struct fault *fault)
{
	bool for_other = uid != geteuid();
	const char *name = path;
	int directory = for_other ? open_directory(path, &name) : AT_FDCWD;
	int fd, error;

	if (for_other && directory < 0 && (errno == ENOTDIR || errno == ELOOP))
		return refuse(path, ELOOP,
			      "its directory, or one above, is a symbolic link or no directory, "
			      "and the file is made for another user; give the path that the link "
			      "leads to, or make the file for --user first",
			      fault);
	fd = for_other && directory < 0 ? -1
					: openat(directory, name, flags | O_CREAT | O_EXCL, 0640);
	error = fd < 0 ? errno : 0;
	if (error) {
		error = fail_errno(path, "cannot be opened", error, fault);
	} else if (for_other && fchown(fd, uid, gid)) {
		error = fail_errno(path, "cannot be given to --user, which needs CAP_CHOWN", errno,
				   fault);
		unlinkat(directory, name, 0);
		close(fd);
	}
	if (directory >= 0)
		close(directory);
	return error ? error : fd;
}

int log_file_open(const char *path, uid_t uid, gid_t gid, struct fault *fault)
{
	/* O_NONBLOCK: opening a FIFO would wait for a reader. It changes nothing for files. */
	const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int result = log_file_check(path, uid, fault), fd;
	struct stat status;

	if (result)
		return result;
	fd = open(path, flags);
	if (fd < 0 && errno == ENOENT)
		return make(path, flags, uid, gid, fault);
	if (fd < 0)
		return fail_errno(path, "cannot be opened", errno, fault);
	if (fstat(fd, &status))
		result = fail_errno(path, "cannot be looked at", errno, fault);
	else /* again: the file may have been replaced since log_file_check() */
		result = judge(path, &status, uid, fault);
	if (!result)
		return fd;
	close(fd);
	return result;
}

int log_file_check(const char *path, uid_t uid, struct fault *fault)
{
	struct stat status;

	return lstat(path, &status) ? 0 : judge(path, &status, uid, fault);
}
