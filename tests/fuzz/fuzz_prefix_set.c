/* SPDX-License-Identifier: MIT */
/*
 * prefix_set.h: any file is either taken as rules, which then decide as going through them in order
 * does, or refused with a reason.
 */
#include "limits/prefix_set.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "fuzz.h"

static void check_address(const struct prefix_set *set, const struct in6_addr *address)
{
	bool matches = false;

	for (uint32_t i = 0; i < prefix_set_rule_count(set) && !matches; i++) {
		struct cidr block = prefix_set_rule(set, i);

		matches = cidr_contains(&block, address);
	}
	/* the file has allowed blocks only */
	CHECK(prefix_set_verdict(set, address) == (matches ? PREFIX_ALLOW : PREFIX_DENY));
}

static void check_rules(struct prefix_set *set)
{
	CHECK(!prefix_set_compile(set));
	check_address(set, &in6addr_any);
	for (uint32_t i = 0; i < prefix_set_rule_count(set); i++) {
		struct in6_addr address = prefix_set_rule(set, i).network;

		check_address(set, &address);
		address.s6_addr[15] ^= 1;
		check_address(set, &address);
	}
}

struct told {
	const char *path;
	unsigned count;
};

static void tell(void *listener, struct fault *fault)
{
	struct told *told = listener;
	size_t length = strlen(told->path);

	CHECK(fault->kind == FAULT_OF_OBJECT && *fault->reason);
	CHECK(!strncmp(fault->value, told->path, length) && fault->value[length] == ':');
	told->count++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static int fd = -1;
	char path[32];
	struct told told = {.path = path};
	const struct prefix_set_faults faults = {.tell = tell, .listener = &told};
	struct prefix_set *set;
	int result;

	if (fd < 0)
		fd = memfd_create("rules", MFD_CLOEXEC);
	CHECK(fd >= 0 && !ftruncate(fd, 0));
	CHECK(pwrite(fd, bytes, count, 0) == (ssize_t)count);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(!prefix_set_create(&set));
	result = prefix_set_add_file(set, path, PREFIX_ALLOW, &faults);
	CHECK(!result == !told.count);
	if (result) {
		CHECK(!prefix_set_rule_count(set));
	} else {
		CHECK(!memchr(bytes, '\0', count));
		check_rules(set);
	}
	prefix_set_destroy(set);
	return 0;
}
