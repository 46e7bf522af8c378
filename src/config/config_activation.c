/* SPDX-License-Identifier: MIT */
#include "config/config_activation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/config_origin.h"

#define PREFIX	    "systemd:"
#define NAME_LIMIT  255 /* of FileDescriptorName=, systemd.socket(5) */
#define NAMES_BYTES 200 /* of the list of names in a message */

bool config_activation_is_text(const char *text)
{
	return !strncmp(text, PREFIX, strlen(PREFIX));
}

const char *config_activation_parse(const char *text, const char **name)
{
	*name = text + strlen(PREFIX);
	if (!**name)
		return "has no name; write systemd:NAME, and FileDescriptorName=NAME in the "
		       ".socket unit";
	if (strlen(*name) > NAME_LIMIT)
		return "has a name that is too long; 255 bytes are the limit, give a shorter "
		       "FileDescriptorName= in the .socket unit";
	for (const char *at = *name; *at; at++)
		if (*at == ':' || *at < ' ' || *at == 0x7f)
			return "has a byte in its name that no name of systemd has; give printable "
			       "ASCII without a ':'";
	return NULL;
}

/* Faults --------------------------------------------------------------------------------------- */

static void add_to(struct config *config, const struct config_forward *forward, const char *words)
{
	struct fault fault;
	char listen[ADDR_TEXT_BYTES];

	fault_set_words(&fault, "listen", config_print_listen(forward, listen), words);
	config_origin_add_to(&config->errors, config, forward, &fault);
}

/* Checks the families of a passed socket on [::]: they cannot be changed after bind(2). */
static void check_families(struct config *config, const struct config_forward *forward,
			   const struct activation_facts *facts)
{
	bool wanted = forward->options.tuning.dual_stack;

	if (!addr_is_v6_wildcard(&facts->address) || facts->dual_stack == wanted)
		return;
	add_to(config, forward,
	       wanted ? "accepts no IPv4 clients, but --dual-stack is set; write "
			"BindIPv6Only=both in the .socket unit, or leave --dual-stack out"
		      : "accepts IPv4 clients too; write BindIPv6Only=ipv6-only in the .socket "
			"unit, or add --dual-stack");
}

/* A passed socket that no forward names. */
static void add_left_over(struct config *config, const struct activation_socket *socket)
{
	struct activation_facts facts;
	struct fault fault;
	char object[FAULT_VALUE_BYTES], address[ADDR_TEXT_BYTES];
	const char *problem = activation_inspect(socket->fd, &facts);

	snprintf(object, sizeof(object), "passed socket 'systemd:%s' (%s)", socket->name,
		 addr_print(&facts.address, address));
	if (problem)
		fault_set_words(&fault, NULL, object, problem);
	else
		fault_set_object(&fault, NULL, object,
				 "no forward listens on it; write listen = systemd:%s, or remove "
				 "the socket from the .socket unit",
				 socket->name);
	fault.kind = FAULT_OF_OBJECT;
	config_errors_add(&config->errors, &fault);
}

/* Sockets -------------------------------------------------------------------------------------- */

/*
 * Finds the forward of an address among the `count` forwards of one name; adds it if there is none.
 * Returns its index.
 */
static unsigned find_forward(struct config *config, unsigned first, unsigned *count,
			     const struct activation_facts *facts)
{
	struct config_forward *forward;
	const char *device;

	for (unsigned i = first; i < first + *count; i++) {
		forward = &config->forwards[i];
		device = forward->options.tuning.device ? forward->options.tuning.device : "";
		if (addr_equal(&forward->listen, &facts->address) && !strcmp(device, facts->device))
			return i;
	}
	/* the first socket belongs to the forward itself */
	if (*count)
		config_insert_copy(config, first, *count);
	forward = &config->forwards[first + *count];
	forward->listen = facts->address;
	forward->passed_count = 0;
	forward->options.tuning.freebind = false;
	forward->options.tuning.device =
		*facts->device ? config_text_keep(&config->kept, facts->device) : NULL;
	check_families(config, forward, facts);
	return first + (*count)++;
}

static void give_socket(struct config *config, struct config_forward *forward, int fd)
{
	unsigned count = forward->passed_count;
	int *fds = config_keep(&config->kept, (count + 1) * sizeof(*fds));

	if (count)
		memcpy(fds, forward->passed_fds, count * sizeof(*fds));
	fds[count] = fd;
	forward->passed_fds = fds;
	forward->passed_count = count + 1;
}

/* Gives the forward at `index`, one of `count` of the same name, or a copy of it, a socket. */
static void place_socket(struct config *config, unsigned index, unsigned *count, int fd)
{
	struct activation_facts *facts = config_keep(&config->kept, sizeof(*facts));
	const char *problem = activation_inspect(fd, facts);
	unsigned owner;

	if (problem) {
		add_to(config, &config->forwards[index], problem);
		return;
	}
	owner = find_forward(config, index, count, facts); /* can move the forwards */
	give_socket(config, &config->forwards[owner], fd);
}

/* Gives a forward the sockets of its name. Returns the number of forwards that it became. */
static unsigned give_sockets(struct config *config, unsigned index)
{
	const char *name = config->forwards[index].socket_name;
	unsigned count = 0;

	for (unsigned i = 0; i < config->passed.count; i++) {
		struct activation_socket *socket = &config->passed.sockets[i];

		if (strcmp(socket->name, name) != 0)
			continue;
		socket->taken = true;
		place_socket(config, index, &count, socket->fd);
	}
	for (unsigned i = 0; config->inherited && i < config->inherited->count; i++) {
		struct inherited_socket *socket = &config->inherited->sockets[i];

		if (socket->role == INHERITED_LISTENER && socket->fd >= 0 &&
		    !strcmp(socket->socket_name, name))
			place_socket(config, index, &count, inherited_take(socket));
	}
	return MAX(count, 1U);
}

/* Forwards without a socket -------------------------------------------------------------------- */

/* Prints the names that were passed, each once: "'a', 'b'". */
static void print_names(const struct activation *passed, char text[NAMES_BYTES])
{
	size_t length = 0;

	*text = '\0';
	for (unsigned i = 0; i < passed->count && length < NAMES_BYTES; i++) {
		bool met = false;

		for (unsigned j = 0; j < i; j++)
			met |= !strcmp(passed->sockets[i].name, passed->sockets[j].name);
		if (!met)
			length += (size_t)snprintf(text + length, NAMES_BYTES - length, "%s'%s'",
						   i ? ", " : "", passed->sockets[i].name);
	}
}

static void set_missing(const struct config *config, const struct config_forward *forward,
			struct fault *fault)
{
	const struct activation *passed = &config->passed;
	char names[NAMES_BYTES];

	print_names(passed, names);
	if (config->inherited)
		config_fault_listen(fault, forward,
				    "the running process has no socket of this name, and systemd "
				    "passes sockets only at a start; restart sixpipe");
	else if (passed->count)
		config_fault_listen(
			fault, forward,
			"no socket of this name was passed, but %s; give it the name by "
			"FileDescriptorName=%s in the .socket unit",
			names, forward->socket_name);
	else if (passed->other_process)
		config_fault_listen(fault, forward,
				    "the sockets were passed to process %ld (LISTEN_PID), not to "
				    "this one; start sixpipe directly, or with exec from a shell",
				    passed->other_process);
	else
		config_fault_listen(
			fault, forward,
			"no socket was passed; start the .socket unit first, or by hand: "
			"systemd-socket-activate --fdname=%s -l '[::1]:2000' sixpipe ...",
			forward->socket_name);
}

int config_activation_require(const struct config *config, struct config_errors *errors)
{
	struct fault fault;
	int result = 0;

	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_forward *forward = &config->forwards[i];

		if (!forward->socket_name || forward->passed_count)
			continue;
		set_missing(config, forward, &fault);
		config_origin_add_to(errors, config, forward, &fault);
		result = -EINVAL;
	}
	return result;
}

void config_activation_apply(struct config *config)
{
	for (unsigned i = 0; i < config->forward_count;)
		i += config->forwards[i].socket_name ? give_sockets(config, i) : 1;
	/* after a refused line, the forward of a socket may be missing */
	if ((!config->passed.count && !config->inherited) || config->errors.count)
		return;
	(void)config_activation_require(config, &config->errors);
	for (unsigned i = 0; i < config->passed.count; i++)
		if (!config->passed.sockets[i].taken)
			add_left_over(config, &config->passed.sockets[i]);
}
