/* SPDX-License-Identifier: MIT */
#include "control/privs.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/units.h"

static int fail(struct fault *fault, int code, const char *what, const char *remedy)
{
	fault_set(fault, NULL, NULL, "%s: %s; %s", what, strerror(code), remedy);
	return -code;
}

bool privs_has_capability(unsigned capability)
{
	return !capng_get_caps_process() && capng_have_capability(CAPNG_EFFECTIVE, capability) > 0;
}

/*
 * A number that getpwnam(3) and getgrnam(3) do not know as a name. -1 is "no change" to
 * setresuid(2).
 */
static bool parse_id(const char *text, uint32_t *id)
{
	uint64_t number;

	if (units_parse_count(text, &number) || number >= UINT32_MAX)
		return false;
	*id = (uint32_t)number;
	return true;
}

static int resolve_user(const char *name, struct privs_target *target, struct fault *fault)
{
	const struct passwd *entry = getpwnam(name);
	uint32_t id;

	if (!entry && parse_id(name, &id)) {
		entry = getpwuid(id);
		if (!entry) {
			/* no entry: the number is both the user and the group */
			target->user.uid = id;
			target->user.gid = id;
			target->own_groups = false;
			return 0;
		}
	}
	if (!entry)
		return fault_set(fault, "user", name,
				 "no such user; create it (useradd --system), or give another");
	target->user.uid = entry->pw_uid;
	target->user.gid = entry->pw_gid;
	target->own_groups = true;
	snprintf(target->name, sizeof(target->name), "%s", entry->pw_name);
	return 0;
}

static int resolve_group(const char *name, struct privs_target *target, struct fault *fault)
{
	const struct group *entry = getgrnam(name);
	uint32_t id;

	if (!entry && !parse_id(name, &id))
		return fault_set(fault, "user", name,
				 "no such group; create it (groupadd --system), or give another");
	target->user.gid = entry ? entry->gr_gid : id;
	target->own_groups = false;
	return 0;
}

int privs_resolve(const char *user, struct privs_target *target, struct fault *fault)
{
	char name[256];
	char *group;
	int result;

	*target = (struct privs_target){.user = {.uid = geteuid(), .gid = getegid()}};
	if (!user)
		return 0;
	if (strlen(user) >= sizeof(name))
		return fault_set(fault, "user", user, "too long; give a user's name");
	strcpy(name, user);
	group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	if (!*name || (group && !*group))
		return fault_set(fault, "user", user, "a name is missing; give NAME or NAME:GROUP");
	snprintf(target->name, sizeof(target->name), "%s", name);
	result = resolve_user(name, target, fault);
	if (!result && group)
		result = resolve_group(group, target, fault);
	/* root sets the groups even where the user stays the same */
	target->change =
		geteuid() == 0 || target->user.uid != geteuid() || target->user.gid != getegid();
	if (!result && target->change && geteuid() != 0) {
		fault_set(fault, "user", user,
			  "only root can become another user; start as root, or leave --user out");
		return -EPERM;
	}
	return result;
}

/* Needs CAP_SETPCAP. Without CAP_SETPCAP the set stays, but no_new_privs makes it useless. */
static int clear_bounding(bool *cleared, struct fault *fault)
{
	capng_get_caps_process();
	*cleared = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	if (!*cleared)
		return 0;
	capng_clear(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_BOUNDS))
		return fail(fault, EPERM, "cannot clear the bounding capabilities",
			    "start with CAP_SETPCAP, or without any capability");
	return 0;
}

static int become(const struct privs_target *target, struct fault *fault)
{
	const char *what = NULL;
	int result;

	if (!target->change)
		return 0;
	if (target->own_groups ? initgroups(target->name, target->user.gid) : setgroups(0, NULL))
		what = "its groups cannot be set";
	else if (setresgid(target->user.gid, target->user.gid, target->user.gid))
		what = "its group cannot be set";
	else if (setresuid(target->user.uid, target->user.uid, target->user.uid))
		what = "we cannot become it";
	if (!what)
		return 0;
	result = fail(fault, errno, what, "start as root");
	fault->option = "user";
	return result;
}

static int clear_capabilities(struct fault *fault)
{
	/* the ambient set first: it is a part of the permitted and inheritable ones */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		return fail(fault, errno, "cannot clear the ambient capabilities",
			    "report this host's kernel");
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS))
		return fail(fault, EPERM, "cannot clear the capabilities",
			    "report this host's kernel");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(fault, errno, "cannot set no_new_privs", "report this host's kernel");
	return 0;
}

static bool has_any_capability(bool bounding_cleared)
{
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (capng_have_capability(CAPNG_EFFECTIVE, cap) ||
		    capng_have_capability(CAPNG_PERMITTED, cap) ||
		    capng_have_capability(CAPNG_INHERITABLE, cap))
			return true;
		/* -1 and EINVAL: a capability that this kernel does not know */
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) > 0)
			return true;
		if (bounding_cleared && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
			return true;
	}
	return false;
}

/* Reads the outcome back from the kernel. */
static bool is_dropped(const struct privs_target *target, bool bounding_cleared)
{
	uid_t real, effective, saved;
	gid_t real_group, effective_group, saved_group;

	if (capng_get_caps_process() || has_any_capability(bounding_cleared))
		return false;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return false;
	if (!target->change)
		return true;
	if (getresuid(&real, &effective, &saved) || real != target->user.uid ||
	    effective != target->user.uid || saved != target->user.uid)
		return false;
	if (getresgid(&real_group, &effective_group, &saved_group) ||
	    real_group != target->user.gid || effective_group != target->user.gid ||
	    saved_group != target->user.gid)
		return false;
	if (!target->own_groups && getgroups(0, NULL) != 0)
		return false;
	return target->user.uid == 0 || setuid(0) != 0;
}

int privs_drop(const struct privs_target *target, struct fault *fault)
{
	bool bounding_cleared;
	int result = clear_bounding(&bounding_cleared, fault);

	if (!result)
		result = become(target, fault);
	if (!result)
		result = clear_capabilities(fault);
	if (!result && !is_dropped(target, bounding_cleared))
		result = fail(fault, EPERM, "privileges are still there after they were dropped",
			      "report this host's kernel");
	return result;
}
