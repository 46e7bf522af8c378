/* SPDX-License-Identifier: MIT */
/* Chooses the kind of engine and creates engines. */
#include "os/engine.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "os/engine_ops.h"

int engine_create(enum engine_kind kind, struct engine **engine)
{
	int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int error;

	CHECK(kind == ENGINE_IO_URING || kind == ENGINE_EPOLL);
	if (wake_fd < 0)
		return -errno;
	error = kind == ENGINE_EPOLL ? engine_epoll_create(engine, wake_fd)
				     : engine_uring_create(engine, wake_fd);
	if (error)
		close(wake_fd);
	return error;
}

bool engine_is_missing(int error)
{
	/* a security module says EACCES instead of EPERM */
	return error == -EPERM || error == -EACCES || error == -ENOSYS || error == -EOPNOTSUPP ||
	       error == -EINVAL || error == -ENOMEM;
}

static int create_all(enum engine_kind kind, struct engine **engines, unsigned count)
{
	int error = 0;

	for (unsigned i = 0; i < count && !error; i++) {
		error = engine_create(kind, &engines[i]);
		while (error && i)
			engine_destroy(engines[--i]);
	}
	return error;
}

int engines_create(enum engine_kind kind, struct engine **engines, unsigned count, int *refusal)
{
	int error = create_all(kind == ENGINE_AUTO ? ENGINE_IO_URING : kind, engines, count);

	*refusal = 0;
	if (kind != ENGINE_AUTO || !engine_is_missing(error))
		return error;
	*refusal = error;
	return create_all(ENGINE_EPOLL, engines, count);
}
