/* SPDX-License-Identifier: MIT */
#include "identity/lease_state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/util.h"
#include "os/host.h"

/* The remedy for a file that cannot be written. */
static const char *remedy_of(int number)
{
	switch (number) {
	case EACCES:
	case EPERM:
	case EROFS:
		return "it and its directory must be writable by --user";
	case ENOENT:
	case ENOTDIR:
		return "make its directory, writable by --user";
	case ENOSPC:
	case EDQUOT:
		return "make room there";
	case EFBIG:
		return "raise the limit on file sizes (ulimit -f, LimitFSIZE=)";
	case EISDIR:
	case ELOOP: /* a link in place of the lock file */
		return "remove that";
	case EBUSY: /* the file itself is a mount, for example in a container */
		return "mount its directory, not the file alone";
	case ENAMETOOLONG:
		return "give a shorter name";
	default:
		return "give another file";
	}
}

/* A state file, a file beside it, and the fault to set. */
struct state_paths {
	const char *path;
	char beside[PATH_MAX];
	struct fault *fault;
};

/* -errno of a call that failed for `file`: one of the two files or their directory. */
static int fail_errno(const struct state_paths *paths, const char *what, const char *file)
{
	int number = errno;

	fault_set(paths->fault, "pseudo-state", paths->path, "cannot %s '%.160s': %s; %s", what,
		  file, strerror(number), remedy_of(number));
	return -number;
}

static int name_beside(struct state_paths *paths, const char *suffix)
{
	if (snprintf(paths->beside, PATH_MAX, "%s%s", paths->path, suffix) < PATH_MAX)
		return 0;
	errno = ENAMETOOLONG;
	return fail_errno(paths, "write", paths->path);
}

/* Locking -------------------------------------------------------------------------------------- */

static int fail_shared(const struct state_paths *paths)
{
	fault_set(paths->fault, "pseudo-state", paths->path,
		  "another process or listener keeps its addresses there, and both would give them "
		  "away; give each its own file");
	return -EBUSY;
}

int lease_state_lock(const char *path, bool make, int *lock_fd, struct fault *fault)
{
	/* NFS locks only files open for writing; a link could lead to a file of another user */
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct state_paths paths = {.path = path, .fault = fault};
	int result = name_beside(&paths, ".lock");
	int fd;

	if (result)
		return result;
	fd = open(paths.beside, make ? flags | O_CREAT | O_EXCL : flags, 0600);
	if (fd < 0 && errno == ENOENT && !make)
		return 0;
	if (fd < 0 && errno == EEXIST)
		return fail_shared(&paths);
	if (fd < 0)
		return fail_errno(&paths, make ? "make" : "open", paths.beside);
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
		close(fd);
		return fail_shared(&paths);
	}
	*lock_fd = fd;
	return 0;
}

bool lease_state_inherit_lock(const char *path, struct inherited *inherited, int *lock_fd)
{
	struct fault unused;
	struct state_paths paths = {.path = path, .fault = &unused};
	int fd;

	if (!inherited || name_beside(&paths, ".lock"))
		return false;
	fd = open(paths.beside, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	*lock_fd = inherited_take_lock(inherited, fd);
	close(fd);
	return *lock_fd >= 0;
}

/* Saving --------------------------------------------------------------------------------------- */

static void write_header(FILE *file, const struct lease_pool *pool)
{
	char text[CIDR_TEXT_BYTES];

	fprintf(file, "sixpipe-sources %d\nblock %s\nclient-prefix %u\nkey ", LEASE_STATE_VERSION,
		cidr_print(&pool->block.cidr, text), pool->client_bits);
	for (unsigned i = 0; i < SIPHASH_KEY_BYTES; i++)
		fprintf(file, "%02x", pool->block.key[i]);
	fputc('\n', file);
}

/* The format has no sign: a time before 1970 becomes 0. */
static uint64_t to_unix_seconds(const struct lease_clock *clock, int32_t used_s)
{
	int64_t unix_s = clock->unix_s - ((int64_t)(clock->now_ms / 1000) - used_s);

	return (uint64_t)MAX(unix_s, 0);
}

static int compare_addresses(const void *a, const void *b)
{
	const struct lease_record *left = a, *right = b;
	uint32_t left_address = ntohl(left->address.s_addr);
	uint32_t right_address = ntohl(right->address.s_addr);

	return (left_address > right_address) - (left_address < right_address);
}

static void write_leases(FILE *file, const struct lease_pool *pool, const struct lease_clock *clock)
{
	struct lease_record records[LEASE_BUCKET_LEASES];
	char address[INET_ADDRSTRLEN], client[CIDR_TEXT_BYTES];
	uint64_t count = 0;

	for (uint32_t i = 0; i < pool->bucket_count; i++) {
		unsigned in_bucket = lease_pool_read_bucket(pool, i, records);

		/* so that the same leases make the same file */
		qsort(records, in_bucket, sizeof(records[0]), compare_addresses);
		for (unsigned j = 0; j < in_bucket; j++)
			fprintf(file, "lease %s %s %" PRIu64 "\n",
				inet_ntop(AF_INET, &records[j].address, address, sizeof(address)),
				cidr_print(&records[j].client, client),
				to_unix_seconds(clock, records[j].used_s));
		count += in_bucket;
	}
	fprintf(file, "end %" PRIu64 "\n", count);
}

/* Writes the new file, which must not exist yet, and waits until it is on the disk. */
static int write_new(const struct state_paths *paths, const struct lease_pool *pool,
		     const struct lease_clock *clock)
{
	/* O_EXCL and O_NOFOLLOW: never a file or link that another process made */
	int fd = open(paths->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int result = 0;
	FILE *file;

	if (fd < 0)
		return fail_errno(paths, "make", paths->beside);
	file = fdopen(fd, "w");
	if (!file) {
		result = fail_errno(paths, "write", paths->beside);
		close(fd);
		return result;
	}
	write_header(file, pool);
	write_leases(file, pool, clock);
	errno = EIO; /* for the case that only an earlier write failed */
	if (fflush(file) || ferror(file) || fsync(fd))
		result = fail_errno(paths, "write", paths->beside);
	if (fclose(file) && !result)
		result = fail_errno(paths, "write", paths->beside);
	return result;
}

/* Waits until the directory's new entry is on the disk. */
static int sync_directory(const struct state_paths *paths)
{
	char directory[PATH_MAX];
	int result = 0;
	int fd;

	host_directory_of(paths->path, directory, sizeof(directory));
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(paths, "open", directory);
	if (fsync(fd) && errno != EINVAL) /* EINVAL: a filesystem without fsync for directories */
		result = fail_errno(paths, "sync", directory);
	close(fd);
	return result;
}

int lease_pool_save(const struct lease_pool *pool, const char *path,
		    const struct lease_clock *clock, struct fault *fault)
{
	struct state_paths paths = {.path = path, .fault = fault};
	int result = name_beside(&paths, ".new");

	if (result)
		return result;
	if (unlink(paths.beside) && errno != ENOENT)
		return fail_errno(&paths, "remove", paths.beside);
	result = write_new(&paths, pool, clock);
	if (!result && rename(paths.beside, path))
		result = fail_errno(&paths, "replace", path);
	if (result) {
		unlink(paths.beside);
		return result;
	}
	return sync_directory(&paths);
}
