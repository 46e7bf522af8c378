#include "base/log_file.h"

#include <errno.h>
#include <fcntl.h>
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

int log_file_open(const char *path, uid_t uid, gid_t gid, struct fault *fault)
{
	/* O_NONBLOCK: opening a FIFO would wait for a reader. It changes nothing for files. */
	const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int result = log_file_check(path, uid, fault), fd;
	struct stat status;
	bool made;

	if (result)
		return result;
	fd = open(path, flags);
	made = fd < 0 && errno == ENOENT;
	/* O_EXCL: a file that comes to be under this name in this moment is not ours */
	if (made)
		fd = open(path, flags | O_CREAT | O_EXCL, 0640);
	if (fd < 0)
		return fail_errno(path, "cannot be opened", errno, fault);
	if (fstat(fd, &status)) {
		result = fail_errno(path, "cannot be looked at", errno, fault);
	} else if (!made) {
		/* again: the file may have been replaced since log_file_check() */
		result = judge(path, &status, uid, fault);
	} else if (status.st_uid != uid && fchown(fd, uid, gid)) {
		result = fail_errno(path, "cannot be given to --user, which needs CAP_CHOWN", errno,
				    fault);
		unlink(path);
	}
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
