#include "admin/admin_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/admin_request.h"
#include "base/check.h"
#include "base/units.h"
#include "config/usage.h"

#define VARIABLE "SIXPIPE_ADMIN"

struct ask {
	struct admin_request request;
	const char *path;
};

/* The command line ----------------------------------------------------------------------------- */

static int set_who(struct ask *ask, const char *text, struct fault *fault)
{
	struct admin_request *request = &ask->request;
	const char *problem;

	if (request->verb == ADMIN_BANS)
		return fault_set(fault, NULL, text, "takes no address; leave it out");
	if (*request->given)
		return fault_set(fault, NULL, text, "one address at a time; ask again for this");
	problem = strlen(text) < sizeof(request->given) ? admin_who_parse(text, &request->who)
							: "is too long";
	if (problem)
		return fault_set_words(fault, NULL, text, problem);
	strcpy(request->given, text);
	return 0;
}

static int set_duration(struct ask *ask, const char *text, struct fault *fault)
{
	if (units_parse_duration(text, &ask->request.for_ms) || !ask->request.for_ms)
		return fault_set(fault, "for", text,
				 "not a duration; write 10m, 1h or 1d, or leave it out for a ban "
				 "without end");
	return 0;
}

/* Whether `argument` is the option; `*value` is then its value, NULL where that is missing. */
static bool takes_value(const char *option, char **argument, const char **value)
{
	size_t length = strlen(option);

	if (strncmp(*argument, option, length))
		return false;
	if ((*argument)[length] == '=')
		*value = *argument + length + 1;
	else if (!(*argument)[length])
		*value = NULL;
	else
		return false;
	return true;
}

/* Reads argument i, and its value where it takes one. Returns the number of the last it read. */
static int take_argument(struct ask *ask, int argc, char **argv, int i, struct fault *fault)
{
	const char *value;
	bool is_path = takes_value("--admin", &argv[i], &value);
	int result = 0;

	if (!strcmp(argv[i], "--json")) {
		ask->request.json = true;
		return i;
	}
	if (!is_path &&
	    (ask->request.verb != ADMIN_BAN || !takes_value("--for", &argv[i], &value))) {
		if (*argv[i] == '-')
			result = fault_set(fault, NULL, argv[i],
					   "not known; %s --help tells what is", argv[0]);
		else
			result = set_who(ask, argv[i], fault);
		return result ? result : i;
	}
	if (!value && i + 1 == argc)
		return fault_set(fault, argv[i] + strlen("--"), NULL, "has no value; give one");
	if (!value)
		value = argv[++i];
	if (is_path)
		ask->path = value;
	else
		result = set_duration(ask, value, fault);
	return result ? result : i;
}

/* Returns 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct ask *ask, struct fault *fault)
{
	ask->request.verb = admin_verb_find(argv[0]);
	CHECK(ask->request.verb != ADMIN_VERB_COUNT);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
		i = take_argument(ask, argc, argv, i, fault);
		if (i < 0)
			return i;
	}
	if (ask->request.verb != ADMIN_BANS && !*ask->request.given)
		return fault_set(
			fault, NULL, NULL,
			"whom? give an address, a block of addresses, or an address and port");
	if (!ask->path)
		ask->path = getenv(VARIABLE);
	if (!ask->path || !*ask->path)
		ask->path = ADMIN_CLIENT_PATH;
	return 0;
}

/* Asking --------------------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
	struct timeval limit = {.tv_sec = ADMIN_CLIENT_LIMIT_MS / 1000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* unix(7): both hold for connect(2) too, which waits where the backlog is full */
	if (!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) &&
	    !connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/* Returns 0 and the whole answer, the caller's to free, or -errno. */
static int receive(int fd, char **text, size_t *bytes)
{
	FILE *out = open_memstream(text, bytes);
	char piece[16384];
	ssize_t got;

	if (!out)
		return -ENOMEM;
	while ((got = recv(fd, piece, sizeof(piece), 0)) > 0)
		fwrite(piece, 1, (size_t)got, out);
	got = got < 0 ? -errno : 0;
	/* who is refused is told so without having been read: the answer is there, then this */
	if (got == -ECONNRESET && ftell(out) > 0)
		got = 0;
	if (fclose(out) && !got)
		got = -ENOMEM;
	return (int)got;
}

static int exchange(const struct ask *ask, char **text, size_t *bytes)
{
	char line[ADMIN_REQUEST_BYTES];
	int fd = connect_to(ask->path);
	int result = 0;
	size_t length;

	if (fd < 0)
		return fd;
	length = strlen(admin_request_print(&ask->request, line));
	/* a new socket's buffer has room for so little; EPIPE: the answer is there already */
	if (send(fd, line, length, MSG_NOSIGNAL) != (ssize_t)length && errno != EPIPE)
		result = -errno;
	if (!result)
		result = receive(fd, text, bytes);
	close(fd);
	return result;
}

int admin_client_split(char *text, size_t bytes, const char **message, const char **output)
{
	char *end = bytes ? memchr(text, '\n', bytes) : NULL;

	if (!end || *text < '0' || *text > '2' || (text[1] != ' ' && text[1] != '\n'))
		return -EPROTO;
	*end = '\0';
	*message = text[1] ? text + 2 : "";
	*output = end + 1;
	return *text - '0';
}

static int fail_unreached(const struct ask *ask, int problem)
{
	struct fault fault;
	const char *remedy = "is this sixpipe's --admin socket, and is sixpipe not ending?";

	if (problem == -ENOENT || problem == -ECONNREFUSED)
		remedy = "start sixpipe with --admin PATH, or name its path by --admin";
	else if (problem == -EACCES)
		remedy = "ask as root or as the user that sixpipe runs as; --admin-mode 0660 lets "
			 "its group ask too";
	else if (problem == -EAGAIN)
		remedy =
			"it was given 10 s; is the process stopped, or busy with others' requests?";
	fault_set(&fault, NULL, NULL, "cannot reach %.200s: %s; %s", ask->path,
		  problem == -EAGAIN ? "No answer" : strerror(-problem), remedy);
	return usage_fail(EXIT_FAILURE, &fault);
}

int admin_client_main(int argc, char **argv)
{
	struct ask ask = {0};
	struct fault fault;
	const char *message, *output;
	char *text = NULL;
	size_t bytes = 0;
	int result = parse(argc, argv, &ask, &fault);

	if (result < 0) {
		if (!fault.option)
			snprintf(fault.name, sizeof(fault.name), "%s", argv[0]);
		return usage_fail(EXIT_USAGE, &fault);
	}
	if (result) {
		usage_print_command(stdout, argv[0]);
		return EXIT_SUCCESS;
	}
	result = exchange(&ask, &text, &bytes);
	if (!result)
		result = admin_client_split(text, bytes, &message, &output);
	if (result < 0) {
		result = fail_unreached(&ask, result);
	} else {
		fputs(output, stdout);
		if (*message)
			usage_fail_text(result, message);
	}
	free(text);
	return result;
}
