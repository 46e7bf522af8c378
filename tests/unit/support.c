/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "base/util.h"
#include "os/sock.h"
#include "os/timer.h"

#define THREAD_LIMIT 64

static int saved_stderr = -1;
static int capture_fd = -1;

#ifdef __SANITIZE_THREAD__
/*
 * Criterion's libboxfort maps its arena at an address from rand_r(3), and ThreadSanitizer forbids
 * nearly all of these addresses (Snaipe/Criterion issue 274). This rand_r() gives addresses in
 * 0x5500_0000_0000 to 0x5550_0000_0000, which both accept.
 */
int rand_r(unsigned *seed)
{
	return (int)(0x350000U + (*seed)++ % 0x5000U);
}
#endif

static void set_buffer(int fd, int option, int bytes)
{
	if (bytes)
		cr_assert(!setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)));
}

int support_listen(struct addr *address, int backlog)
{
	const struct sock_tuning tuning = {0};
	int fd;

	cr_assert_null(addr_parse("127.0.0.1:0", address));
	cr_assert_eq(sock_open_listeners(address, &tuning, (unsigned)backlog, &fd, 1), 0);
	return fd;
}

static int connect_to(const struct addr *address, int rcvbuf_bytes)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	set_buffer(fd, SO_RCVBUF, rcvbuf_bytes);
	cr_assert_eq(connect(fd, &address->any, address->length_bytes), 0, "connect: %s",
		     strerror(errno));
	return fd;
}

int support_connect(const struct addr *address)
{
	return connect_to(address, 0);
}

void support_tcp_open(struct support_tcp *tcp, int our_sndbuf_bytes, int peer_rcvbuf_bytes)
{
	struct addr address;
	int listener = support_listen(&address, 1);

	tcp->peer = connect_to(&address, peer_rcvbuf_bytes);
	support_poll(listener, POLLIN);
	tcp->ours = sock_accept(listener);
	cr_assert_geq(tcp->ours, 0);
	set_buffer(tcp->ours, SO_SNDBUF, our_sndbuf_bytes);
	close(listener);
}

void support_tcp_close(struct support_tcp *tcp)
{
	if (tcp->ours >= 0)
		close(tcp->ours);
	if (tcp->peer >= 0)
		close(tcp->peer);
	tcp->ours = tcp->peer = -1;
}

void support_reset(int fd)
{
	sock_reset_on_close(fd, true);
	close(fd);
}

void support_send(int fd, const void *bytes, size_t count)
{
	const char *at = bytes;

	while (count) {
		ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);

		cr_assert_gt(sent, 0, "send: %s", strerror(errno));
		at += sent;
		count -= (size_t)sent;
	}
}

void support_receive(int fd, void *bytes, size_t count)
{
	char *at = bytes;
	size_t left = count;

	/* a ring that this thread has destroyed may cut a wait for all of them short */
	while (left) {
		ssize_t got = recv(fd, at, left, MSG_WAITALL);

		cr_assert_gt(got, 0, "recv: %zd, %zu of %zu bytes left: %s", got, left, count,
			     strerror(errno));
		at += got;
		left -= (size_t)got;
	}
}

/* Whether the peer's kernel has acknowledged all bytes that it has received. */
static bool is_settled(const struct support_tcp *tcp, uint64_t sent_bytes)
{
	int unacknowledged = 0, received = 0;

	cr_assert(!ioctl(tcp->ours, SIOCOUTQ, &unacknowledged));
	cr_assert(!ioctl(tcp->peer, FIONREAD, &received));
	return sent_bytes == (uint64_t)unacknowledged + (uint64_t)received;
}

uint64_t support_stuff(const struct support_tcp *tcp)
{
	static const char bytes[65536];
	uint64_t deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	int received = 0, unacknowledged = 0;
	uint64_t before, sum;

	cr_assert(!ioctl(tcp->peer, FIONREAD, &received));
	cr_assert(!ioctl(tcp->ours, SIOCOUTQ, &unacknowledged));
	before = sum = (uint64_t)received + (uint64_t)unacknowledged;
	for (;;) {
		bool settled = is_settled(tcp, sum);
		ssize_t sent = send(tcp->ours, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		cr_assert_lt(timer_now_ms(), deadline_ms);
		cr_assert(sent > 0 || errno == EAGAIN, "%s", strerror(errno));
		if (sent > 0)
			sum += (uint64_t)sent;
		else if (settled)
			return sum - before;
		else
			sched_yield();
	}
}

short support_poll(int fd, short events)
{
	struct pollfd wanted = {.fd = fd, .events = events};

	cr_assert_eq(poll(&wanted, 1, SUPPORT_PATIENCE_MS), 1, "nothing happened on fd %d", fd);
	return wanted.revents;
}

void support_wait_for_bytes(int fd, size_t count)
{
	int low_water = (int)count;
	int one = 1;

	cr_assert(!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water)));
	support_poll(fd, POLLIN);
	cr_assert(!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one)));
}

bool support_wait(struct poll_set *set, int limit_ms)
{
	uint64_t end_ms = timer_now_ms() + (uint64_t)limit_ms;
	bool woken = set->due_ms < end_ms;

	poll_set_due(set, end_ms);
	poll_set_wait(set);
	for (unsigned i = 0; i < set->count; i++)
		woken |= set->fds[i].revents != 0;
	return woken;
}

int support_option(int fd, int level, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	cr_assert(!getsockopt(fd, level, option, &value, &length));
	return value;
}

static unsigned char pattern_at(uint64_t at)
{
	return (unsigned char)((at * 0x9e3779b97f4a7c15ULL) >> 56);
}

void support_fill_pattern(void *bytes, size_t count, uint64_t at)
{
	unsigned char *to = bytes;

	for (size_t i = 0; i < count; i++)
		to[i] = pattern_at(at + i);
}

size_t support_check_pattern(const void *bytes, size_t count, uint64_t at)
{
	const unsigned char *from = bytes;

	for (size_t i = 0; i < count; i++)
		if (from[i] != pattern_at(at + i))
			return i;
	return count;
}

int support_set(struct config *config, const char *name, const char *text, struct fault *fault)
{
	const struct option_spec *option = options_find(name, strlen(name));

	cr_assert_not_null(option, "%s", name);
	return config_set(config, option, text, fault);
}

static int take_first(const struct config *config, int result, struct fault *fault)
{
	if (result)
		*fault = config->errors.list[0];
	return result;
}

int support_check(struct config *config, struct fault *fault)
{
	return take_first(config, config_check(config), fault);
}

int support_parse(struct command_line *line, int argc, char **argv, struct fault *fault)
{
	return take_first(line->config, config_parse(line, argc, argv), fault);
}

const char *support_text(const struct fault *fault)
{
	static char text[FAULT_TEXT_BYTES];

	return fault_print(fault, text);
}

void support_must_set(struct config *config, const char *name, const char *text)
{
	struct fault fault;

	cr_assert_eq(support_set(config, name, text, &fault), 0, "%s", support_text(&fault));
}

void support_describe_forwards(const struct config *config, char text[SUPPORT_FORWARDS_BYTES])
{
	char address[CONFIG_BACKEND_TEXT_BYTES];

	text[0] = '\0';
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_forward *forward = &config->forwards[i];

		addr_print(&forward->listen, address);
		snprintf(text + strlen(text), SUPPORT_FORWARDS_BYTES - strlen(text), "%s%s>",
			 i ? " " : "", address);
		for (unsigned j = 0; j < forward->backend_count; j++) {
			config_print_backend(&forward->backends[j], address);
			snprintf(text + strlen(text), SUPPORT_FORWARDS_BYTES - strlen(text), "%s%s",
				 j ? "," : "", address);
		}
	}
}

unsigned support_count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	unsigned count = 0;

	cr_assert_not_null(directory);
	while ((entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count - 1; /* without the directory's own descriptor */
}

void support_put_file(const char *root, const char *path, const char *text)
{
	char name[PATH_MAX];
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *at = name + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(name, 0755);
		*at = '/';
	}
	file = fopen(name, "w");
	cr_assert_not_null(file, "%s", name);
	cr_assert(fputs(text, file) >= 0);
	cr_assert(!fclose(file));
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

void support_remove_tree(const char *root)
{
	cr_assert(!nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS));
}

void support_capture_begin(void)
{
	saved_stderr = dup(STDERR_FILENO);
	capture_fd = memfd_create("stderr", MFD_CLOEXEC);
	cr_assert(saved_stderr >= 0 && capture_fd >= 0);
	cr_assert_geq(dup2(capture_fd, STDERR_FILENO), 0);
}

char *support_capture_end(void)
{
	off_t bytes = lseek(capture_fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)bytes + 1);

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	cr_assert_not_null(text);
	cr_assert_eq(pread(capture_fd, text, (size_t)bytes, 0), bytes);
	close(capture_fd);
	return text;
}

bool support_aborts(void (*function)(void *argument), void *argument)
{
	static const char expected[] = "sixpipe: internal error: ";
	int said_fd = memfd_create("aborts", MFD_CLOEXEC);
	char said[sizeof(expected)] = "";
	int status;
	pid_t child;

	cr_assert_geq(said_fd, 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (!child) {
		const struct rlimit no_core = {0, 0};

		setrlimit(RLIMIT_CORE, &no_core);
		dup2(said_fd, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		function(argument);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_geq(pread(said_fd, said, sizeof(said) - 1, 0), 0);
	close(said_fd);
	/* a sanitizer that found a fault would abort as well, with another message */
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !strcmp(said, expected);
}

void support_run_threads(void *(*function)(void *argument), void *arguments, size_t argument_bytes,
			 unsigned count)
{
	pthread_t threads[THREAD_LIMIT];

	cr_assert_leq(count, THREAD_LIMIT);
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, function,
					    (char *)arguments + i * argument_bytes),
			     0);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

void support_check_leaks(void)
{
#ifdef __SANITIZE_ADDRESS__
	if (__lsan_do_recoverable_leak_check())
		kill(getppid(), SIGTERM);
#endif
}

uint64_t support_random(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return mixed ^ mixed >> 31;
}
