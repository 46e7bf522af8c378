/* SPDX-License-Identifier: MIT */
#include "takeover_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/util.h"
#include "carry_fixture.h"
#include "relay/listener.h"
#include "support.h"

#define WORD_LIMIT 32

static void write_hello(struct carrier *carrier)
{
	carrier_begin(carrier, CARRIER_HELLO);
	carrier_put(carrier, INHERITED_PROTOCOL);
	carrier_put(carrier, INHERITED_STATE_VERSION);
	carrier_put_text(carrier, "test");
	for (unsigned i = 0; i < 4; i++)
		carrier_put(carrier, 1);
	carrier_put_text(carrier, "");
	carrier_end(carrier);
}

/* As workers_write_sockets(). */
static void write_sockets(const void *process, struct carrier *carrier)
{
	const struct takeover_process *old = process;
	struct listeners listeners[16];
	struct sessions *sessions = memory_alloc_lines(sizeof(*sessions));

	sessions->forwards = old->forwards;
	for (unsigned i = 0; i < old->worker_count; i++) {
		sessions->worker = i;
		cr_assert_eq(listeners_init(&listeners[i], &old->sockets, sessions, NULL), 0);
	}
	for (unsigned i = 0; i < old->forwards->count; i++)
		for (unsigned j = 0; j < old->worker_count; j++)
			listeners_write(&listeners[j], &old->forwards->list[i], carrier);
	for (unsigned i = 0; i < old->worker_count; i++)
		free(listeners[i].listeners); /* the old process keeps the sockets */
	free(sessions);
}

void takeover_carry(takeover_writer *write, const void *owner, struct inherited *inherited)
{
	struct carrier *writer, *reader;
	struct carry carry;

	fixture_carry_open(&carry);
	writer = carry.out;
	reader = carry.in;
	write_hello(writer);
	write(owner, writer);
	carrier_begin(writer, CARRIER_GREETED);
	carrier_end(writer);
	cr_assert_eq(carrier_flush(writer), 0);
	carrier_destroy(writer);
	cr_assert_eq(inherited_read(inherited, reader), 0);
}

void takeover_forget(struct inherited *inherited)
{
	carrier_destroy(inherited->carrier);
	inherited_finish(inherited);
}

static void parse(struct takeover_process *process, const char *words)
{
	char *text = strdup(words), *rest = text, *argv[WORD_LIMIT] = {(char[]){"sixpipe"}};
	struct command_line line = {.config = &process->config};
	struct fault fault = {0};
	int argc = 1;

	while (argc < WORD_LIMIT && (argv[argc] = strsep(&rest, " ")))
		argc++;
	config_init(&process->config);
	if (process->inherited.carrier)
		process->config.inherited = &process->inherited;
	process->result = support_parse(&line, argc, argv, &fault);
	if (process->result) {
		process->errors = process->config.errors;
		process->config.errors = (struct config_errors){0};
	}
	free(text);
}

struct takeover_process *takeover_start(struct takeover_process *old, unsigned worker_count,
					const char *words)
{
	struct takeover_process *process = calloc(1, sizeof(*process));

	cr_assert_not_null(process);
	process->worker_count = worker_count;
	if (old)
		takeover_carry(write_sockets, old, &process->inherited);
	parse(process, words);
	process->errors.takes_over = old != NULL;
	if (process->result)
		return process;
	cr_assert_eq(forwards_create(&process->forwards, &process->config, &process->errors), 0);
	process->result =
		forwards_open(process->forwards, worker_count, &process->sockets, &process->errors);
	return process;
}

void takeover_end(struct takeover_process *process)
{
	for (unsigned i = 0; i < process->sockets.count; i++)
		close(process->sockets.list[i].fd);
	free(process->sockets.list);
	if (process->forwards && !process->result)
		forwards_remove_files(process->forwards);
	forwards_destroy(process->forwards);
	takeover_forget(&process->inherited);
	config_errors_finish(&process->errors);
	config_finish(&process->config);
	free(process);
}

const char *takeover_error(const struct takeover_process *process)
{
	return process->errors.count ? support_text(&process->errors.list[0]) : "";
}

unsigned takeover_sockets(const struct takeover_process *process, unsigned forward, int fds[16])
{
	unsigned count = 0;

	for (unsigned i = 0; i < process->sockets.count; i++)
		if (process->sockets.list[i].forward == forward) {
			cr_assert_lt(count, 16);
			fds[count++] = process->sockets.list[i].fd;
		}
	return count;
}
