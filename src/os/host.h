/* What this host gives the process: CPUs, descriptors, memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a session costs a control group's memory, whatever its peers do: 336 bytes of ours, about
 * 5,600 of the kernel's for two sockets and their files (bench: idle-9000), and the 4 KiB that each
 * of the four socket buffers keeps under memory pressure (the least of net.ipv4.tcp_rmem and
 * tcp_wmem), in all some 22 KiB; the rest is for what is on its way. Above that floor buffers grow
 * while there is memory, and the kernel takes it back when there is none.
 */
#define HOST_SESSION_MEMORY_BYTES (32 << 10)

/* What the process costs besides: program, rings, logs, and what sits in pipes. */
#define HOST_FIXED_MEMORY_BYTES (16 << 20)

/*
 * Reads a small file, such as those in /proc/sys, named by `directory` and `path` one behind the
 * other; what does not fit is left out. Returns 0 and the NUL-terminated text, or -errno and "".
 */
int host_read_file(const char *directory, const char *path, char *text, size_t text_bytes);

/* How long the kernel is left alone after it had no memory for a call. */
#define HOST_SHORTAGE_PAUSE_MS 10

struct pollfd;

/*
 * poll(2) that cannot fail: where a signal came, or the kernel has no memory, nothing is ready. After a shortage it has
 * paused, so that a loop around it does not spin.
 */
void host_poll(struct pollfd *fds, unsigned count, int wait_ms);

/* Whether a list such as "rw,cpu,cpuacct" has the word; `separators` are single characters. */
bool host_lists(const char *list, const char *separators, const char *word);

/* The directory that a path's last part is in, "." where it names none; cut at `text_bytes`. Returns `text`. */
const char *host_directory_of(const char *path, char *text, size_t text_bytes);

/* Whether two paths are one file, which need not be there yet: of one directory, and called the same. */
bool host_is_same_file(const char *a, const char *b);

/*
 * Reserves zeroed memory that becomes resident as it is used, however much of it is never: mmap(2),
 * MAP_NORESERVE. `bytes` > 0. Returns NULL where there are not as many addresses.
 */
void *host_reserve_memory(size_t bytes);
void host_release_memory(void *memory, size_t bytes);

/* CPUs that the process may run on: sched_getaffinity(2). At least 1. */
unsigned host_cpu_count(void);

/*
 * Workers for `cpus`, of which a quota of `cpu_millis` thousandths of a CPU (0: none) may be used:
 * the quota rounded up, at most one per CPU, at least 1.
 */
unsigned host_workers_for(unsigned cpus, uint64_t cpu_millis);

/*
 * Keeps the calling thread on one CPU of those it may run on, the one numbered `index` modulo their
 * number: sched_setaffinity(2). Returns 0 or -errno.
 */
int host_pin_thread(unsigned index);

/*
 * Raises the soft limit on descriptors to the hard one: RLIMIT_NOFILE, getrlimit(2). Returns the
 * limit that holds then.
 */
uint64_t host_raise_descriptor_limit(void);

/*
 * Descriptors that everything but sessions needs, with some to spare for what the C library opens.
 * `others` are those of the main thread's own services.
 */
uint64_t host_fixed_descriptors(unsigned workers, unsigned forwards, unsigned pipes,
				unsigned others);

/* Sessions for which `descriptor_limit` is enough, two descriptors each. */
uint32_t host_sessions_for(uint64_t descriptor_limit, uint64_t fixed_descriptors);

/* Sessions that a control group's memory limit holds, at least 1; 0 bytes is "no limit". */
uint32_t host_sessions_in_memory(uint64_t memory_bytes);

/* The limit that `sessions` need. */
uint64_t host_memory_for(uint32_t sessions);
