/* SPDX-License-Identifier: MIT */
#include "config/config_activation.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(config_activation, .fini = support_check_leaks);

#define SOCKETS 4

Test(config_activation, names)
{
	static const struct {
		const char *text, *name; /* NULL: refused */
	} rows[] = {
		{"systemd:web", "web"},
		{"systemd:a b", "a b"},
		{"systemd:x.socket", "x.socket"},
		{"systemd:", NULL},
		{"systemd:a:b", NULL},
		{"systemd:a\nb", NULL},
		{"systemd:\x7f", NULL},
		{"systemd:\xc3\xa4", NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *name, *problem = config_activation_parse(rows[i].text, &name);

		cr_expect_eq(!problem, !!rows[i].name, "row %zu", i);
		if (rows[i].name)
			cr_expect_str_eq(name, rows[i].name);
	}
	cr_expect(!config_activation_is_text("unix:/systemd"));
	cr_expect(!config_activation_is_text("system"));
}

/* Passes sockets with these names; each has an address of its own. */
static void pass(struct config *config, const char *const names[SOCKETS],
		 struct addr addresses[SOCKETS])
{
	struct activation *passed = &config->passed;

	passed->sockets = calloc(SOCKETS, sizeof(*passed->sockets));
	for (; passed->count < SOCKETS && names[passed->count]; passed->count++) {
		struct activation_socket *socket = &passed->sockets[passed->count];

		socket->name = names[passed->count];
		socket->fd = support_listen(&addresses[passed->count], 1);
	}
}

static void finish(struct config *config)
{
	for (unsigned i = 0; i < config->passed.count; i++)
		close(config->passed.sockets[i].fd);
	config_finish(config);
}

/* Each row is about the forwards "web" and "dns", in this order. */
Test(config_activation, sockets_go_to_the_forwards_of_their_names)
{
	static const struct {
		const char *names[SOCKETS];
		int expected[SOCKETS]; /* the socket of each forward, up to -1 */
		const char *told;      /* of the first fault; NULL: none */
	} rows[] = {
		{{NULL}, {-1}, NULL},
		{{"web", "dns"}, {0, 1, -1}, NULL},
		{{"dns", "web"}, {1, 0, -1}, NULL},
		{{"web", "dns", "web", "web"}, {0, 2, 3, 1}, NULL},
		{{"dns", "dns", "web"}, {2, 0, 1, -1}, NULL},
		{{"web"}, {-1}, "no socket of this name was passed, but 'web'"},
		{{"web", "dns", "ftp"}, {-1}, "no forward listens on it"},
		{{"a", "b", "a"}, {-1}, "no socket of this name was passed, but 'a', 'b'"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr addresses[SOCKETS];
		struct config config;
		struct fault fault = {0};
		unsigned count = 0;
		int result;

		config_init(&config);
		support_must_set(&config, "listen", "systemd:web");
		support_must_set(&config, "backend", "192.0.2.1:80");
		support_must_set(&config, "listen", "systemd:dns");
		support_must_set(&config, "backend", "192.0.2.1:53");
		pass(&config, rows[i].names, addresses);
		result = support_check(&config, &fault);
		cr_expect_eq(!result, !rows[i].told, "row %zu: %s", i, support_text(&fault));
		if (rows[i].told)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].told),
					   "row %zu: %s", i, support_text(&fault));
		for (; !rows[i].told && count < SOCKETS && rows[i].expected[count] >= 0; count++) {
			const struct config_forward *forward = &config.forwards[count];
			int socket = rows[i].expected[count];

			cr_assert_lt(count, config.forward_count);
			cr_expect(addr_equal(&forward->listen, &addresses[socket]), "row %zu", i);
			cr_expect_eq(forward->passed_count, 1);
			cr_expect_eq(forward->passed_fds[0], config.passed.sockets[socket].fd);
		}
		if (count)
			cr_expect_eq(config.forward_count, count, "row %zu", i);
		finish(&config);
	}
}

Test(config_activation, sockets_of_one_address_are_one_forward)
{
	static const char *const names[SOCKETS] = {"web"};
	struct addr addresses[SOCKETS];
	struct config config;
	struct fault fault;
	int fd;

	config_init(&config);
	support_must_set(&config, "listen", "systemd:web");
	support_must_set(&config, "backend", "192.0.2.1:80");
	pass(&config, names, addresses);
	fd = dup(config.passed.sockets[0].fd);
	config.passed.sockets[config.passed.count++] =
		(struct activation_socket){.fd = fd, .name = "web"};
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(config.forward_count, 1);
	cr_assert_eq(config.forwards[0].passed_count, 2);
	cr_expect_eq(config.forwards[0].passed_fds[1], fd);
	finish(&config);
}

Test(config_activation, a_start_needs_the_sockets)
{
	struct config_errors errors = {0};
	struct config config;
	struct fault fault;

	config_init(&config);
	support_must_set(&config, "listen", "systemd:web");
	support_must_set(&config, "backend", "192.0.2.1:80");
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	cr_expect_eq(config_activation_require(&config, &errors), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.list[0].reason, "no socket was passed"));
	config_errors_finish(&errors);

	config.passed.other_process = 7;
	cr_expect_eq(config_activation_require(&config, &errors), -EINVAL);
	cr_expect_not_null(strstr(errors.list[0].reason, "process 7"));
	config_errors_finish(&errors);
	finish(&config);
}

/* In a takeover the names are those of the old process, and two addresses are two forwards. */
Test(config_activation, inherited_sockets_go_to_the_forwards_of_their_names)
{
	static const char *const names[] = {"web", "dns", "web", ""};
	struct inherited_socket sockets[ARRAY_COUNT(names)] = {{0}};
	struct inherited inherited = {.sockets = sockets, .count = ARRAY_COUNT(names)};
	struct addr addresses[ARRAY_COUNT(names)];
	struct config config;
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		sockets[i].fd = support_listen(&addresses[i], 1);
		strcpy(sockets[i].socket_name, names[i]);
	}
	config_init(&config);
	config.inherited = &inherited;
	support_must_set(&config, "listen", "systemd:web");
	support_must_set(&config, "backend", "192.0.2.1:80");
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(config.forward_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct config_forward *forward = &config.forwards[i];

		cr_expect(addr_equal(&forward->listen, &addresses[2 * i]));
		cr_assert_eq(forward->passed_count, 1);
		cr_expect(sockets[2 * i].used);
		close(forward->passed_fds[0]);
	}
	cr_expect(!sockets[1].used && !sockets[3].used,
		  "a name that is not given any more is no error");
	close(sockets[1].fd);
	close(sockets[3].fd);
	config_finish(&config);
}

Test(config_activation, a_new_name_needs_a_restart)
{
	struct inherited inherited = {0};
	struct config config;
	struct fault fault = {0};

	config_init(&config);
	config.inherited = &inherited;
	support_must_set(&config, "listen", "systemd:web");
	support_must_set(&config, "backend", "192.0.2.1:80");
	cr_expect_neq(support_check(&config, &fault), 0);
	cr_expect_not_null(strstr(support_text(&fault), "restart sixpipe"), "%s",
			   support_text(&fault));
	config_finish(&config);
}
