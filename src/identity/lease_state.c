/* SPDX-License-Identifier: MIT */
#include "identity/lease_state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "base/util.h"

#define LINE_BYTES     256
#define KEY	       "pseudo-key" /* the options that name the files */
#define STATE	       "pseudo-state"
#define KEY_HEX_DIGITS (2 * SIPHASH_KEY_BYTES)

/* A state file that is being read, and the values of its header. */
struct reader {
	const char *path;
	FILE *file;
	unsigned line_number;
	char line[LINE_BYTES];
	struct fault *fault;
	char block[CIDR_TEXT_BYTES];
	uint64_t client_bits;
	uint8_t key[SIPHASH_KEY_BYTES];
};

/* -errno of a call that failed for the file at `path`, which `option` named. */
static int fail_errno(struct fault *fault, const char *option, const char *path, const char *what)
{
	int number = errno;
	const char *remedy =
		number == EACCES ? "let the user of sixpipe read it and enter its directory" : "";

	fault_set_object(fault, option, path, "cannot %s: %s; %s", what, strerror(number), remedy);
	return -number;
}

PRINTF_LIKE(2, 3) static int fail_line(const struct reader *reader, const char *format, ...)
{
	char place[FAULT_VALUE_BYTES];
	va_list arguments;

	snprintf(place, sizeof(place), "%.200s:%u", reader->path, reader->line_number);
	va_start(arguments, format);
	fault_set_list(reader->fault, STATE, place, format, arguments);
	va_end(arguments);
	reader->fault->kind = FAULT_OF_OBJECT;
	return -EINVAL;
}

/* Opening -------------------------------------------------------------------------------------- */

/* Opens a file that holds a secret. Returns the descriptor or -errno; -ENOENT sets no `fault`. */
static int open_secret(const char *option, const char *path, struct fault *fault)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* or open(2) of a FIFO waits */
	struct stat status;
	int result = 0;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : fail_errno(fault, option, path, "open it");
	if (fstat(fd, &status))
		result = fail_errno(fault, option, path, "look at it");
	else if (!S_ISREG(status.st_mode))
		result = fault_set_object(fault, option, path,
					  "is not a regular file; name another");
	else if (status.st_mode & 07) /* the group may read it: Kubernetes' fsGroup */
		result = fault_set_object(fault, option, path,
					  "holds a secret key, and its mode %03o lets everybody at "
					  "it; run: chmod 600 %.200s",
					  status.st_mode & 0777, path);
	if (!result)
		return fd;
	close(fd);
	return result;
}

/* Reads a key of exactly KEY_HEX_DIGITS digits. */
static bool parse_key(const char *text, uint8_t key[SIPHASH_KEY_BYTES])
{
	if (strlen(text) != KEY_HEX_DIGITS ||
	    strspn(text, "0123456789abcdefABCDEF") != KEY_HEX_DIGITS)
		return false;
	for (size_t i = 0; i < SIPHASH_KEY_BYTES; i++)
		sscanf(text + 2 * i, "%2hhx", &key[i]);
	return true;
}

int lease_key_read(const char *path, uint8_t key[SIPHASH_KEY_BYTES], struct fault *fault)
{
	char text[KEY_HEX_DIGITS + 3]; /* a newline, one too many, and the NUL */
	int fd = open_secret(KEY, path, fault);
	ssize_t length;

	if (fd == -ENOENT)
		fault_set_object(fault, KEY, path,
				 "there is no such key file; make one: (umask 077; od -An -tx1 "
				 "-N16 /dev/urandom | tr -d ' ' >%.200s)",
				 path);
	if (fd < 0)
		return fd;
	length = read(fd, text, sizeof(text) - 1);
	if (length < 0) {
		int result = fail_errno(fault, KEY, path, "read it");

		close(fd);
		return result;
	}
	close(fd);
	if (length && text[length - 1] == '\n')
		length--;
	text[length] = '\0';
	/* a NUL would hide the bytes after it */
	if (strlen(text) != (size_t)length || !parse_key(text, key))
		return fault_set_object(fault, KEY, path,
					"is not a key; it must hold %d hexadecimal digits, and "
					"nothing else but a newline",
					KEY_HEX_DIGITS);
	return 0;
}

/* Reading -------------------------------------------------------------------------------------- */

/*
 * Reads the next line, without its newline. Returns 0 or -errno; the end of the file is an error.
 */
static int next_line(struct reader *reader)
{
	size_t length;

	reader->line_number++;
	memset(reader->line, 0, sizeof(reader->line)); /* a NUL in the file ends its line */
	if (!fgets(reader->line, sizeof(reader->line), reader->file)) {
		if (ferror(reader->file))
			return fail_errno(reader->fault, STATE, reader->path, "read it");
		return fail_line(reader, "the file ends before its 'end' line, so it is not whole; "
					 "restore it, or remove it to start afresh");
	}
	length = strlen(reader->line);
	if (!length || reader->line[length - 1] != '\n')
		return fail_line(reader, "the line is too long, holds a NUL or has no newline; "
					 "restore the file, or remove it to start afresh");
	reader->line[length - 1] = '\0';
	return 0;
}

/* The text after `word` and a blank, or NULL if the line does not begin with `word`. */
static const char *value_of(const struct reader *reader, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(reader->line, word, length) != 0 || reader->line[length] != ' ')
		return NULL;
	return reader->line + length + 1;
}

/* Reads the next line, which must begin with `word`. */
static int next_value(struct reader *reader, const char *word, const char **value)
{
	int result = next_line(reader);

	if (result)
		return result;
	*value = value_of(reader, word);
	if (*value)
		return 0;
	return fail_line(reader,
			 "there should be a line '%s ...' here; restore the file, or remove it to "
			 "start afresh",
			 word);
}

static int read_header(struct reader *reader)
{
	uint64_t version;
	const char *value;
	struct cidr block;
	int result = next_value(reader, "sixpipe-sources", &value);

	if (result)
		return result;
	if (units_parse_count(value, &version) || version != LEASE_STATE_VERSION)
		return fail_line(reader, "is of a version that this program does not know; use the "
					 "program that wrote it, or remove it to start afresh");
	result = next_value(reader, "block", &value);
	if (result)
		return result;
	if (cidr_parse(value, &block) || !cidr_is_v4(&block))
		return fail_line(reader, "is not an IPv4 block; write it as in 240.0.0.0/4");
	cidr_print(&block, reader->block);
	result = next_value(reader, "client-prefix", &value);
	if (result)
		return result;
	if (units_parse_count(value, &reader->client_bits) ||
	    (reader->client_bits != 64 && reader->client_bits != 128))
		return fail_line(reader, "the prefix length must be 64 or 128; correct it");
	result = next_value(reader, "key", &value);
	if (result)
		return result;
	if (!parse_key(value, reader->key))
		return fail_line(reader, "the key must be 32 hexadecimal digits; restore the file, "
					 "or remove it to start afresh");
	return 0;
}

/*
 * Opens the state file and reads its header. If there is no such file, `reader->file` stays NULL.
 * The caller closes `reader->file` if it is not NULL, also after an error.
 */
static int open_state(struct reader *reader)
{
	int fd = open_secret(STATE, reader->path, reader->fault);
	int result;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	reader->file = fdopen(fd, "r");
	if (reader->file)
		return read_header(reader);
	result = fail_errno(reader->fault, STATE, reader->path, "read it");
	close(fd);
	return result;
}

static int check_header(const struct reader *reader, const struct lease_pool *pool)
{
	const struct lease_block *block = &pool->block;
	char text[CIDR_TEXT_BYTES];

	cidr_print(&block->cidr, text);
	if (strcmp(text, reader->block) != 0)
		return fault_set_object(reader->fault, STATE, reader->path,
					"holds addresses of %s, not of %s; give that block, or "
					"remove the file to give every client another address",
					reader->block, text);
	if (reader->client_bits != pool->client_bits)
		return fault_set_object(reader->fault, STATE, reader->path,
					"holds clients by /%" PRIu64
					", not /%u; give that prefix length, or remove the file to "
					"give every client another address",
					reader->client_bits, pool->client_bits);
	if (memcmp(reader->key, block->key, sizeof(block->key)) != 0)
		return fault_set_object(reader->fault, STATE, reader->path,
					"was written with another key; give that key, or remove "
					"the file to give every client another address");
	return 0;
}

/* Converts a time of day to the pool's clock. A time in the future becomes the present. */
static int32_t to_pool_seconds(const struct lease_clock *clock, uint64_t unix_s)
{
	int64_t now_s = (int64_t)(clock->now_ms / 1000);
	int64_t age_s = clock->unix_s - (int64_t)MIN(unix_s, (uint64_t)INT64_MAX / 2);

	age_s = MAX(age_s, 0);
	return (int32_t)MAX(now_s - age_s, (int64_t)INT32_MIN);
}

static int read_lease(struct reader *reader, struct lease_pool *pool,
		      const struct lease_clock *clock)
{
	struct lease_record record;
	char *address = reader->line + strlen("lease ");
	char *client = strchr(address, ' ');
	char *used = client ? strchr(client + 1, ' ') : NULL;
	const char *problem;
	uint64_t unix_s;

	if (!used)
		return fail_line(reader, "a lease has address, client and time; remove the line, "
					 "and count one less behind 'end'");
	*client++ = '\0';
	*used++ = '\0';
	if (inet_pton(AF_INET, address, &record.address) != 1)
		return fail_line(reader, "the address is not an IPv4 address; remove the line, and "
					 "count one less behind 'end'");
	problem = cidr_parse(client, &record.client);
	if (problem)
		return fail_line(
			reader,
			"the client %s, or remove the line, and count one less behind 'end'",
			problem);
	if (units_parse_count(used, &unix_s))
		return fail_line(reader,
				 "the time is not a number of seconds since 1970; correct it");
	record.used_s = to_pool_seconds(clock, unix_s);
	problem = lease_pool_restore(pool, &record);
	if (problem)
		return fail_line(reader, "%s, and count one less behind 'end'", problem);
	return 0;
}

/* Reads the lines after the header into a pool. */
static int read_leases(struct reader *reader, struct lease_pool *pool,
		       const struct lease_clock *clock, uint64_t *dropped)
{
	struct lease_pool_stats stats = {0};
	uint64_t count, said;
	const char *value;

	for (count = 0;; count++) {
		int result = next_line(reader);

		if (result)
			return result;
		if (!value_of(reader, "lease"))
			break;
		result = read_lease(reader, pool, clock);
		if (result)
			return result;
	}
	value = value_of(reader, "end");
	if (!value || units_parse_count(value, &said))
		return fail_line(reader, "is neither a lease nor 'end COUNT'; remove the line");
	if (said != count)
		return fail_line(reader, "does not count the leases above; some are lost, or were "
					 "added: restore the file, or correct the count");
	if (fgetc(reader->file) != EOF)
		return fail_line(reader, "should be the last line; remove what follows");
	lease_pool_add_stats(pool, &stats);
	*dropped = count - stats.in_use;
	return 0;
}

/* Opening a pool ------------------------------------------------------------------------------- */

/* The key for the pool: from the key file, else from the state file, else a random key. */
static int choose_key(const struct lease_files *files, const struct reader *reader,
		      uint8_t key[SIPHASH_KEY_BYTES])
{
	if (files->key_path)
		return lease_key_read(files->key_path, key, reader->fault);
	if (reader->file)
		memcpy(key, reader->key, SIPHASH_KEY_BYTES);
	else if (getrandom(key, SIPHASH_KEY_BYTES, 0) != SIPHASH_KEY_BYTES)
		return fail_errno(reader->fault, NULL, "source key", "draw it (getrandom(2))");
	return 0;
}

int lease_pool_open(const struct lease_pool_options *options, const struct lease_files *files,
		    const struct lease_clock *clock, struct lease_pool **pool, uint64_t *dropped,
		    struct fault *fault)
{
	struct reader reader = {.path = files->state_path, .fault = fault};
	uint8_t key[SIPHASH_KEY_BYTES];
	struct lease_pool *made = NULL;
	int result = files->state_path ? open_state(&reader) : 0;

	*dropped = 0;
	if (!result)
		result = choose_key(files, &reader, key);
	if (!result)
		result = lease_pool_create(options, key, &made, fault);
	if (!result && reader.file)
		result = check_header(&reader, made);
	if (!result && reader.file)
		result = read_leases(&reader, made, clock, dropped);
	if (reader.file)
		fclose(reader.file);
	if (result)
		lease_pool_destroy(made);
	else
		*pool = made;
	return result;
}
