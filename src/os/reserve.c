/* SPDX-License-Identifier: MIT */
#include "os/reserve.h"

#include <sys/eventfd.h>
#include <unistd.h>

bool reserve_keep(struct reserve *reserve)
{
	if (reserve->open)
		return true;
	/*
	 * not dup(2): closing a duplicate frees no file when the system's limit on files is reached
	 */
	reserve->fd = eventfd(0, EFD_CLOEXEC);
	reserve->open = reserve->fd >= 0;
	return reserve->open;
}

bool reserve_use(struct reserve *reserve)
{
	if (!reserve->open)
		return false;
	close(reserve->fd);
	reserve->open = false;
	return true;
}
