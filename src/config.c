#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "config_source.h"

int config_fail(char error[CONFIG_ERROR_BYTES], const char *format, ...)
{
	__builtin_va_list arguments;

	__builtin_va_start(arguments, format);
	vsnprintf(error, CONFIG_ERROR_BYTES, format, arguments);
	__builtin_va_end(arguments);
	return -EINVAL;
}

/* What an accepting side with PROXY protocol headers needs; and what backends leave to the forward. */
static int complete_forward(const struct config *config, struct forward *forward,
			    char error[CONFIG_ERROR_BYTES])
{
	const struct forward_options *options = &forward->options;
	char text[ADDR_TEXT_BYTES];

	addr_print(&forward->listen, text);
	if (options->accept_proxy && !options->trust_count)
		return config_fail(
			error,
			"--listen '%.80s': --accept-proxy without --trust would let anybody claim "
			"any address; add --trust with the blocks of your proxies",
			text);
	forward->needs_client = options->accept_proxy || config->admin ||
				options->source.embedded ||
				options->source.kind == CONFIG_SOURCE_POOL;
	forward->wants_client = forward->needs_client || config->access_log;
	for (unsigned i = 0; i < forward->backend_count; i++) {
		if (forward->backends[i].send_proxy == CONFIG_SEND_PROXY_INHERIT)
			forward->backends[i].send_proxy = options->send_proxy;
		forward->wants_client |= forward->backends[i].send_proxy != CONFIG_SEND_PROXY_OFF;
	}
	return 0;
}

/* --trust may stand before listeners that have no use for it, but one must have. */
static int check_trust(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	bool trusted = false, accepting = false;

	for (unsigned i = 0; i < config->forward_count; i++) {
		trusted |= config->forwards[i].options.trust_count > 0;
		accepting |= config->forwards[i].options.accept_proxy;
	}
	if (trusted && !accepting)
		return config_fail(
			error, "--trust: without --accept-proxy nobody is trusted with anything; "
			       "add --accept-proxy or leave it out");
	return 0;
}

int config_check(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	char text[ADDR_TEXT_BYTES];

	if (!config->forward_count)
		return config_fail(error,
				   "LISTEN and BACKEND are missing; give both, as in: sixpipe "
				   "'[::]:2000' 192.0.2.1:80 (see --help)");
	for (unsigned i = 0; i < config->forward_count; i++) {
		struct forward *forward = &config->forwards[i];

		addr_print(&forward->listen, text);
		if (addr_port(&forward->listen) && addr_equal(&forward->listen, &config->metrics))
			return config_fail(
				error,
				"--metrics '%.80s': is a listener's address; give another port",
				text);
		if (!forward->backend_count)
			return config_fail(
				error,
				"--listen '%.80s': has no backend; add --backend ADDRESS after it",
				text);
		for (unsigned j = 0; j < i && addr_port(&forward->listen); j++)
			if (addr_equal(&forward->listen, &config->forwards[j].listen))
				return config_fail(
					error,
					"--listen '%.80s': given twice; put all its backends "
					"behind one --listen",
					text);
		if (complete_forward(config, forward, error))
			return -EINVAL;
	}
	if (check_trust(config, error))
		return -EINVAL;
	return config_source_check(config, error);
}

void config_init(struct config *config)
{
	char error[CONFIG_ERROR_BYTES];

	const struct option_spec *options;
	size_t count;

	memset(config, 0, sizeof(*config));
	options = options_list(&count);
	for (size_t i = 0; i < count; i++)
		if (*options[i].default_text)
			CHECK(!config_set(config, &options[i], options[i].default_text, error));
}

void config_finish(struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++)
		free(config->forwards[i].backends);
	free(config->forwards);
	memset(config, 0, sizeof(*config));
}
