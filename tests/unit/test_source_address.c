/* SPDX-License-Identifier: MIT */
#include "forward/source_address.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

TestSuite(sources, .fini = support_check_leaks);

static char directory[] = "/tmp/test_sources.XXXXXX";
static char state_path[64], lock_path[72], link_path[64];

/* A forward with --source `source`, and with a state file if `state` is not NULL. */
static void begin(struct config *config, const char *source, const char *state)
{
	struct fault fault = {0};

	config_init(config);
	support_must_set(config, "source", source);
	if (state)
		support_must_set(config, "pseudo-state", state);
	support_must_set(config, "listen", "[::1]:0");
	support_must_set(config, "backend", "127.0.0.1:80");
	cr_assert(!support_check(config, &fault), "%s", support_text(&fault));
}

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(state_path, sizeof(state_path), "%s/state", directory);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", state_path);
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
}

static void remove_directory(void)
{
	unlink(state_path);
	unlink(lock_path);
	unlink(link_path);
	cr_expect(!rmdir(directory), "something was left in %s", directory);
}

static int choose(struct source_addresses *sources, const struct addr *client,
		  struct source_address_choice *choice)
{
	const struct source_address_ask ask = {.client = client, .embedded = true, .now_ms = 1000};

	return source_address_choose(source_addresses_of(sources, 0), &ask, choice);
}

static struct in_addr visit(struct source_addresses *sources, const char *client_text)
{
	struct source_address_choice choice;
	struct addr client;

	cr_assert_null(addr_parse(client_text, &client));
	cr_assert_eq(choose(sources, &client, &choice), 0);
	cr_assert(choice.leased);
	source_address_release(source_addresses_of(sources, 0), &choice.address, 1000);
	return choice.address.v4.sin_addr;
}

Test(sources, a_save_that_failed_is_due_again)
{
	struct fault fault = {0};
	struct source_addresses *sources;
	struct config config;

	make_directory();
	begin(&config, "loopback", NULL);
	config.file = "f";
	config.origin = (struct config_origin){.kind = CONFIG_ORIGIN_FILE, .line = 7};
	support_must_set(&config, "pseudo-state", state_path);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	cr_expect(!source_addresses_are_unsaved(sources));

	visit(sources, "[2001:db8::1]:1");
	cr_expect(source_addresses_are_unsaved(sources));
	remove_directory();
	cr_expect_eq(source_addresses_save(sources, &fault), -ENOENT, "%s", support_text(&fault));
	cr_expect_eq(strncmp(support_text(&fault), "f:7: pseudo-state '", 19), 0, "%s",
		     support_text(&fault));
	cr_expect(source_addresses_are_unsaved(sources),
		  "nothing has changed since, but it is not written");

	cr_assert(!mkdir(directory, 0700));
	cr_expect_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	cr_expect(!source_addresses_are_unsaved(sources));
	source_addresses_destroy(sources);
	config_finish(&config);
	remove_directory();
}

/* A session that stays, or a known client that comes again, causes no save. */
Test(sources, what_is_used_again_is_saved_already)
{
	struct fault fault = {0};
	struct source_address_choice choice;
	struct source_addresses *sources;
	struct config config;
	struct addr client;

	make_directory();
	begin(&config, "loopback", state_path);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_assert_null(addr_parse("[2001:db8::1]:1", &client));
	cr_assert_eq(choose(sources, &client, &choice), 0);
	cr_expect(source_addresses_are_unsaved(sources));
	cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	cr_expect(!source_addresses_are_unsaved(sources), "it is live, and no more");
	visit(sources, "[2001:db8::1]:2");
	source_address_release(source_addresses_of(sources, 0), &choice.address, 60000);
	cr_expect(!source_addresses_are_unsaved(sources));
	visit(sources, "[2001:db8:1::1]:1");
	cr_expect(source_addresses_are_unsaved(sources));
	source_addresses_destroy(sources);
	config_finish(&config);
	remove_directory();
}

static void expect_shared(int result, const struct fault *fault)
{
	cr_expect_eq(result, -EBUSY);
	cr_expect_not_null(strstr(support_text(fault), state_path), "%s", support_text(fault));
	cr_expect_not_null(strstr(support_text(fault), "another process or listener"), "%s",
			   support_text(fault));
}

/* `config` is of a second process; its option is in line 7 of a file. */
static void expect_refused(struct config *config)
{
	struct source_addresses *sources;

	cr_expect_eq(source_addresses_create(&sources, config, &config->errors), -EBUSY);
	cr_assert_eq(config->errors.count, 1, "the same is told once");
	expect_shared(-EBUSY, &config->errors.list[0]);
	cr_expect_eq(strncmp(support_text(&config->errors.list[0]), "f:7: pseudo-state '", 19), 0,
		     "%s", support_text(&config->errors.list[0]));
}

Test(sources, a_state_file_is_of_one_process)
{
	struct fault fault = {0};
	struct source_addresses *sources;
	struct config config, other;

	make_directory();
	begin(&config, "loopback", state_path);
	begin(&other, "loopback:127.99.0.0/16", state_path);
	other.file = "f";
	other.origin = (struct config_origin){.kind = CONFIG_ORIGIN_FILE, .line = 7};
	support_must_set(&other, "pseudo-state", state_path);
	/* the second round finds the lock file of the first */
	for (unsigned round = 1; round <= 2; round++) {
		cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
		for (unsigned saves = 1; saves <= 2; saves++) {
			cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s",
				     support_text(&fault));
			expect_refused(&other);
			unlink(state_path);
			expect_refused(&other);
		}
		cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
		source_addresses_destroy(sources);
	}
	config_finish(&config);
	config_finish(&other);
	remove_directory();
}

/* Two processes found no file and made a key each: only one of them may write the file. */
Test(sources, of_two_first_starts_one_has_the_state)
{
	struct fault fault = {0};
	struct source_addresses *first, *second;
	struct config config;

	make_directory();
	begin(&config, "loopback", state_path);
	cr_assert_eq(source_addresses_create(&first, &config, &config.errors), 0);
	cr_assert_eq(source_addresses_create(&second, &config, &config.errors), 0);
	cr_assert_eq(source_addresses_save(second, &fault), 0, "%s", support_text(&fault));
	expect_shared(source_addresses_save(first, &fault), &fault);
	source_addresses_destroy(second);
	/* nor after the other has ended: its saved leases are not known here */
	expect_shared(source_addresses_save(first, &fault), &fault);
	source_addresses_destroy(first);
	config_finish(&config);
	remove_directory();
}

/* A file restored from a backup has no lock file beside it. */
Test(sources, a_state_without_a_lock_is_taken)
{
	struct fault fault = {0};
	struct in_addr before;
	struct source_addresses *sources;
	struct config config;

	make_directory();
	begin(&config, "loopback", state_path);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	before = visit(sources, "[2001:db8::1]:1");
	cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	source_addresses_destroy(sources);
	cr_assert(!unlink(lock_path));
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_expect_eq(visit(sources, "[2001:db8::1]:1").s_addr, before.s_addr);
	cr_expect_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	cr_expect(!access(lock_path, F_OK));
	source_addresses_destroy(sources);
	config_finish(&config);
	remove_directory();
}

Test(sources, a_bad_state_file_of_several_is_told_once)
{
	struct source_addresses *sources;
	struct config config;

	make_directory();
	support_put_file(directory, "/state", "no state\n");
	begin(&config, "loopback", state_path);
	support_must_set(&config, "listen", "[::1]:0");
	support_must_set(&config, "backend", "127.0.0.1:80");
	cr_expect_lt(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_assert_eq(config.errors.count, 1);
	cr_expect_eq(strncmp(support_text(&config.errors.list[0]), state_path, strlen(state_path)),
		     0, "%s", support_text(&config.errors.list[0]));
	config_finish(&config);
	remove_directory();
}

/* A path may begin like an option. */
Test(sources, a_key_file_with_dashes)
{
	struct source_addresses *sources;
	struct config config;

	begin(&config, "loopback", NULL);
	support_must_set(&config, "pseudo-key", "--no/such");
	cr_expect_eq(source_addresses_create(&sources, &config, &config.errors), -ENOENT);
	cr_assert_eq(config.errors.count, 1);
	cr_expect_eq(strncmp(support_text(&config.errors.list[0]), "--no/such: ", 11), 0, "%s",
		     support_text(&config.errors.list[0]));
	config_finish(&config);
}

Test(sources, a_link_to_the_state_stays_one)
{
	struct fault fault = {0};
	struct source_addresses *sources;
	struct config config;
	struct stat status;

	make_directory();
	begin(&config, "loopback", state_path);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	source_addresses_destroy(sources);
	config_finish(&config);

	cr_assert(!symlink("state", link_path));
	begin(&config, "loopback", link_path);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	visit(sources, "[2001:db8::1]:1");
	cr_assert_eq(source_addresses_save(sources, &fault), 0, "%s", support_text(&fault));
	source_addresses_destroy(sources);
	config_finish(&config);
	cr_assert(!lstat(link_path, &status));
	cr_expect(S_ISLNK(status.st_mode));
	remove_directory();
}

/* A client whose embedded address is in a pool gets a lease, not that address. */
Test(sources, an_embedded_address_of_the_pool_is_not_taken)
{
	struct source_addresses *sources;
	struct source_address_choice choice;
	struct config config;
	struct addr client;

	begin(&config, "embedded,loopback", NULL);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	cr_assert_null(addr_parse("127.0.0.9:5", &client));
	cr_assert_eq(choose(sources, &client, &choice), 0);
	cr_expect(choice.embedded && !choice.leased);
	cr_expect_eq(choice.address.v4.sin_addr.s_addr, client.v4.sin_addr.s_addr);
	visit(sources, "127.64.0.9:5");
	visit(sources, "127.127.255.1:5");
	source_addresses_destroy(sources);
	config_finish(&config);
}

Test(sources, a_pools_addresses_are_its_own)
{
	struct source_addresses *sources;
	struct config config;
	struct cidr block;
	static const struct {
		const char *text;
		bool own;
	} rows[] = {
		{"127.64.0.1", true},	 {"127.127.255.255", true}, {"127.63.0.1", false},
		{"127.64.0.0/16", true}, {"192.0.2.1", false},	    {"2001:db8::1", false},
	};

	begin(&config, "loopback", NULL);
	cr_assert_eq(source_addresses_create(&sources, &config, &config.errors), 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_assert_null(cidr_parse(rows[i].text, &block));
		cr_expect_eq(source_addresses_own(sources, &block), rows[i].own, "%s",
			     rows[i].text);
	}
	source_addresses_destroy(sources);
	config_finish(&config);
}
