#include "control/resolv_conf.h"

#include <stdio.h>

#include "base/log.h"

#define LINE_BYTES 1024

static void tell_ignored(const char *path, const char *nameserver, const char *fault)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_nameserver_ignored))
		return;
	log_text(&line, "nameserver", nameserver);
	log_text(&line, "file", path);
	log_text(&line, "fault", fault);
	log_end(&line);
}

unsigned resolv_conf_servers(const char *path, struct addr servers[DNS_SERVERS_MOST])
{
	char line[LINE_BYTES], item[ADDR_TEXT_BYTES];
	FILE *file = fopen(path, "re");
	const char *problem;
	unsigned count = 0;

	if (!file)
		return 0;
	while (count < DNS_SERVERS_MOST && fgets(line, sizeof(line), file)) {
		if (!dns_parse_nameserver(line, &servers[count], item, &problem))
			continue;
		if (problem)
			tell_ignored(path, item, problem);
		else
			count++;
	}
	fclose(file);
	return count;
}
