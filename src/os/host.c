/* SPDX-License-Identifier: MIT */
#include "os/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#define SPARE_DESCRIPTORS    16
#define DESCRIPTORS_PER_PIPE 2
/* epoll, eventfd and two for the mailbox (io_uring needs only two); and the reserve */
#define DESCRIPTORS_PER_WORKER 5

int host_read_file(const char *directory, const char *path, char *text, size_t text_bytes)
{
	char name[PATH_MAX];
	ssize_t length;
	int fd, error = 0;

	CHECK(text_bytes > 0);
	text[0] = '\0';
	if (snprintf(name, sizeof(name), "%s%s", directory, path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, text_bytes - 1);
	if (length < 0)
		error = -errno;
	text[MAX(length, 0)] = '\0';
	close(fd);
	return error;
}

void *host_reserve_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void host_release_memory(void *memory, size_t bytes)
{
	munmap(memory, bytes);
}

void host_fill_memory(void *memory, size_t bytes)
{
	(void)madvise(memory, bytes, MADV_POPULATE_WRITE);
}

void host_expect_descriptors(uint64_t count, int fd)
{
	uint64_t limit = host_raise_descriptor_limit();
	int last_fd = fcntl(fd, F_DUPFD_CLOEXEC, (int)MIN(count, MIN(limit, INT_MAX) - 1));

	if (last_fd >= 0)
		close(last_fd);
}

bool host_lists(const char *list, const char *separators, const char *word)
{
	size_t word_length = strlen(word), length;

	for (; *list; list += length + !!list[length]) {
		length = strcspn(list, separators);
		if (length == word_length && !memcmp(list, word, length))
			return true;
	}
	return false;
}

unsigned host_cpu_count(void)
{
	cpu_set_t set;
	long online;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)MAX(CPU_COUNT(&set), 1);
	/* more CPUs than a cpu_set_t holds */
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return (unsigned)MAX(online, 1);
}

unsigned host_workers_for(unsigned cpus, uint64_t cpu_millis)
{
	uint64_t quota = cpu_millis / 1000 + !!(cpu_millis % 1000);

	return MAX(quota ? (unsigned)MIN(quota, (uint64_t)cpus) : cpus, 1);
}

int host_pin_thread(unsigned index)
{
	cpu_set_t allowed, one;
	unsigned left;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	left = index % (unsigned)MAX(CPU_COUNT(&allowed), 1);
	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !left--) {
			CPU_SET(cpu, &one);
			break;
		}
	return sched_setaffinity(0, sizeof(one), &one) ? -errno : 0;
}

uint64_t host_raise_descriptor_limit(void)
{
	struct rlimit limit;
	int failed = getrlimit(RLIMIT_NOFILE, &limit);

	CHECK(!failed); /* fails only for a limit that does not exist */
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (!setrlimit(RLIMIT_NOFILE, &raised))
			limit = raised;
	}
	return limit.rlim_cur;
}

uint64_t host_fixed_descriptors(unsigned workers, unsigned forwards, unsigned pipes,
				unsigned others)
{
	/* workers * forwards * 2: a listener, and a connection that it may hold back */
	return SPARE_DESCRIPTORS + (uint64_t)workers * DESCRIPTORS_PER_WORKER +
	       (uint64_t)workers * forwards * 2 + (uint64_t)pipes * DESCRIPTORS_PER_PIPE + others;
}

uint32_t host_sessions_for(uint64_t descriptor_limit, uint64_t fixed_descriptors)
{
	uint64_t sessions;

	if (descriptor_limit <= fixed_descriptors)
		return 0;
	sessions = (descriptor_limit - fixed_descriptors) / 2;
	return (uint32_t)MIN(sessions, (uint64_t)UINT32_MAX);
}

uint32_t host_sessions_in_memory(uint64_t memory_bytes)
{
	uint64_t sessions;

	if (!memory_bytes)
		return UINT32_MAX;
	/* under a limit that is too small for the fixed part, sessions get half of the limit */
	sessions = (memory_bytes - MIN(memory_bytes / 2, (uint64_t)HOST_FIXED_MEMORY_BYTES)) /
		   HOST_SESSION_MEMORY_BYTES;
	return (uint32_t)MIN(MAX(sessions, 1), (uint64_t)UINT32_MAX);
}

uint64_t host_memory_for(uint32_t sessions)
{
	return HOST_FIXED_MEMORY_BYTES + (uint64_t)sessions * HOST_SESSION_MEMORY_BYTES;
}

const char *host_directory_of(const char *path, char *text, size_t text_bytes)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(text, text_bytes, ".");
	else /* "/state" is in "/" */
		snprintf(text, text_bytes, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return text;
}

const char *host_user_name(char text[HOST_USER_BYTES])
{
	const struct passwd *entry = getpwuid(geteuid());

	if (entry)
		snprintf(text, HOST_USER_BYTES, "%s", entry->pw_name);
	else
		snprintf(text, HOST_USER_BYTES, "%u", (unsigned)geteuid());
	return text;
}

bool host_is_same_file(const char *a, const char *b)
{
	const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
	char a_folder[PATH_MAX], b_folder[PATH_MAX];
	struct stat a_status, b_status;

	if (strcmp(a_slash ? a_slash + 1 : a, b_slash ? b_slash + 1 : b))
		return false;
	return !stat(host_directory_of(a, a_folder, sizeof(a_folder)), &a_status) &&
	       !stat(host_directory_of(b, b_folder, sizeof(b_folder)), &b_status) &&
	       a_status.st_dev == b_status.st_dev && a_status.st_ino == b_status.st_ino;
}
