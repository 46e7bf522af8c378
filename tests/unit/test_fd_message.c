/* SPDX-License-Identifier: MIT */
#include "os/fd_message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

TestSuite(fd_message, .fini = support_check_leaks);

Test(fd_message, brings_bytes_and_no_more_descriptors_than_there_is_room_for)
{
	unsigned before = support_count_descriptors();
	int ends[2], out[2] = {STDERR_FILENO, STDERR_FILENO}, in[2];
	char bytes[] = "bytes", text[8];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	for (unsigned room = 0; room <= 2; room++) {
		struct fd_message sent = {
			.bytes = bytes, .count = sizeof(bytes), .fds = out, .fd_count = 2};
		struct fd_message got = {
			.bytes = text, .count = sizeof(text), .fds = in, .fd_count = room};

		cr_expect_eq(fd_message_receive(ends[1], &got), -EAGAIN);
		got.fd_count = room;
		cr_expect_eq(fd_message_send(ends[0], &sent), 0);
		cr_expect_eq(fd_message_receive(ends[1], &got), sizeof(bytes));
		cr_expect_str_eq(text, "bytes");
		cr_expect_eq(got.fd_count, room);
		cr_expect_eq(!(got.flags & MSG_CTRUNC), room == 2);
		for (unsigned i = 0; i < got.fd_count; i++) {
			cr_expect(fcntl(in[i], F_GETFD) & FD_CLOEXEC);
			close(in[i]);
		}
	}
	close(ends[0]);
	cr_expect_eq(fd_message_receive(ends[1], &(struct fd_message){.bytes = text, .count = 1}),
		     0);
	close(ends[1]);
	cr_expect_eq(support_count_descriptors(), before);
}
