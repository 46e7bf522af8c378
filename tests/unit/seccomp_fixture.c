/* SPDX-License-Identifier: MIT */
#include "seccomp_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

struct asked {
	int listener;
	int error;
	const atomic_bool *refuses;
};

static int install(int number, unsigned answer, unsigned flags)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_COUNT(rules), .filter = rules};

	cr_assert(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

void fixture_refuse(int number, int error)
{
	cr_assert_eq(install(number, SECCOMP_RET_ERRNO | (unsigned)error, 0), 0);
}

/* Ends with the test's process. */
static void *answer(void *argument)
{
	struct asked *asked = argument;

	for (;;) {
		struct seccomp_notif question;
		struct seccomp_notif_resp reply = {0};

		memset(&question, 0, sizeof(question));
		if (ioctl(asked->listener, SECCOMP_IOCTL_NOTIF_RECV, &question)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return NULL;
		}
		reply.id = question.id;
		if (*asked->refuses)
			reply.error = -asked->error;
		else
			reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(asked->listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
}

void fixture_ask(int number, int error, const atomic_bool *refuses)
{
	static struct asked asked;
	pthread_t thread;

	asked = (struct asked){.error = error, .refuses = refuses};
	asked.listener = install(number, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (asked.listener < 0)
		cr_skip_test("no seccomp notifications here: %s", strerror(errno));
	cr_assert(!pthread_create(&thread, NULL, answer, &asked));
	pthread_detach(thread);
}
