/* SPDX-License-Identifier: MIT */
/*
 * Shared by unit tests: TCP connections over loopback, captured stderr, counted descriptors,
 * threads, and calls that must abort. A failure in here fails the calling test.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "config/config_parse.h"
#include "os/poll_set.h"

/* How long an event that must come may take before the test fails. No test sleeps for this time. */
#define SUPPORT_PATIENCE_MS 10000

/*
 * A connection over 127.0.0.1. `ours` is non-blocking and takes urgent data in line, as sixpipe's
 * own sockets do; `peer` blocks. A buffer size of 0 is the kernel's default.
 */
struct support_tcp {
	int ours;
	int peer;
};

void support_tcp_open(struct support_tcp *tcp, int our_sndbuf_bytes, int peer_rcvbuf_bytes);
void support_tcp_close(struct support_tcp *tcp);

/* A listening socket on 127.0.0.1, port 0, and its address. */
int support_listen(struct addr *address, int backlog);

/* connect(2) with a blocking socket. */
int support_connect(const struct addr *address);

/* close(2) that sends a RST. */
void support_reset(int fd);

void support_send(int fd, const void *bytes, size_t count);
void support_receive(int fd, void *bytes, size_t count);

/* Waits until `count` bytes, or the end, can be read from socket `fd`; see SO_RCVLOWAT, socket(7). */
void support_wait_for_bytes(int fd, size_t count);

/*
 * Sends until `ours` is full, and stays full until the peer reads, even when the peer's kernel has
 * acknowledged all bytes. Returns how many bytes were sent.
 */
uint64_t support_stuff(const struct support_tcp *tcp);

/* Waits for poll(2) events on `fd`; returns the events that came. */
short support_poll(int fd, short events);

/* poll_set_wait() for `limit_ms` at most. False: nothing came, and nothing was due. */
bool support_wait(struct poll_set *set, int limit_ms);

/* An option of a socket whose value is an int: getsockopt(2). */
int support_option(int fd, int level, int option);

/* Fills a stretch of a stream that differs at every offset; `at` is the offset. */
void support_fill_pattern(void *bytes, size_t count, uint64_t at);

/* The first index that differs from the pattern, or `count`. */
size_t support_check_pattern(const void *bytes, size_t count, uint64_t at);

/* config_set() of the option called `name`, which must be there. */
int support_set(struct config *config, const char *name, const char *text, struct fault *fault);

/* config_check() and config_parse(); on failure `fault` is the first of config->errors. */
int support_check(struct config *config, struct fault *fault);
int support_parse(struct command_line *line, int argc, char **argv, struct fault *fault);

/* A fault as it is printed, or "" for {0}; until the next call. */
const char *support_text(const struct fault *fault);

/* The same, for the preparation of a test: the value must be accepted. */
void support_must_set(struct config *config, const char *name, const char *text);

#define SUPPORT_FORWARDS_BYTES 512

/* Prints a configuration's forwards as "LISTEN>BACKEND,BACKEND LISTEN>BACKEND". */
void support_describe_forwards(const struct config *config, char text[SUPPORT_FORWARDS_BYTES]);

/* Open descriptors of this process. */
unsigned support_count_descriptors(void);

/* Writes a file at `path` below directory `root`, and makes directories. `path` begins with "/". */
void support_put_file(const char *root, const char *path, const char *text);

/* Removes a directory and everything in it. */
void support_remove_tree(const char *root);

/* From here to support_capture_end(), stderr goes into a file. */
void support_capture_begin(void);

/* Returns the text that was written, NUL-terminated; the caller frees it. */
char *support_capture_end(void);

/* Whether `function(argument)` fails a CHECK; it runs in a child process. */
bool support_aborts(void (*function)(void *argument), void *argument);

/*
 * Runs `count` threads of `function` at once, and waits for the end of all. Each thread gets its
 * own element of `arguments`, an array with elements of `argument_bytes`; with 0 bytes all threads
 * get the same pointer.
 */
void support_run_threads(void *(*function)(void *argument), void *arguments, size_t argument_bytes,
			 unsigned count);

/*
 * For each suite's TestSuite(..., .fini): ends the whole test program if the test has leaked
 * memory. LeakSanitizer reports by the exit status of the test's process, which Criterion ignores.
 */
void support_check_leaks(void);

/* The next pseudo-random number of `state`. The same first state gives the same numbers. */
uint64_t support_random(uint64_t *state);
