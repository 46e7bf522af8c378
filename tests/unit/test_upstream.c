#include "upstream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "support.h"
#include "util.h"

TestSuite(upstream, .fini = support_check_leaks);

#define BACKENDS 3
#define THREADS	 4
#define CHOICES	 3000

static void configure(struct config *config)
{
	static const char *const words[][2] = {
		{"listen", "[::1]:2000"},   {"backend", "127.0.0.1:1"}, {"backend", "127.0.0.1:2"},
		{"backend", "127.0.0.1:3"}, {"listen", "[::1]:2001"},	{"backend", "127.0.0.1:9"},
	};
	char error[CONFIG_ERROR_BYTES];

	config_init(config);
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		cr_assert_eq(config_set(config, options_find(words[i][0], strlen(words[i][0])),
					words[i][1], error),
			     0, "%s", error);
}

Test(upstream, backends_take_turns)
{
	struct upstream *upstream;
	struct config config;

	configure(&config);
	cr_assert_eq(upstream_create(&upstream, &config), 0);
	for (unsigned i = 0; i < 10; i++) {
		cr_expect_eq(upstream_choose(upstream, 0), i % BACKENDS);
		/* every forward has its own turns */
		cr_expect_eq(upstream_choose(upstream, 1), 0);
	}
	upstream_destroy(upstream);
	config_finish(&config);
}

Test(upstream, each_backend_is_tried_once)
{
	struct upstream *upstream;
	struct config config;

	configure(&config);
	cr_assert_eq(upstream_create(&upstream, &config), 0);
	for (unsigned first = 0; first < BACKENDS; first++) {
		for (unsigned attempt = 0; attempt < BACKENDS; attempt++) {
			const struct backend *backend =
				upstream_backend(upstream, 0, first, attempt);

			cr_assert_not_null(backend);
			cr_expect_eq(addr_port(&backend->addr), 1 + (first + attempt) % BACKENDS);
		}
		cr_expect_null(upstream_backend(upstream, 0, first, BACKENDS));
		cr_expect_null(upstream_backend(upstream, 0, first, 65535));
	}
	cr_expect_eq(addr_port(&upstream_backend(upstream, 1, 0, 0)->addr), 9);
	cr_expect_null(upstream_backend(upstream, 1, 0, 1));
	upstream_destroy(upstream);
	config_finish(&config);
}

struct chooser {
	struct upstream *upstream;
	_Atomic unsigned chosen[BACKENDS];
};

static void *choose(void *argument)
{
	struct chooser *chooser = argument;

	for (unsigned i = 0; i < CHOICES; i++)
		chooser->chosen[upstream_choose(chooser->upstream, 0)]++;
	return NULL;
}

/* Turns are shared by all workers: none is lost or taken twice. */
Test(upstream, threads_share_the_turns)
{
	struct chooser chooser = {0};
	pthread_t threads[THREADS];
	struct config config;

	configure(&config);
	cr_assert_eq(upstream_create(&chooser.upstream, &config), 0);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert(!pthread_create(&threads[i], NULL, choose, &chooser));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < BACKENDS; i++)
		cr_expect_eq(chooser.chosen[i], THREADS * CHOICES / BACKENDS, "backend %u: %u", i,
			     chooser.chosen[i]);
	upstream_destroy(chooser.upstream);
	config_finish(&config);
}
