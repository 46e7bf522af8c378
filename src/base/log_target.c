/* SPDX-License-Identifier: MIT */
#include "base/log_target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log_file.h"

#define BATCH_BYTES 65536

/* The priorities of syslog(3) and sd-daemon(3), by enum log_level. */
static const unsigned priorities[] = {3, 4, 6, 7};
#define FACILITY_DAEMON (3 << 3)

/* Room for `<4>`. */
#define PREFIX_BYTES 4

/* How long a copy of an error waits for a stderr that is not read. */
#define COPY_WAIT_MS 1000

static enum { TO_STDERR, TO_FILE, TO_SYSLOG } kind;
static int target_fd = STDERR_FILENO; /* -1: no connection to syslog */
static const char *target_path;
static uid_t owner;
static gid_t owner_group;

static char batch[BATCH_BYTES];
static size_t batch_bytes;
static bool line_is_cut; /* the last write ended within a line */

/* stderr --------------------------------------------------------------------------------------- */

/*
 * Whether the journal reads stderr: JOURNAL_STREAM has its device and inode, systemd.exec(5). The
 * variable alone does not tell, because child processes inherit it.
 */
static bool is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;
	char end;

	return text && sscanf(text, "%llu:%llu%c", &device, &inode, &end) == 2 &&
	       !fstat(STDERR_FILENO, &status) && status.st_dev == device && status.st_ino == inode;
}

/* Prints what goes before a line on stderr: "", or `<4>`. Returns its length. */
static size_t print_prefix(enum log_level level, char prefix[PREFIX_BYTES])
{
	static enum { UNKNOWN, NO, YES } journal;

	if (journal == UNKNOWN)
		journal = is_journal() ? YES : NO;
	return journal == YES ? (size_t)snprintf(prefix, PREFIX_BYTES, "<%u>", priorities[level])
			      : 0;
}

/* Waits for a stderr that is not read, but only once: then the next lines find out at no cost. */
static void copy_to_stderr(enum log_level level, const char *line, size_t length_bytes)
{
	static bool stalls;
	struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
	char prefix[PREFIX_BYTES];
	struct iovec parts[] = {
		{.iov_base = prefix, .iov_len = print_prefix(level, prefix)},
		{.iov_base = (char *)line, .iov_len = length_bytes},
	};

	stalls = poll(&writable, 1, stalls ? 0 : COPY_WAIT_MS) == 0;
	if (!stalls && writev(STDERR_FILENO, parts, 2) < 0)
		errno = 0; /* the line is in the log all the same */
}

/*
 * Writes bytes to stderr or the file; may block. Stops at an error such as a full disk. Returns the
 * number of bytes that were not written; then errno says why.
 */
static size_t write_bytes(const char *text, size_t length_bytes)
{
	while (length_bytes) {
		ssize_t written = write(target_fd, text, length_bytes);

		if (written > 0) {
			text += written;
			length_bytes -= (size_t)written;
		} else if (written < 0 && errno == EAGAIN) {
			/* another process made stderr non-blocking; wait as if it were blocking */
			struct pollfd writable = {.fd = target_fd, .events = POLLOUT};

			poll(&writable, 1, -1);
		} else if (written < 0 && errno != EINTR) {
			break;
		}
	}
	return length_bytes;
}

/* As write_bytes(), for whole lines. If the last write cut a line, ends that line first. */
static size_t write_all(const char *text, size_t length_bytes)
{
	size_t left_bytes;

	if (line_is_cut && write_bytes("\n", 1))
		return length_bytes;
	left_bytes = write_bytes(text, length_bytes);
	line_is_cut = left_bytes && left_bytes < length_bytes &&
		      text[length_bytes - left_bytes - 1] != '\n';
	return left_bytes;
}

/* syslog --------------------------------------------------------------------------------------- */

static int connect_to_syslog(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", target_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/*
 * Sends a line as a datagram, in the form of syslog(3) and RFC 3164 without a host name. Waits
 * while the daemon's queue is full. After a restart of the daemon, the socket must be connected
 * anew.
 */
static bool send_to_syslog(enum log_level level, const char *line, size_t length_bytes)
{
	char head[64], date[32];
	struct iovec parts[] = {
		{.iov_base = head},
		{.iov_base = (char *)line, .iov_len = length_bytes - 1}, /* without the newline */
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	time_t now = time(NULL);
	struct tm local;

	strftime(date, sizeof(date), "%b %e %H:%M:%S", localtime_r(&now, &local));
	parts[0].iov_len = (size_t)snprintf(head, sizeof(head), "<%u>%s sixpipe[%d]: ",
					    FACILITY_DAEMON | priorities[level], date, getpid());
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		if (target_fd < 0)
			target_fd = connect_to_syslog();
		if (target_fd < 0)
			return false;
		if (sendmsg(target_fd, &message, MSG_NOSIGNAL) >= 0)
			return true;
		if (errno == EMSGSIZE)
			return false;
		close(target_fd);
		target_fd = -1;
	}
	return false;
}

/* All targets ---------------------------------------------------------------------------------- */

int log_target_set_file(const char *path, uid_t uid, gid_t gid, struct fault *fault)
{
	int fd = log_file_open(path, uid, gid, fault);

	if (fd < 0)
		return fd;
	kind = TO_FILE;
	target_fd = fd;
	target_path = path;
	owner = uid;
	owner_group = gid;
	return 0;
}

void log_target_set_syslog(const char *path)
{
	kind = TO_SYSLOG;
	target_fd = -1;
	target_path = path;
}

const char *log_target_path(void)
{
	return target_path;
}

bool log_target_is_file(void)
{
	return kind == TO_FILE;
}

int log_target_reopen(struct fault *fault)
{
	int fd = log_file_open(target_path, owner, owner_group, fault);

	if (fd < 0)
		return fd;
	close(target_fd);
	target_fd = fd;
	line_is_cut = false;
	return 0;
}

void log_target_put(enum log_level level, const char *line, size_t length_bytes,
		    struct log_loss *loss)
{
	CHECK(length_bytes <= LOG_LINE_BYTES);
	if (kind == TO_SYSLOG) {
		if (!send_to_syslog(level, line, length_bytes)) {
			loss->error = errno;
			loss->lines++;
		}
	} else {
		if (batch_bytes + PREFIX_BYTES + length_bytes > sizeof(batch))
			log_target_flush(loss);
		if (kind == TO_STDERR)
			batch_bytes += print_prefix(level, batch + batch_bytes);
		memcpy(batch + batch_bytes, line, length_bytes);
		batch_bytes += length_bytes;
	}
	if (kind != TO_STDERR && level == LOG_ERROR)
		copy_to_stderr(level, line, length_bytes);
}

void log_target_flush(struct log_loss *loss)
{
	size_t lost_bytes = write_all(batch, batch_bytes);

	if (lost_bytes)
		loss->error = errno;
	for (const char *at = batch + batch_bytes - lost_bytes; at < batch + batch_bytes; at++)
		loss->lines += *at == '\n';
	batch_bytes = 0;
}
