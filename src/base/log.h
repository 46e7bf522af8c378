/* SPDX-License-Identifier: MIT */
/*
 * The log: one line per log event, as logfmt or JSON, on stderr, in a file or to syslog.
 *
 * A worker never writes to the log's target itself, because the reader of stderr may stall.
 * log_attach() gives a thread a log ring (log_ring.c); the writer thread, which log_start()
 * creates, writes the lines of the log rings to the target (log_target.h). A line is dropped and
 * counted if its ring is full or if the target refuses it (a full disk, no syslog daemon). A thread
 * without a ring writes at once.
 *
 * Each log event has a rate in log_events.def. Lines beyond the rate are counted, and the next line
 * of the same event has `suppressed=N`. Values are escaped: one event is always one line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/fault.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_event {
#define LOG_EVENT(word, level, rate, meaning, remedy) LOG_EVENT_##word,
#include "base/log_events.def"
#undef LOG_EVENT
	LOG_EVENT_COUNT
};

/* The longest line. Fields that do not fit are left out, and the line gets `truncated=true`. */
#define LOG_LINE_BYTES 16384

struct log_line {
	char text[LOG_LINE_BYTES];
	size_t length_bytes;
	enum log_level level;
	bool json;
	bool truncated;
	bool list_open;
};

/* Sets level and format. Call it before any thread starts. The default is info and logfmt. */
void log_init(enum log_level level, enum log_format format);

/* The level now; may change while threads log. Any thread. */
enum log_level log_level(void);
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug". */
const char *log_level_word(enum log_level level);

/*
 * Without one of these two calls, lines go to stderr. With them, lines of level error go to stderr
 * too. Main thread, after log_hold() and before log_start(): lines that wait go to the new target.
 * `path` must stay. log_to_file() returns 0, or -errno with `fault`: base/log_file.h says which
 * file is refused. log_to_syslog() connects with the first line, and again when it must.
 */
int log_to_file(const char *path, uid_t uid, gid_t gid, struct fault *fault);
void log_to_syslog(const char *path);

/* The socket of the syslog daemon: syslog(3). */
#define LOG_SYSLOG_PATH "/dev/log"

/*
 * Makes the writer thread open the file of log_to_file() anew: the old one has another name by now.
 * If that fails, the old file stays in use, and event=log_reopen_failed says why. Without a file,
 * does nothing. Main thread; does not wait.
 */
void log_reopen(void);

/*
 * Gives the main thread, which must be the caller, a log ring of its own. From then on its lines
 * wait for the writer thread, and a stalled reader of stderr does not stop the main thread. The
 * caller must call log_stop() at the end, also if the start fails.
 */
void log_hold(void);

/*
 * Creates the log rings of `worker_count` workers and the writer thread, which inherits the
 * caller's signal mask, and calls log_hold(). Call it once in a process. Returns 0 or -errno.
 */
int log_start(unsigned worker_count);

/* Gives the calling thread log ring `worker`. Each worker calls it once before it logs. */
void log_attach(unsigned worker);

/*
 * Waits at most `limit_s` seconds until the lines in the log rings are written, and ends the writer
 * thread. Lines that the caller logs later need another log_stop(). If the target takes longer, all
 * further lines are dropped.
 */
void log_stop(unsigned limit_s);

/* How long the last lines of a process may take to reach a slow target. */
#define LOG_FLUSH_LIMIT_S 2

/*
 * Begins a line. Returns false if the event's level is off or its rate is used up: then the caller
 * must not use the line. The caller owns `line`, which has no references.
 */
bool log_begin(struct log_line *line, enum log_event event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_number(struct log_line *line, const char *key, uint64_t value);
void log_addr(struct log_line *line, const char *key, const struct addr *address);
/*
 * Which forward the line is about, in all events by the same two keys: `forward`, the name of its
 * section or its number (NULL: a listener of no forward), and `listen`.
 */
void log_forward(struct log_line *line, const char *name, const struct addr *listen);
void log_error(struct log_line *line, const char *key, int error); /* an errno, of either sign */

/* A list: begin, any number of items, end. A repeated key in logfmt, one array in JSON. */
void log_list_begin(struct log_line *line, const char *key);
void log_list_item(struct log_line *line, const char *key, const char *value);
void log_list_end(struct log_line *line);

/* Room for a date. */
#define LOG_DATE_BYTES 80

/*
 * Prints a time in milliseconds since 1970 as a UTC date: 2026-11-23T07:21:00.123Z (RFC 3339).
 * Takes no lock. Returns `text`.
 */
const char *log_date_print(uint64_t unix_ms, char text[LOG_DATE_BYTES]);

/* Ends the line and puts it into the thread's log ring. Blocks only in a thread without a ring. */
void log_end(struct log_line *line);

/*
 * Logs text that is not an event but is for a person (an error of the start): `length_bytes` of
 * whole lines, each at most LOG_LINE_BYTES. They have level error, go the same way as the caller's
 * log lines and stay in order with them.
 */
void log_print(const char *text, size_t length_bytes);

/* The number of lines lost since the start, because a ring was full or the target refused it. */
uint64_t log_dropped_count(void);
