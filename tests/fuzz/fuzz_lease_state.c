/* SPDX-License-Identifier: MIT */
/*
 * lease_state.h: a state file is either refused with a reason, or what a pool writes that has
 * read it can be read by another pool.
 */
#include "identity/lease_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const struct lease_clock clock = {1000000, 1767225600};
	struct lease_pool_options options = {.client_bits = 64, .lease_count = 64};
	struct lease_record record[LEASE_BUCKET_LEASES], back[LEASE_BUCKET_LEASES];
	struct lease_pool *pool = NULL, *again = NULL;
	char path[64], text[FAULT_TEXT_BYTES];
	const struct lease_files files = {.state_path = path};
	struct fault fault;
	int fd = memfd_create("state", MFD_CLOEXEC);
	uint64_t dropped;
	int result;

	CHECK(!cidr_parse("192.0.2.16/28", &options.block));
	CHECK(fd >= 0 && !fchmod(fd, 0600) && write(fd, bytes, count) == (ssize_t)count);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(&fault, 0xff, sizeof(fault)); /* what is not written is not terminated */
	result = lease_pool_open(&options, &files, &clock, &pool, &dropped, &fault);
	if (result) {
		CHECK(result == -EINVAL && strlen(fault_print(&fault, text)) < sizeof(text) &&
		      *fault.reason);
	} else {
		unsigned leases = lease_pool_read_bucket(pool, 0, record);

		CHECK(!dropped);
		CHECK(!lease_pool_create(&options, pool->block.key, &again, &fault));
		for (unsigned i = 0; i < leases; i++)
			CHECK(!lease_pool_restore(again, &record[i]));
		CHECK(lease_pool_read_bucket(again, 0, back) == leases);
	}
	close(fd);
	lease_pool_destroy(pool);
	lease_pool_destroy(again);
	return 0;
}
