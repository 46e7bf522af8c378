#include "upstream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "sock.h"

struct upstream {
	const struct config *config;
	struct sock_tuning *tunings; /* per forward */
	_Atomic uint32_t turns[];    /* per forward; only ever counted up */
};

int upstream_create(struct upstream **upstream, const struct config *config)
{
	size_t turns_bytes = config->forward_count * sizeof(_Atomic uint32_t);
	struct upstream *made = calloc(1, sizeof(*made) + turns_bytes);

	if (!made)
		return -ENOMEM;
	made->config = config;
	made->tunings = calloc(config->forward_count, sizeof(*made->tunings));
	if (!made->tunings) {
		free(made);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < config->forward_count; i++)
		sock_tuning_init(&made->tunings[i], config->forwards[i].options.keepalive_ms,
				 config->forwards[i].options.user_timeout_ms);
	*upstream = made;
	return 0;
}

void upstream_destroy(struct upstream *upstream)
{
	free(upstream->tunings);
	free(upstream);
}

unsigned upstream_choose(struct upstream *upstream, unsigned forward)
{
	uint32_t turn;

	CHECK(forward < upstream->config->forward_count);
	turn = atomic_fetch_add_explicit(&upstream->turns[forward], 1, memory_order_relaxed);
	return turn % upstream->config->forwards[forward].backend_count;
}

const struct backend *upstream_backend(const struct upstream *upstream, unsigned forward,
				       unsigned first, unsigned attempt)
{
	const struct forward *chosen = &upstream->config->forwards[forward];

	if (attempt >= chosen->backend_count)
		return NULL;
	return &chosen->backends[(first + attempt) % chosen->backend_count];
}

void upstream_keep_alive(const struct upstream *upstream, unsigned forward, int fd)
{
	/* a dead socket refuses it, and tells its owner by other ways */
	(void)sock_keep_alive(fd, &upstream->tunings[forward]);
}

int upstream_connect(const struct upstream *upstream, struct engine *engine, unsigned forward,
		     const struct backend *backend, const struct addr *source, uint64_t token)
{
	int fd = sock_open_backend(&backend->addr, &upstream->tunings[forward], source);

	if (fd >= 0)
		engine_connect(engine, fd, &backend->addr.any, backend->addr.length_bytes, token);
	return fd;
}
