#include "command/doctor_ipv6.h"

#include <stdio.h>

bool doctor_judge_v6(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const char *value = "off (net.ipv6.conf.INTERFACE.disable_ipv6)";
	const char *remedy = INTERFACES_V6_REMEDY;

	finding->state = DOCTOR_FAIL;
	if (!facts->wants_v6)
		return false;
	if (facts->v6_error) {
		value = "no IPv6 socket can be opened";
		remedy = "boot without ipv6.disable=1, or allow AF_INET6 sockets";
	} else if (facts->v6 == INTERFACES_V6_ONLY_LOOPBACK) {
		finding->state = DOCTOR_WARN;
		value = "off on all interfaces but lo; no other host gets in by it";
	} else if (facts->v6 != INTERFACES_V6_OFF) {
		return false;
	}
	snprintf(finding->value, sizeof(finding->value), "%s", value);
	snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
	return true;
}

void doctor_judge_not_available(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	char text[ADDR_TEXT_BYTES], host[ADDR_TEXT_BYTES];
	const char *reason = "is not of this host", *remedy = "";

	if (facts->listen_v6 == INTERFACES_V6_OFF) {
		reason = "cannot be had while IPv6 is off";
		remedy = INTERFACES_V6_REMEDY;
	} else if (facts->listen_v6 == INTERFACES_V6_DUPLICATE) {
		reason = "is another host's too (duplicate address detection)";
		remedy = "give one of the two hosts another address";
	}
	snprintf(finding->value, sizeof(finding->value), "%s %s", addr_print(&facts->listen, text),
		 reason);
	if (*remedy)
		snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
	else
		snprintf(finding->remedy, sizeof(finding->remedy),
			 "ip address add %s dev INTERFACE%s", addr_print_host(&facts->listen, host),
			 facts->listen_is_metrics ? "" : ", or --freebind");
}
