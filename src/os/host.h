/* SPDX-License-Identifier: MIT */
/* The resources of this host for the process: CPUs, descriptors, memory, files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The memory of a control group that a session needs, whatever its peers do. 336 bytes are ours,
 * about 5,600 bytes are the kernel's for two sockets and their files (bench: idle-9000), and each
 * of the four socket buffers keeps 4 KiB under memory pressure (the least of net.ipv4.tcp_rmem and
 * tcp_wmem). This sum is about 22 KiB; the rest is a reserve for packets on their way. Buffers grow
 * beyond that while there is memory, and the kernel takes this part back when memory is short.
 */
#define HOST_SESSION_MEMORY_BYTES (32 << 10)

/* The memory of everything but sessions: program, rings, logs, and bytes in pipes. */
#define HOST_FIXED_MEMORY_BYTES (16 << 20)

/*
 * Reads a small file, such as a file of /proc/sys. Its name is `directory` followed by `path`. A
 * text longer than `text_bytes` is cut. Returns 0 and the NUL-terminated text, or -errno and "".
 */
int host_read_file(const char *directory, const char *path, char *text, size_t text_bytes);

/* Whether a list such as "rw,cpu,cpuacct" has `word`; each character of `separators` separates. */
bool host_lists(const char *list, const char *separators, const char *word);

/*
 * Writes the directory part of `path`, or "." if `path` has no slash, into `text`, at most
 * `text_bytes` with the NUL. Returns `text`.
 */
const char *host_directory_of(const char *path, char *text, size_t text_bytes);

/* Whether two paths name the same file: same directory, same name. The file need not exist. */
bool host_is_same_file(const char *a, const char *b);

/*
 * Writes the name of the user that the process is now into `text`, or its number if the user has no
 * name: getpwuid(3) of geteuid(2). A longer name is cut. Returns `text`.
 */
#define HOST_USER_BYTES 64
const char *host_user_name(char text[HOST_USER_BYTES]);

/*
 * Reserves zeroed memory: mmap(2), MAP_NORESERVE. A page becomes resident when it is first used.
 * `bytes` > 0. Returns NULL if the process has not enough address space. host_release_memory()
 * gives the memory back.
 */
void *host_reserve_memory(size_t bytes);
void host_release_memory(void *memory, size_t bytes);

/*
 * Makes the first `bytes` of reserved memory resident now: MADV_POPULATE_WRITE, Linux 5.14. One call
 * costs less than a page fault for each page. Where it fails, pages become resident as before.
 */
void host_fill_memory(void *memory, size_t bytes);

/*
 * Makes the table of descriptors large enough for `count` of them, within RLIMIT_NOFILE. The kernel
 * would double the table again and again, and each time wait for an RCU grace period if the process
 * has threads. `fd`: any open descriptor. Without memory for it, nothing changes.
 */
void host_expect_descriptors(uint64_t count, int fd);

/* The number of CPUs that the process may run on: sched_getaffinity(2). At least 1. */
unsigned host_cpu_count(void);

/*
 * The number of workers for `cpus` CPUs and a quota of `cpu_millis` thousandths of a CPU (0: no
 * quota): the quota rounded up, at most one per CPU, at least 1.
 */
unsigned host_workers_for(unsigned cpus, uint64_t cpu_millis);

/*
 * Pins the calling thread to a CPU: number `index`, modulo their count, of the CPUs that it may run
 * on. sched_setaffinity(2). Returns 0 or -errno.
 */
int host_pin_thread(unsigned index);

/*
 * Raises the soft limit on descriptors to the hard limit: RLIMIT_NOFILE, getrlimit(2). Returns the
 * soft limit afterwards.
 */
uint64_t host_raise_descriptor_limit(void);

/*
 * The number of descriptors that everything but sessions needs, including a reserve for the C
 * library. `others` is the number that the main thread's services need.
 */
uint64_t host_fixed_descriptors(unsigned workers, unsigned forwards, unsigned pipes,
				unsigned others);

/* The number of sessions that fit under `descriptor_limit`; each needs two descriptors. */
uint32_t host_sessions_for(uint64_t descriptor_limit, uint64_t fixed_descriptors);

/* The number of sessions that fit into a control group's memory limit (0: no limit), at least 1. */
uint32_t host_sessions_in_memory(uint64_t memory_bytes);

/* The memory limit in bytes that `sessions` need. */
uint64_t host_memory_for(uint32_t sessions);
