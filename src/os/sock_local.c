/* SPDX-License-Identifier: MIT */
#include "os/sock_local.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/host.h"

static int open_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static bool is_in_file_system(const struct addr *address)
{
	return *address->local.name->sun_path;
}

static int inspect_file(const struct addr *address)
{
	struct stat status;
	socklen_t length_bytes;
	const struct sockaddr *name = addr_sockaddr(address, &length_bytes);
	int fd, result;

	if (lstat(address->local.name->sun_path, &status))
		return -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	/*
	 * A socket of another type than the listener: its connect tells whether a process has the
	 * file's socket open, without a connection (tests/kernel/probe_local_other_type).
	 */
	fd = open_socket(SOCK_DGRAM);
	if (fd < 0)
		return fd;
	result = connect(fd, name, length_bytes) ? errno : EPROTOTYPE;
	close(fd);
	if (result == ECONNREFUSED)
		return 0;
	return result == EPROTOTYPE ? -EADDRINUSE : -result;
}

/*
 * An abstract name ends with its socket. Each type of socket has its own names, so this binds a
 * socket of the same type.
 */
static int inspect_name(const struct addr *address)
{
	socklen_t length_bytes;
	const struct sockaddr *name = addr_sockaddr(address, &length_bytes);
	int fd = open_socket(SOCK_STREAM);
	int result;

	if (fd < 0)
		return fd;
	result = bind(fd, name, length_bytes) ? -errno : -ENOENT;
	close(fd);
	return result;
}

/*
 * Finds out what is at a local address: 0 for the file of a socket that no process has open;
 * -ENOENT for nothing; -EEXIST for a file that is no socket; -EADDRINUSE for a socket that a
 * process has open (that process notices nothing); another -errno if this cannot be found out.
 */
static int inspect(const struct addr *address)
{
	return is_in_file_system(address) ? inspect_file(address) : inspect_name(address);
}

/* Checks whether a file can be made or replaced at the path: 0 or -errno. */
static int try_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];

	host_directory_of(path, directory, sizeof(directory));
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) ? -errno : 0;
}

int sock_try_local(const struct addr *address)
{
	int result = inspect(address);

	if (result && result != -ENOENT)
		return result;
	return is_in_file_system(address) ? try_directory(address->local.name->sun_path) : 0;
}

static int give(int file, uid_t uid, gid_t gid)
{
	struct stat status;

	if (fstat(file, &status))
		return -errno;
	if (!S_ISSOCK(status.st_mode) || status.st_nlink != 1)
		return -EEXIST;
	if (status.st_uid == uid && status.st_gid == gid)
		return 0;
	return fchownat(file, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

int sock_give_local(const char *path, uid_t uid, gid_t gid)
{
	int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int result = file < 0 ? -errno : give(file, uid, gid);

	if (file >= 0)
		close(file);
	return result;
}

void sock_remove_local(const struct addr *address)
{
	/* may fail without privileges; then the next start replaces the file */
	if (is_in_file_system(address) && !inspect(address))
		(void)unlink(address->local.name->sun_path);
}

/* Removes a left-over file. Returns 0, also if there is none, or -errno. */
static int remove_leftover(const struct addr *address)
{
	int result = inspect(address);

	if (result)
		return result == -ENOENT ? 0 : result;
	return unlink(address->local.name->sun_path) ? -errno : 0;
}

/*
 * By the umask the file has its mode from the first moment, so no other user can connect in
 * between.
 */
static int bind_with_mode(int fd, const struct addr *address, mode_t mode)
{
	socklen_t length_bytes;
	const struct sockaddr *name = addr_sockaddr(address, &length_bytes);
	mode_t mask = umask(0777 & ~mode);
	int error = bind(fd, name, length_bytes) ? -errno : 0;

	umask(mask);
	return error;
}

int sock_listen_local(const struct addr *address, unsigned backlog, mode_t mode, int *fds,
		      unsigned count)
{
	int error = remove_leftover(address);
	unsigned opened = 1;
	bool bound;

	if (error)
		return error;
	fds[0] = open_socket(SOCK_STREAM);
	if (fds[0] < 0)
		return fds[0];
	error = bind_with_mode(fds[0], address, mode);
	bound = !error;
	if (!error && listen(fds[0], (int)backlog))
		error = -errno;
	for (; opened < count && !error; opened += !error) {
		fds[opened] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
		error = fds[opened] < 0 ? -errno : 0;
	}
	while (error && opened)
		close(fds[--opened]);
	if (error && bound)
		sock_remove_local(address);
	return error;
}
