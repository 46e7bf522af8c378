/*
 * source_pool_state.h: a state file is either refused with a reason, or what a pool writes that has
 * read it can be read by another pool.
 */
#include "identity/source_pool_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "fuzz.h"

static struct source_pool *make_pool(void)
{
	static const uint8_t key[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct source_pool_options options = {.client_bits = 64, .lease_count = 64};
	char error[SOURCE_ERROR_BYTES];
	struct source_pool *pool;

	CHECK(!cidr_parse("192.0.2.16/28", &options.block));
	CHECK(!source_pool_create(&options, key, &pool, error));
	return pool;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const struct source_clock clock = {1000000, 1767225600};
	struct source_record record[SOURCE_BUCKET_LEASES], back[SOURCE_BUCKET_LEASES];
	struct source_pool *pool = make_pool(), *again = make_pool();
	char path[64], error[SOURCE_ERROR_BYTES];
	int fd = memfd_create("state", MFD_CLOEXEC);
	uint64_t dropped;
	int result;

	CHECK(fd >= 0 && !fchmod(fd, 0600) && write(fd, bytes, count) == (ssize_t)count);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(error, 0xff, sizeof(error)); /* what is not written is not terminated */
	result = source_pool_load(pool, path, &clock, &dropped, error);
	if (result) {
		CHECK(result == -EINVAL && strnlen(error, sizeof(error)) < sizeof(error) && *error);
	} else {
		unsigned leases = source_pool_read_bucket(pool, 0, record);

		CHECK(!dropped);
		for (unsigned i = 0; i < leases; i++)
			CHECK(!source_pool_restore(again, &record[i]));
		CHECK(source_pool_read_bucket(again, 0, back) == leases);
	}
	close(fd);
	source_pool_destroy(pool);
	source_pool_destroy(again);
	return 0;
}
