/* SPDX-License-Identifier: MIT */
#include "os/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "os/host.h"

#define FILE_BYTES 128

/* From here on a limit means "no limit": version 1 shows its largest number of pages instead. */
#define MEMORY_MOST (1ULL << 62)

/* A mount's line: "36 35 0:31 ROOT POINT OPTIONS [TAG ...] - TYPE SOURCE SUPER_OPTIONS". */
struct mount {
	char *root;  /* the group at the mount point */
	char *point; /* the mount point */
	char *type;
	char *super_options;
};

/* The directory of a group. The first `root_length` bytes of the path are the mount point. */
struct group {
	char path[PATH_MAX];
	size_t root_length;
};

/* The lower of two limits; 0 is "no limit". */
static uint64_t least(uint64_t a, uint64_t b)
{
	return a && b ? MIN(a, b) : MAX(a, b);
}

static uint64_t to_millis(uint64_t quota_us, uint64_t period_us)
{
	if (!quota_us || !period_us || quota_us > UINT64_MAX / 2000)
		return 0;
	return (quota_us * 1000 + period_us - 1) / period_us;
}

/* The number at the start of a text, which a blank or a newline may end; 0: there is none. */
static uint64_t parse_number(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	return strchr(" \n", *end) ? number : 0;
}

uint64_t cgroup_parse_cpu_max(const char *text)
{
	const char *period = strchr(text, ' ');

	return period ? to_millis(parse_number(text), parse_number(period)) : 0;
}

uint64_t cgroup_parse_cfs(const char *quota_text, const char *period_text)
{
	/* -1 means no quota; strtoull(3) makes it the largest number, which to_millis() refuses */
	return to_millis(parse_number(quota_text), parse_number(period_text));
}

uint64_t cgroup_parse_memory(const char *text)
{
	uint64_t bytes = parse_number(text);

	return bytes < MEMORY_MOST ? bytes : 0;
}

/* mountinfo writes blanks and backslashes as \ooo; proc(5). */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned code;

		if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1 && strlen(from) >= 4) {
			*to = (char)code;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Splits a line of mountinfo. Returns false if the line is malformed. */
static bool parse_mount(char *line, struct mount *mount)
{
	char *at = line, *source;

	line[strcspn(line, "\n")] = '\0';
	for (unsigned i = 0; i < 3; i++) /* mount ID, parent ID, device */
		strsep(&at, " ");
	mount->root = strsep(&at, " ");
	mount->point = strsep(&at, " ");
	at = at ? strstr(at, " - ") : NULL;
	if (!at)
		return false;
	at += 3;
	mount->type = strsep(&at, " ");
	source = strsep(&at, " ");
	mount->super_options = strsep(&at, " ");
	if (!source || !mount->super_options)
		return false;
	unescape(mount->root);
	unescape(mount->point);
	return true;
}

/* Whether the mount is the hierarchy of `controller` (version 1), or of version 2 if NULL. */
static bool is_hierarchy(const struct mount *mount, const char *controller)
{
	if (!controller)
		return !strcmp(mount->type, "cgroup2");
	return !strcmp(mount->type, "cgroup") && host_lists(mount->super_options, ",", controller);
}

static FILE *open_file(const char *root, const char *path)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s%s", root, path) >= (int)sizeof(name))
		return NULL;
	return fopen(name, "re");
}

/* Reads the process's group of a hierarchy, from lines as "4:cpu,cpuacct:/a/b" and "0::/a/b". */
static bool read_own_path(const char *root, const char *controller, char path[PATH_MAX])
{
	FILE *file = open_file(root, "/proc/self/cgroup");
	bool found = false;
	char *line = NULL;
	size_t room = 0;

	while (file && !found && getline(&line, &room, file) > 0) {
		char *own = line, *number = strsep(&own, ":"), *list = strsep(&own, ":");

		if (!own)
			continue;
		own[strcspn(own, "\n")] = '\0';
		if (controller ? host_lists(list, ",", controller) : !*list && *number == '0')
			found = snprintf(path, PATH_MAX, "%s", own) < PATH_MAX;
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* The part of `path` below `top`, "" for `top` itself; NULL if `path` is not below `top`. */
static const char *below(const char *path, const char *top)
{
	size_t length = strcmp(top, "/") ? strlen(top) : 0;

	if (strncmp(path, top, length) || (path[length] && path[length] != '/'))
		return NULL;
	return strcmp(path + length, "/") ? path + length : "";
}

/* Sets `group` to directory `rest` below the mount point. Returns false if it does not exist. */
static bool set_group(struct group *group, const char *root, const struct mount *mount,
		      const char *rest)
{
	int length = snprintf(group->path, sizeof(group->path), "%s%s%s", root, mount->point, rest);

	group->root_length = strlen(root) + strlen(mount->point);
	return length < (int)sizeof(group->path) && !access(group->path, F_OK);
}

/*
 * Finds the process's group. A hierarchy can have several mounts of different parts. A mount that
 * has a directory for the process's group is preferred; otherwise the root of the first mount is
 * taken.
 */
static bool find_group(const char *root, const char *controller, struct group *group)
{
	enum { NOTHING, SOME_ROOT, OWN } found = NOTHING;
	char own_path[PATH_MAX];
	char *line = NULL;
	size_t room = 0;
	FILE *file;

	if (!read_own_path(root, controller, own_path))
		return false;
	file = open_file(root, "/proc/self/mountinfo");
	while (file && found != OWN && getline(&line, &room, file) > 0) {
		struct group candidate;
		struct mount mount;
		const char *rest;

		if (!parse_mount(line, &mount) || !is_hierarchy(&mount, controller))
			continue;
		rest = below(own_path, mount.root);
		if (rest && set_group(&candidate, root, &mount, rest))
			found = OWN;
		else if (found == NOTHING && set_group(&candidate, root, &mount, ""))
			found = SOME_ROOT;
		else
			continue;
		*group = candidate;
	}
	free(line);
	if (file)
		fclose(file);
	return found != NOTHING;
}

/* Moves on to the parent; false at the mount's root. */
static bool go_up(struct group *group)
{
	char *slash = strrchr(group->path + group->root_length, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

/* A group's directory has the files of one version only. */
static uint64_t read_cpu(const char *group)
{
	char quota[FILE_BYTES], period[FILE_BYTES];

	if (!host_read_file(group, "/cpu.max", quota, sizeof(quota)))
		return cgroup_parse_cpu_max(quota);
	if (host_read_file(group, "/cpu.cfs_quota_us", quota, sizeof(quota)) ||
	    host_read_file(group, "/cpu.cfs_period_us", period, sizeof(period)))
		return 0;
	return cgroup_parse_cfs(quota, period);
}

static uint64_t read_memory(const char *group)
{
	char text[FILE_BYTES];

	if (host_read_file(group, "/memory.max", text, sizeof(text)) &&
	    host_read_file(group, "/memory.limit_in_bytes", text, sizeof(text)))
		return 0;
	return cgroup_parse_memory(text);
}

/*
 * The least limit that `read` finds in the process's group and the groups above it. Where both
 * versions are mounted, each controller is in one of them.
 */
static uint64_t read_limit(const char *root, const char *controller,
			   uint64_t (*read)(const char *group))
{
	const char *const hierarchies[] = {NULL, controller};
	struct group group;
	uint64_t limit = 0;

	for (unsigned i = 0; i < ARRAY_COUNT(hierarchies); i++)
		for (bool found = find_group(root, hierarchies[i], &group); found;
		     found = go_up(&group))
			limit = least(limit, read(group.path));
	return limit;
}

void cgroup_read_limits(const char *root, struct cgroup_limits *limits)
{
	limits->cpu_millis = read_limit(root, "cpu", read_cpu);
	limits->memory_bytes = read_limit(root, "memory", read_memory);
}

int cgroup_count_sock_ops(void)
{
	union bpf_attr query;
	struct group group;
	int fd, count;

	if (!find_group("", NULL, &group))
		return -ENOENT;
	fd = open(group.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memset(&query, 0, sizeof(query));
	query.query.target_fd = (uint32_t)fd;
	query.query.attach_type = BPF_CGROUP_SOCK_OPS;
	query.query.query_flags = BPF_F_QUERY_EFFECTIVE;
	count = syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) ? -errno
									: (int)query.query.prog_cnt;
	close(fd);
	return count;
}
