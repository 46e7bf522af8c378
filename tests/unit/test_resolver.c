#include "resolver.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dns_peer.h"
#include "sock.h"
#include "support.h"
#include "timer.h"
#include "util.h"

TestSuite(resolver, .fini = support_check_leaks);

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static struct dns_peer peer;
static struct resolver *resolver;

/* What the resolver has told of a name. */
static struct {
	unsigned calls;
	enum resolver_state state;
	const char *error;
	struct addr_set addresses;
} told;

static void on_change(void *context, const struct resolver_answer *answer)
{
	cr_assert_eq(context, &told);
	told.calls++;
	told.state = answer->state;
	told.error = answer->error;
	told.addresses = *answer->addresses;
}

static void create(struct resolver_options options)
{
	char error[CONFIG_ERROR_BYTES];

	options.servers = options.servers ? options.servers : peer.server;
	options.min_ttl_ms = options.min_ttl_ms ? options.min_ttl_ms : 1;
	options.max_ttl_ms = options.max_ttl_ms ? options.max_ttl_ms : 3600000;
	cr_assert_eq(resolver_create(&resolver, &options, error), 0, "%s", error);
	memset(&told, 0, sizeof(told));
}

static void open_with(struct resolver_options options)
{
	dns_peer_open(&peer);
	create(options);
	cr_assert_eq(resolver_add(resolver, "a.example", 80, on_change, &told), 0);
}

static void close_all(void)
{
	resolver_destroy(resolver);
	dns_peer_close(&peer);
}

/* A turn of the control loop, which `fd` wakes too. False: it has waited for nothing. */
static bool turn_for(int fd, int limit_ms)
{
	struct pollfd fds[RESOLVER_POLL_FDS + 1];
	int wait_ms = resolver_prepare_poll(resolver, fds);
	bool sooner = wait_ms >= 0 && wait_ms < limit_ms;
	int count;

	fds[RESOLVER_POLL_FDS] = (struct pollfd){.fd = fd, .events = POLLIN};
	count = poll(fds, ARRAY_COUNT(fds), sooner ? wait_ms : limit_ms);
	cr_assert_geq(count, 0);
	resolver_run(resolver, fds);
	return count || sooner;
}

static void turn(int fd)
{
	cr_assert(turn_for(fd, SUPPORT_PATIENCE_MS), "nothing happens: %u calls, %u queries",
		  told.calls, peer.query_count);
}

static void await_query(void)
{
	while (!dns_peer_take(&peer))
		turn(peer.udp_fd);
}

static struct resolver_answer get(void)
{
	struct resolver_answer answer;

	resolver_get(resolver, 0, &answer);
	return answer;
}

static void await_state(enum resolver_state state)
{
	while (get().state != state)
		turn(-1);
}

static void await_calls(unsigned calls)
{
	while (told.calls < calls)
		turn(-1);
	cr_assert_eq(told.calls, calls);
}

/* Answers the next query with `count` addresses from `v4` on. */
static void serve(uint32_t ttl_s, uint32_t v4, unsigned count)
{
	struct dns_message answer;

	await_query();
	dns_begin(&answer, &peer, DNS_OK);
	for (unsigned i = 0; i < count; i++)
		dns_put_a(&answer, ttl_s, v4 + i);
	dns_send(&peer, &answer);
}

static void serve_code(enum dns_code code)
{
	struct dns_message answer;

	await_query();
	dns_begin(&answer, &peer, code);
	dns_send(&peer, &answer);
}

static void expect_addresses(const struct addr_set *set, const char *expected)
{
	char text[2048] = "", one[ADDR_TEXT_BYTES];

	for (unsigned i = 0; i < set->count; i++) {
		strcat(text, i ? " " : "");
		strcat(text, addr_print(&set->list[i], one));
	}
	cr_expect_str_eq(text, expected);
}

/* Answers ------------------------------------------------------------------------------------- */

Test(resolver, first_answer)
{
	struct dns_message answer;

	open_with((struct resolver_options){0});
	cr_expect_eq(get().state, RESOLVER_PENDING);
	cr_expect_eq(get().addresses->count, 0);
	await_query();
	cr_expect_eq(dns_peer_asked_type(&peer), DNS_A);
	dns_begin(&answer, &peer, DNS_OK);
	dns_put_a(&answer, 30, V4(192, 0, 2, 9));
	dns_put_a(&answer, 30, V4(10, 0, 0, 2));
	dns_put_a(&answer, 30, V4(192, 0, 2, 9));
	dns_put_a(&answer, 30, V4(0, 0, 0, 0));
	dns_put_a(&answer, 30, V4(224, 0, 0, 1));
	dns_put_a(&answer, 30, V4(255, 255, 255, 255));
	dns_send(&peer, &answer);
	await_calls(1);
	cr_expect_eq(told.state, RESOLVER_RESOLVED);
	cr_expect_null(told.error);
	expect_addresses(&told.addresses, "10.0.0.2:80 192.0.2.9:80");
	cr_expect_eq(told.addresses.dropped_count, 0);
	cr_expect_eq(get().wait_ms, 30000);
	close_all();
}

Test(resolver, ttl)
{
	static const struct {
		uint32_t ttls_s[2];
		uint32_t cname_ttls_s[2]; /* 0: no such CNAME */
		uint64_t min_ms, max_ms, wait_ms;
	} rows[] = {
		{{60, 60}, {0}, 1000, 300000, 60000},
		{{60, 20}, {0}, 1000, 300000, 20000},
		{{60, 60}, {30}, 1000, 300000, 30000},
		{{60, 60}, {90, 7}, 1000, 300000, 7000},
		{{60, 60}, {90, 100}, 1000, 300000, 60000},
		{{0, 60}, {0}, 1000, 300000, 1000},
		{{900, 900}, {0}, 1000, 300000, 300000},
		{{0x7fffffff, 0x7fffffff}, {0}, 1000, UINT64_MAX, 2147483647000},
		{{0x80000000, 60}, {0}, 5000, 300000, 5000},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct dns_message answer;

		open_with((struct resolver_options){.min_ttl_ms = rows[i].min_ms,
						    .max_ttl_ms = rows[i].max_ms});
		await_query();
		dns_begin(&answer, &peer, DNS_OK);
		for (unsigned j = 0; j < 2 && rows[i].cname_ttls_s[j]; j++)
			dns_put_cname(&answer, rows[i].cname_ttls_s[j]);
		dns_put_a(&answer, rows[i].ttls_s[0], V4(10, 0, 0, 1));
		if (!rows[i].cname_ttls_s[0])
			dns_put_a(&answer, rows[i].ttls_s[1], V4(10, 0, 0, 2));
		dns_send(&peer, &answer);
		await_state(RESOLVER_RESOLVED);
		cr_expect_eq(get().wait_ms, rows[i].wait_ms, "row %zu: %zu", i,
			     (size_t)get().wait_ms);
		close_all();
	}
}

/* Asked again when the TTL ends, never before; told of once as long as the answer is the same. */
Test(resolver, asked_again_after_its_ttl)
{
	uint64_t answered_ms;

	open_with((struct resolver_options){.min_ttl_ms = 20});
	serve(0, V4(10, 0, 0, 1), 2);
	await_calls(1);
	for (unsigned i = 0; i < 3; i++) {
		answered_ms = timer_now_ms();
		serve(0, V4(10, 0, 0, 1), 2);
		cr_expect_geq(timer_now_ms() - answered_ms, i ? 20 : 0);
	}
	cr_expect_eq(told.calls, 1);
	serve(0, V4(10, 0, 0, 1), 3);
	await_calls(2);
	expect_addresses(&told.addresses, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
	serve(0, V4(10, 0, 0, 3), 1);
	await_calls(3);
	expect_addresses(&told.addresses, "10.0.0.3:80");
	cr_expect_eq(peer.query_count, 6);
	close_all();
}

/* Answers the A question with `v4_code` and the AAAA question with `v6_code`, whichever is first. */
static void serve_both(enum dns_code v4_code, enum dns_code v6_code)
{
	for (unsigned i = 0; i < 2; i++) {
		struct dns_message answer;
		bool v6;

		await_query();
		v6 = dns_peer_asked_type(&peer) == DNS_AAAA;
		dns_begin(&answer, &peer, v6 ? v6_code : v4_code);
		if (v6 && !v6_code) {
			dns_put_aaaa(&answer, 0, "2001:db8::1");
			dns_put_aaaa(&answer, 0, "fe80::1");
			dns_put_aaaa(&answer, 0, "::ffff:10.0.0.9");
		} else if (!v6 && !v4_code) {
			dns_put_a(&answer, 0, V4(192, 0, 2, 1));
		}
		dns_send(&peer, &answer);
	}
}

/* A family that is not answered keeps what it had; one that has no address any more loses it. */
Test(resolver, both_families)
{
	open_with((struct resolver_options){.want_v6 = true, .retry_ms = 1});
	serve_both(DNS_OK, DNS_OK);
	await_calls(1);
	expect_addresses(&told.addresses, "192.0.2.1:80 [2001:db8::1]:80");
	serve_both(DNS_OK, DNS_SERVFAIL);
	serve_both(DNS_REFUSED, DNS_OK);
	serve_both(DNS_OK, DNS_NXDOMAIN);
	await_calls(2);
	expect_addresses(&told.addresses, "192.0.2.1:80");
	serve_both(DNS_NXDOMAIN, DNS_OK);
	await_calls(3);
	expect_addresses(&told.addresses, "[2001:db8::1]:80");
	serve_both(DNS_NXDOMAIN, DNS_SERVFAIL);
	await_calls(4);
	cr_expect_str_eq(told.error, "SERVFAIL");
	expect_addresses(&told.addresses, "[2001:db8::1]:80");
	close_all();
}

/* One family is good for an hour: the other, which was not answered, is asked for again soon all the same. */
Test(resolver, a_family_that_failed_is_asked_for_again)
{
	open_with((struct resolver_options){
		.want_v6 = true, .retry_ms = 20, .min_ttl_ms = 3000, .max_ttl_ms = 3600000});
	serve_both(DNS_SERVFAIL, DNS_OK);
	await_calls(1);
	expect_addresses(&told.addresses, "[2001:db8::1]:80");
	cr_expect_eq(get().wait_ms, 20);
	serve_both(DNS_REFUSED, DNS_OK);
	while (get().wait_ms == 20)
		turn(-1);
	cr_expect_eq(get().wait_ms, 40, "not in haste, where it goes on");
	serve_both(DNS_OK, DNS_OK);
	await_calls(2);
	expect_addresses(&told.addresses, "192.0.2.1:80 [2001:db8::1]:80");
	cr_expect_geq(get().wait_ms, 3000);
	close_all();
}

/* Failures ------------------------------------------------------------------------------------ */

Test(resolver, failures)
{
	static const struct {
		enum dns_code code;
		const char *error;
	} rows[] = {
		{DNS_OK, "no address"},	  {DNS_NXDOMAIN, "NXDOMAIN"}, {DNS_SERVFAIL, "SERVFAIL"},
		{DNS_REFUSED, "REFUSED"}, {DNS_FORMERR, "FORMERR"},   {DNS_NOTIMP, "NOTIMP"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		open_with((struct resolver_options){.retry_ms = 1});
		serve_code(rows[i].code);
		await_calls(1);
		cr_expect_eq(told.state, RESOLVER_FAILING);
		cr_expect_str_eq(told.error, rows[i].error, "row %zu: %s", i, told.error);
		cr_expect_eq(told.addresses.count, 0);
		serve(0, V4(10, 0, 0, 1), 2);
		await_calls(2);
		cr_expect_eq(told.state, RESOLVER_RESOLVED);
		serve_code(rows[i].code);
		await_calls(3);
		cr_expect_eq(told.state, RESOLVER_FAILING);
		expect_addresses(&told.addresses, "10.0.0.1:80 10.0.0.2:80");
		/* failing on is not told of, nor that it fails otherwise */
		serve_code(rows[i].code);
		serve_code(DNS_SERVFAIL);
		serve(0, V4(10, 0, 0, 1), 2);
		await_calls(4);
		cr_expect_eq(told.state, RESOLVER_RESOLVED);
		cr_expect_null(told.error);
		close_all();
	}
}

/* The right id and question, and a record that ends before its own length. */
Test(resolver, a_malformed_answer)
{
	struct dns_message answer;

	open_with((struct resolver_options){0});
	await_query();
	dns_begin(&answer, &peer, DNS_OK);
	dns_put_a(&answer, 60, V4(10, 0, 0, 1));
	answer.length -= 2;
	dns_send(&peer, &answer);
	await_calls(1);
	cr_expect_str_eq(told.error, "malformed answer");
	close_all();
}

Test(resolver, a_silent_server)
{
	open_with((struct resolver_options){.timeout_ms = 5, .tries = 2, .retry_ms = 1});
	await_calls(1);
	cr_expect_str_eq(told.error, "timed out");
	cr_expect_eq(told.state, RESOLVER_FAILING);
	while (dns_peer_take(&peer))
		;
	cr_expect_eq(peer.query_count, 2);
	serve(60, V4(10, 0, 0, 1), 1);
	await_calls(2);
	expect_addresses(&told.addresses, "10.0.0.1:80");
	close_all();
}

Test(resolver, no_server)
{
	open_with((struct resolver_options){.timeout_ms = 50});
	close(peer.udp_fd);
	await_calls(1);
	cr_expect_str_eq(told.error, "no server has an answer");
	resolver_destroy(resolver);
	close(peer.tcp_fd);
}

/* Each server that has no answer passes the question on to the next. */
Test(resolver, several_servers)
{
	struct dns_peer second;
	char servers[64];

	dns_peer_open(&second);
	dns_peer_open(&peer);
	snprintf(servers, sizeof(servers), "%s,%s", peer.server, second.server);
	create((struct resolver_options){.servers = servers, .tries = 1, .retry_ms = 1});
	cr_assert_eq(resolver_add(resolver, "a.example", 80, on_change, &told), 0);
	for (unsigned i = 1; i <= 2; i++) {
		struct dns_message answer;

		serve_code(i == 1 ? DNS_SERVFAIL : DNS_REFUSED);
		while (!dns_peer_take(&second))
			turn(second.udp_fd);
		dns_begin(&answer, &second, i == 1 ? DNS_OK : DNS_SERVFAIL);
		if (i == 1)
			dns_put_a(&answer, 0, V4(10, 0, 0, 1));
		dns_send(&second, &answer);
		await_calls(i);
		cr_expect_eq(told.state, i == 1 ? RESOLVER_RESOLVED : RESOLVER_FAILING);
	}
	cr_expect_str_eq(told.error, "no server has an answer");
	expect_addresses(&told.addresses, "10.0.0.1:80");
	dns_peer_close(&second);
	close_all();
}

Test(resolver, failures_are_further_and_further_apart)
{
	static const uint64_t waits_ms[] = {2, 4, 8, 16, 20, 20};

	uint64_t answered_ms = 0;

	open_with((struct resolver_options){.retry_ms = 2, .max_ttl_ms = 20});
	for (size_t i = 0; i < ARRAY_COUNT(waits_ms); i++) {
		uint64_t before_ms = get().wait_ms;

		serve_code(DNS_NXDOMAIN);
		if (i)
			cr_expect_geq(timer_now_ms() - answered_ms, waits_ms[i - 1]);
		answered_ms = timer_now_ms();
		/* the last two waits are the same */
		while (get().wait_ms == before_ms && i + 1 < ARRAY_COUNT(waits_ms))
			turn(-1);
		cr_expect_eq(get().wait_ms, waits_ms[i], "failure %zu: %zu ms", i,
			     (size_t)get().wait_ms);
	}
	serve(0, V4(10, 0, 0, 1), 1);
	await_calls(2);
	serve_code(DNS_NXDOMAIN);
	await_calls(3);
	cr_expect_eq(get().wait_ms, 2, "a good answer did not end the series");
	close_all();
}

/* However good answers may be for, a failure is not left alone for longer than a minute. */
Test(resolver, a_failure_is_asked_about_soon)
{
	open_with((struct resolver_options){.retry_ms = 50000});
	serve_code(DNS_NXDOMAIN);
	await_calls(1);
	cr_expect_eq(get().wait_ms, 50000);
	close_all();
	open_with((struct resolver_options){.retry_ms = 100000});
	serve_code(DNS_NXDOMAIN);
	await_calls(1);
	cr_expect_eq(get().wait_ms, 60000);
	close_all();
}

/* What a server, or somebody else, may send without anybody having asked. */
Test(resolver, garbage_is_passed_over)
{
	struct dns_message good, other;
	int stranger = socket(AF_INET, SOCK_DGRAM, 0);

	open_with((struct resolver_options){0});
	await_query();
	dns_begin(&good, &peer, DNS_OK);
	dns_put_a(&good, 60, V4(10, 0, 0, 1));
	other = good;
	other.bytes[0] ^= 1; /* the id */
	dns_send(&peer, &other);
	other = good;
	other.bytes[13] ^= 1; /* the question's first letter */
	dns_send(&peer, &other);
	other = good;
	for (other.length = 0; other.length < 12; other.length++)
		dns_send(&peer, &other);
	dns_begin(&other, &peer, DNS_OK);
	dns_put_a(&other, 60, V4(10, 6, 6, 6));
	sendto(stranger, other.bytes, other.length, 0, (struct sockaddr *)&peer.asker,
	       sizeof(peer.asker));
	for (unsigned i = 0; i < 32 && turn_for(-1, 0); i++)
		;
	cr_expect_eq(told.calls, 0, "%s", told.error);
	dns_send(&peer, &good);
	await_calls(1);
	expect_addresses(&told.addresses, "10.0.0.1:80");
	close(stranger);
	close_all();
}

/* TCP ----------------------------------------------------------------------------------------- */

static void truncate_answer(void)
{
	struct dns_message answer;

	await_query();
	dns_begin(&answer, &peer, DNS_OK);
	answer.bytes[2] |= 2;
	dns_send(&peer, &answer);
}

static int await_connection(void)
{
	int fd;

	while ((fd = sock_accept(peer.tcp_fd)) == -EAGAIN)
		turn(peer.tcp_fd);
	cr_assert_geq(fd, 0);
	return fd;
}

/* Answers the next query by TCP, with `count` addresses from 10.0.0.0 on. */
static void serve_by_tcp(unsigned count)
{
	struct dns_message answer;
	uint8_t head[2];
	ssize_t got;
	int fd;

	truncate_answer();
	fd = await_connection();
	while ((got = recv(fd, head, sizeof(head), MSG_DONTWAIT)) < 0)
		turn(fd);
	cr_assert_eq(got, sizeof(head));
	got = recv(fd, peer.query.bytes, sizeof(peer.query.bytes), 0);
	cr_assert_eq(got, head[0] << 8 | head[1]);
	peer.query.length = (size_t)got;
	dns_begin(&answer, &peer, DNS_OK);
	for (unsigned i = 0; i < count; i++)
		dns_put_a(&answer, 60, V4(10, 0, 0, 0) + i);
	head[0] = (uint8_t)(answer.length >> 8);
	head[1] = (uint8_t)answer.length;
	support_send(fd, head, sizeof(head));
	support_send(fd, answer.bytes, answer.length);
	await_calls(1);
	close(fd);
}

Test(resolver, a_truncated_answer_is_asked_for_by_tcp)
{
	open_with((struct resolver_options){0});
	serve_by_tcp(50);
	cr_expect_eq(told.addresses.count, 50);
	cr_expect_eq(told.addresses.dropped_count, 0);
	close_all();
}

Test(resolver, more_addresses_than_are_kept)
{
	open_with((struct resolver_options){0});
	serve_by_tcp(ADDR_SET_MOST + 36);
	cr_expect_eq(told.addresses.count, ADDR_SET_MOST);
	cr_expect_eq(told.addresses.dropped_count, 36);
	cr_expect_eq(ntohl(told.addresses.list[ADDR_SET_MOST - 1].v4.sin_addr.s_addr),
		     V4(10, 0, 0, ADDR_SET_MOST - 1));
	close_all();
}

/* Running ------------------------------------------------------------------------------------- */

Test(resolver, nothing_to_wait_for)
{
	unsigned before = support_count_descriptors();
	struct pollfd fds[RESOLVER_POLL_FDS];

	dns_peer_open(&peer);
	create((struct resolver_options){0});
	cr_expect_eq(resolver_prepare_poll(resolver, fds), -1);
	cr_expect_eq(support_count_descriptors(), before + 2);
	cr_expect_eq(resolver_add(resolver, "a.example", 80, on_change, &told), 0);
	cr_expect_eq(resolver_prepare_poll(resolver, fds), 0);
	serve(60, V4(10, 0, 0, 1), 1);
	await_calls(1);
	for (unsigned i = 0; i < RESOLVER_POLL_FDS; i++) {
		resolver_prepare_poll(resolver, fds);
		cr_expect_eq(fds[i].fd, -1);
	}
	cr_expect_geq(resolver_prepare_poll(resolver, fds), 50000);
	cr_expect(!turn_for(-1, 0));
	cr_expect_eq(support_count_descriptors(), before + 2);
	close_all();
	cr_expect_eq(support_count_descriptors(), before);
}

Test(resolver, destroyed_while_asking)
{
	unsigned before = support_count_descriptors();
	int fd;

	open_with((struct resolver_options){.want_v6 = true});
	await_query();
	close_all();
	cr_expect_eq(told.calls, 0);

	open_with((struct resolver_options){0});
	truncate_answer();
	fd = await_connection();
	close_all();
	close(fd);
	cr_expect_eq(told.calls, 0);
	cr_expect_eq(support_count_descriptors(), before);
}

/* A crowd of names does not become a burst of questions. */
Test(resolver, questions_at_a_time_are_bounded)
{
	char name[32];

	open_with((struct resolver_options){0});
	for (unsigned i = 1; i < RESOLVER_ASKED_MOST + 20; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		cr_assert_eq(resolver_add(resolver, name, 1, NULL, NULL), (int)i);
	}
	while (peer.query_count < RESOLVER_ASKED_MOST)
		await_query();
	while (turn_for(peer.udp_fd, 0))
		cr_assert(!dns_peer_take(&peer), "one too many");
	for (unsigned i = 0; i < 20; i++) {
		struct dns_message answer;

		dns_begin(&answer, &peer, DNS_NXDOMAIN);
		dns_send(&peer, &answer);
		await_query();
	}
	cr_expect_eq(peer.query_count, RESOLVER_ASKED_MOST + 20);
	close_all();
}

/* A name of /etc/hosts is known without a question, and has a TTL of our own. */
Test(resolver, hosts)
{
	dns_peer_open(&peer);
	create((struct resolver_options){0});
	cr_expect_eq(resolver_add(resolver, "localhost", 80, on_change, &told), 0);
	cr_expect_eq(get().state, RESOLVER_PENDING);
	await_calls(1);
	expect_addresses(&told.addresses, "127.0.0.1:80");
	cr_expect_eq(get().wait_ms, 10000);
	cr_expect(!dns_peer_take(&peer));
	close_all();
}

Test(resolver, what_is_refused)
{
	struct resolver_options options = {
		.servers = "127.0.0.1,nonsense", .min_ttl_ms = 1, .max_ttl_ms = 1};
	char error[CONFIG_ERROR_BYTES];

	cr_expect_eq(resolver_create(&resolver, &options, error), -EINVAL);
	cr_expect_not_null(strstr(error, "'nonsense' is not an address"), "%s", error);
	options.servers = NULL;
	cr_assert_eq(resolver_create(&resolver, &options, error), 0, "%s", error);
	cr_expect_eq(resolver_add(resolver, "192.0.2.1", 80, NULL, NULL), -EINVAL);
	cr_expect_eq(resolver_add(resolver, "a.example", 0, NULL, NULL), -EINVAL);
	cr_expect_eq(resolver_add(resolver, "a.example", 65536, NULL, NULL), -EINVAL);
	for (int i = 0; i < RESOLVER_NAMES_MOST; i++)
		cr_assert_eq(resolver_add(resolver, "a.example", 65535, NULL, NULL), i);
	cr_expect_eq(resolver_add(resolver, "a.example", 80, NULL, NULL), -ENOSPC);
	resolver_destroy(resolver);
}
