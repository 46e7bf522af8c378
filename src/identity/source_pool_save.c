#include "identity/source_pool_state.h"

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

static int fail_errno(char *error, const char *path, const char *what)
{
	int number = errno;

	snprintf(error, SOURCE_ERROR_BYTES, "%.200s: cannot %s: %s", path, what, strerror(number));
	return -number;
}

/* PATH with a suffix: the name of a file beside it. */
static int name_beside(const char *path, const char *suffix, char beside[PATH_MAX],
		       char error[SOURCE_ERROR_BYTES])
{
	if (snprintf(beside, PATH_MAX, "%s%s", path, suffix) < PATH_MAX)
		return 0;
	errno = ENAMETOOLONG;
	return fail_errno(error, path, "write it");
}

/* Locking -------------------------------------------------------------------------------------- */

static int fail_shared(const char *path, char error[SOURCE_ERROR_BYTES])
{
	snprintf(error, SOURCE_ERROR_BYTES,
		 "%.200s: another process or listener keeps its addresses there, and both would "
		 "give them away; give each its own --pseudo-state",
		 path);
	return -EBUSY;
}

int source_state_lock(const char *path, bool make, int *lock_fd, char error[SOURCE_ERROR_BYTES])
{
	/* for writing, or NFS does not lock it; not through a link, which could lead to anybody's file */
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	char lock_path[PATH_MAX];
	int result = name_beside(path, ".lock", lock_path, error);
	int fd;

	if (result)
		return result;
	fd = open(lock_path, make ? flags | O_CREAT | O_EXCL : flags, 0600);
	if (fd < 0 && errno == ENOENT && !make)
		return 0;
	if (fd < 0 && errno == EEXIST)
		return fail_shared(path, error);
	if (fd < 0)
		return fail_errno(error, lock_path, make ? "make it" : "open it");
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
		close(fd);
		return fail_shared(path, error);
	}
	*lock_fd = fd;
	return 0;
}

/* Saving --------------------------------------------------------------------------------------- */

static void write_header(FILE *file, const struct source_pool *pool)
{
	const struct source_block *block = source_pool_block(pool);
	char text[CIDR_TEXT_BYTES];

	fprintf(file, "sixpipe-sources %d\nblock %s\nclient-prefix %u\nkey ", SOURCE_STATE_VERSION,
		cidr_print(&block->cidr, text), source_pool_client_bits(pool));
	for (unsigned i = 0; i < SIPHASH_KEY_BYTES; i++)
		fprintf(file, "%02x", block->key[i]);
	fputc('\n', file);
}

/* Before 1970 is 1970: the format has no sign. */
static uint64_t to_unix_seconds(const struct source_clock *clock, int32_t used_s)
{
	int64_t unix_s = clock->unix_s - ((int64_t)(clock->now_ms / 1000) - used_s);

	return (uint64_t)MAX(unix_s, 0);
}

static int compare_addresses(const void *a, const void *b)
{
	const struct source_record *left = a, *right = b;
	uint32_t left_address = ntohl(left->address.s_addr);
	uint32_t right_address = ntohl(right->address.s_addr);

	return (left_address > right_address) - (left_address < right_address);
}

static void write_leases(FILE *file, const struct source_pool *pool,
			 const struct source_clock *clock)
{
	struct source_record records[SOURCE_BUCKET_LEASES];
	char address[INET_ADDRSTRLEN], client[CIDR_TEXT_BYTES];
	uint64_t count = 0;

	for (uint32_t i = 0; i < source_pool_bucket_count(pool); i++) {
		unsigned in_bucket = source_pool_read_bucket(pool, i, records);

		/* the same leases make the same file, however they came here */
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

/* Writes a file that is not there yet, and has it on the disk. */
static int write_new(const char *new_path, const struct source_pool *pool,
		     const struct source_clock *clock, char error[SOURCE_ERROR_BYTES])
{
	/* nobody's leftover, nor anybody's link: a file of our own */
	int fd = open(new_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int result = 0;
	FILE *file;

	if (fd < 0)
		return fail_errno(error, new_path, "make it");
	file = fdopen(fd, "w");
	if (!file) {
		result = fail_errno(error, new_path, "write it");
		close(fd);
		return result;
	}
	write_header(file, pool);
	write_leases(file, pool, clock);
	errno = EIO; /* where only an earlier write failed */
	if (fflush(file) || ferror(file) || fsync(fd))
		result = fail_errno(error, new_path, "write it");
	if (fclose(file) && !result)
		result = fail_errno(error, new_path, "write it");
	return result;
}

/* Has the directory's new entry on the disk. */
static int sync_directory(const char *path, char error[SOURCE_ERROR_BYTES])
{
	char directory[PATH_MAX];
	int result = 0;
	int fd;

	host_directory_of(path, directory, sizeof(directory));
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(error, directory, "open it");
	if (fsync(fd) && errno != EINVAL) /* what has no fsync for directories has no need */
		result = fail_errno(error, directory, "write it to the disk");
	close(fd);
	return result;
}

int source_pool_save(const struct source_pool *pool, const char *path,
		     const struct source_clock *clock, char error[SOURCE_ERROR_BYTES])
{
	char new_path[PATH_MAX];
	int result = name_beside(path, ".new", new_path, error);

	if (result)
		return result;
	if (unlink(new_path) && errno != ENOENT)
		return fail_errno(error, new_path, "remove it");
	result = write_new(new_path, pool, clock, error);
	if (!result && rename(new_path, path))
		result = fail_errno(error, path, "replace it");
	if (result) {
		unlink(new_path);
		return result;
	}
	return sync_directory(path, error);
}
