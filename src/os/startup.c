/* SPDX-License-Identifier: MIT */
#include "os/startup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fault.h"

/* Without /proc, this many descriptors are checked one by one. */
#define DESCRIPTORS_WITHOUT_PROC 65536

static int open_standard(void)
{
	int fd;

	/* open(2) takes the lowest number that is free */
	do {
		fd = open("/dev/null", O_RDONLY);
		if (fd < 0 && errno == ENOENT) /* a root without /dev */
			fd = open("/", O_PATH);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return 0;
}

static int reserve_stack(void)
{
	struct rlimit limit, raised;

	if (getrlimit(RLIMIT_STACK, &limit))
		return -errno;
	if (limit.rlim_cur >= STARTUP_STACK_BYTES)
		return 0;
	raised = (struct rlimit){
		.rlim_cur = STARTUP_STACK_BYTES,
		.rlim_max = MAX(limit.rlim_max, (rlim_t)STARTUP_STACK_BYTES),
	};
	return setrlimit(RLIMIT_STACK, &raised) ? -errno : 0;
}

int startup_prepare(struct fault *fault)
{
	int result = open_standard();

	if (result) {
		fault_set(fault, NULL, NULL,
			  "stdin, stdout or stderr is closed, and /dev/null cannot be opened in "
			  "its place: %s; start sixpipe with all three open",
			  strerror(-result));
		return result;
	}
	result = reserve_stack();
	if (result)
		fault_set(fault, NULL, NULL,
			  "the stack may not grow to %d KiB: %s; raise the limit (ulimit -s, "
			  "LimitSTACK=)",
			  STARTUP_STACK_BYTES >> 10, strerror(-result));
	return result;
}

static void close_where_inherited(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags >= 0 && !(flags & FD_CLOEXEC))
		close(fd);
}

void startup_close_inherited(void)
{
	const int first = STDERR_FILENO + 1;
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;

	for (int fd = first; !directory && fd < DESCRIPTORS_WITHOUT_PROC; fd++)
		close_where_inherited(fd);
	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		long fd = strtol(entry->d_name, NULL, 10); /* 0 for "." and ".." */

		if (fd >= first && fd <= INT_MAX)
			close_where_inherited((int)fd);
	}
	closedir(directory);
}
