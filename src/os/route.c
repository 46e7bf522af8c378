/* SPDX-License-Identifier: MIT */
#include "os/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct route_request {
	struct nlmsghdr head;
	struct rtmsg route;
	struct rtattr attribute;
	unsigned char address[sizeof(struct in6_addr)];
	/* only for link-local IPv6 addresses: the interface, after the address */
	struct rtattr scope_attribute;
	uint32_t interface;
};

struct route_answer {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct nlmsgerr error;
		char rest[4096];
	};
};

static unsigned fill_request(struct route_request *request, const struct addr *address)
{
	bool v6 = address->any.sa_family == AF_INET6;
	unsigned length = v6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);

	memset(request, 0, sizeof(*request));
	request->head.nlmsg_type = RTM_GETROUTE;
	request->head.nlmsg_flags = NLM_F_REQUEST;
	request->head.nlmsg_len = NLMSG_LENGTH(sizeof(request->route)) + RTA_LENGTH(length);
	request->route.rtm_family = (unsigned char)address->any.sa_family;
	request->route.rtm_dst_len = (unsigned char)(length * 8);
	request->attribute.rta_type = RTA_DST;
	request->attribute.rta_len = (unsigned short)RTA_LENGTH(length);
	if (v6)
		memcpy(request->address, &address->v6.sin6_addr, length);
	else
		memcpy(request->address, &address->v4.sin_addr, length);
	if (v6 && address->v6.sin6_scope_id) {
		request->scope_attribute.rta_type = RTA_OIF;
		request->scope_attribute.rta_len = RTA_LENGTH(sizeof(request->interface));
		request->interface = address->v6.sin6_scope_id;
		request->head.nlmsg_len += request->scope_attribute.rta_len;
	}
	return request->head.nlmsg_len;
}

static int judge(const struct route_answer *answer, ssize_t bytes)
{
	if (bytes < (ssize_t)NLMSG_LENGTH(sizeof(answer->route)))
		return -EPROTO;
	if (answer->head.nlmsg_type == RTM_NEWROUTE)
		return answer->route.rtm_type == RTN_LOCAL ? 0 : -EADDRNOTAVAIL;
	if (answer->head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	/* no route, or a route of type unreachable, prohibit or blackhole */
	if (answer->error.error == -ENETUNREACH || answer->error.error == -EHOSTUNREACH ||
	    answer->error.error == -EACCES || answer->error.error == -EINVAL)
		return -EADDRNOTAVAIL;
	return answer->error.error ? answer->error.error : -EPROTO;
}

int route_check_local(const struct addr *address)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct route_request request;
	struct route_answer answer;
	ssize_t bytes;
	int result;

	if (fd < 0)
		return -errno;
	if (send(fd, &request, fill_request(&request, address), 0) < 0)
		result = -errno;
	else if ((bytes = recv(fd, &answer, sizeof(answer), 0)) < 0)
		result = -errno;
	else
		result = judge(&answer, bytes);
	close(fd);
	return result;
}

bool route_lacks_source(const struct addr *source, int error)
{
	return abs(error) == ENETUNREACH && route_check_local(source) == -EADDRNOTAVAIL;
}
