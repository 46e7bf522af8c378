/* SPDX-License-Identifier: MIT */
/*
 * Claim: F_SETPIPE_SZ rounds up to a power of two of pages, and F_GETPIPE_SZ returns that size. The
 * pipes of a user without CAP_SYS_RESOURCE and CAP_SYS_ADMIN may have fs.pipe-user-pages-soft pages
 * together (16384: 64 pipes of 1 MiB). Beyond that a new pipe is 8 KiB without an error,
 * F_SETPIPE_SZ fails with EPERM, and shrinking still works.
 * Since: 4.5 (the limit), 5.14 (8 KiB; before, 4 KiB).
 * Why: the pool is created and sized before the capabilities are dropped, each size is read back,
 * and the log says which sizes the pipes have. The limit counts the pages of a pipe, not the bytes
 * in it.
 */
#include "probe.h"

#include <grp.h>
#include <sys/resource.h>

/* A user without other processes has its whole budget, and the probe takes pipes from no one. */
enum { LONELY_USER = 65533, MIB = 1 << 20, SOFT_PAGES = 16384, MIB_PAGES = 256 };

static long limit_read(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = -1;

	if (file == NULL || fscanf(file, "%ld", &value) != 1)
		value = -1;
	if (file != NULL)
		fclose(file);
	return value;
}

/* Effective capabilities that lift the limit: CAP_SYS_ADMIN (21), CAP_SYS_RESOURCE (24). */
static bool is_privileged(void)
{
	char line[256];
	unsigned long effective = 0;
	FILE *file = fopen("/proc/thread-self/status", "re");

	PROBE_NEED(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		sscanf(line, "CapEff: %lx", &effective);
	fclose(file);
	return effective & (1UL << 21 | 1UL << 24);
}

int main(void)
{
	struct rlimit files = {.rlim_cur = 256, .rlim_max = 256};
	int pipe_fd[2], count = 0;

	if (limit_read("/proc/sys/fs/pipe-max-size") != MIB || sysconf(_SC_PAGESIZE) != 4096 ||
	    limit_read("/proc/sys/fs/pipe-user-pages-soft") != SOFT_PAGES ||
	    limit_read("/proc/sys/fs/pipe-user-pages-hard") != 0)
		probe_skip(
			"the page size or the limits in /proc/sys/fs/pipe-* are not the defaults");
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		probe_skip("%d descriptors are needed: %s", (int)files.rlim_cur, strerror(errno));
	if (getuid() == 0 &&
	    (setgroups(0, NULL) != 0 || setresuid(LONELY_USER, LONELY_USER, LONELY_USER) != 0))
		probe_skip("root here may not become user %d: %s", LONELY_USER, strerror(errno));
	if (is_privileged())
		probe_skip("this user has CAP_SYS_RESOURCE or CAP_SYS_ADMIN");

	probe_pipe(pipe_fd, 0);
	PROBE_CHECK(fcntl(pipe_fd[1], F_SETPIPE_SZ, 300000) == 512 * 1024 &&
			    fcntl(pipe_fd[0], F_GETPIPE_SZ) == 512 * 1024,
		    "300000 bytes asked, %d got", fcntl(pipe_fd[0], F_GETPIPE_SZ));
	PROBE_CHECK(fcntl(pipe_fd[1], F_SETPIPE_SZ, 2 * MIB) < 0 && errno == EPERM,
		    "2 MiB is not refused with EPERM");
	close(pipe_fd[0]);
	close(pipe_fd[1]);

	do {
		PROBE_CHECK(count <= SOFT_PAGES / MIB_PAGES, "more than %d pipes of 1 MiB",
			    SOFT_PAGES / MIB_PAGES);
		probe_pipe(pipe_fd, 0);
	} while (fcntl(pipe_fd[1], F_SETPIPE_SZ, MIB) == MIB && ++count);
	PROBE_CHECK(errno == EPERM, "after %d pipes: F_SETPIPE_SZ gave %s", count, strerror(errno));
	if (count < SOFT_PAGES / MIB_PAGES)
		probe_skip("user %d has pipes elsewhere: %d of 1 MiB were left", (int)getuid(),
			   count);
	PROBE_CHECK(fcntl(pipe_fd[0], F_GETPIPE_SZ) == 8192, "a new pipe has %d bytes",
		    fcntl(pipe_fd[0], F_GETPIPE_SZ));
	PROBE_CHECK(fcntl(pipe_fd[1], F_SETPIPE_SZ, 16384) < 0 && errno == EPERM,
		    "growing to 16 KiB works");
	PROBE_CHECK(fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096) == 4096, "shrinking to 4 KiB fails: %s",
		    strerror(errno));
	probe_hold("%d pipes of 1 MiB, then 8 KiB and EPERM", count);
}
