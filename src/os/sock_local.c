#include "os/sock_local.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/host.h"

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static bool is_in_file_system(const struct addr *address)
{
	return *address->local.name->sun_path;
}

int sock_look_local(const struct addr *address)
{
	struct stat status;
	socklen_t length_bytes;
	const struct sockaddr *name = addr_sockaddr(address, &length_bytes);
	int fd, result;

	if (is_in_file_system(address)) {
		if (lstat(address->local.name->sun_path, &status))
			return -errno;
		if (!S_ISSOCK(status.st_mode))
			return -EEXIST;
	}
	fd = open_socket();
	if (fd < 0)
		return fd;
	result = connect(fd, name, length_bytes) ? errno : 0;
	close(fd);
	return result == ECONNREFUSED ? 0 : -EADDRINUSE;
}

/* Whether there is room for a socket: 0 or -errno. */
static int find_room(const struct addr *address)
{
	int result = sock_look_local(address);

	if (result == -ENOENT)
		return 0;
	return result == -EEXIST ? -EADDRINUSE : result;
}

/* Whether a file can be made, or replaced, at the path: 0 or -errno. */
static int try_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];

	host_directory_of(path, directory, sizeof(directory));
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) ? -errno : 0;
}

int sock_try_local(const struct addr *address)
{
	int result = find_room(address);

	if (!result && is_in_file_system(address))
		result = try_directory(address->local.name->sun_path);
	return result;
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
	/* what may not be removed, for the privileges are gone, is replaced by the next start */
	if (is_in_file_system(address) && !sock_look_local(address))
		(void)unlink(address->local.name->sun_path);
}

/* The file has its mode from the first moment on: nobody can connect in between. */
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
	int error = find_room(address);
	unsigned opened = 0;
	bool bound;

	if (error)
		return error;
	sock_remove_local(address);
	fds[0] = open_socket();
	if (fds[0] < 0)
		return fds[0];
	opened = 1;
	error = bind_with_mode(fds[0], address, mode);
	bound = !error;
	if (!error && listen(fds[0], (int)backlog))
		error = -errno;
	for (; opened < count && !error; opened++) {
		fds[opened] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
		if (fds[opened] < 0) {
			error = -errno;
			break;
		}
	}
	while (error && opened)
		close(fds[--opened]);
	if (error && bound)
		sock_remove_local(address);
	return error;
}
