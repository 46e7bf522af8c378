/* SPDX-License-Identifier: MIT */
#include "config/config_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/dns.h"

#define DIGITS	    "0123456789"
#define SHOWN_BYTES 80 /* of the user's text, in a message */

struct mistake {
	enum config_address_use use;
	enum config_origin_kind kind;
	const char *text;
};

/* Digits, or two numbers with a '-' between. */
static bool is_port(const char *text)
{
	size_t first = strspn(text, DIGITS);
	size_t last = text[first] == '-' ? strspn(text + first + 1, DIGITS) + 1 : 0;

	return first && last != 1 && !text[first + last];
}

/* Sets the remedy for a port without an address, with `reason`. */
static bool add_addresses(const struct mistake *mistake, const char *reason, const char *port,
			  struct fault *fault)
{
	if (mistake->use == CONFIG_ADDRESS_LISTEN)
		fault_set(fault, NULL, mistake->text,
			  "%s; write [::]:%.11s for every address of this host, or [::1]:%.11s for "
			  "itself alone",
			  reason, port, port);
	else if (mistake->use == CONFIG_ADDRESS_MONITORING)
		fault_set(fault, NULL, mistake->text,
			  "%s; write [::1]:%.11s for this host alone, or the address that "
			  "monitoring connects to",
			  reason, port);
	else
		fault_set(fault, NULL, mistake->text,
			  "%s; write the service's address, as in 127.0.0.1:%.11s", reason, port);
	return true;
}

static bool explain_port(const struct mistake *mistake, struct fault *fault)
{
	const char *text = mistake->text;

	if (is_port(text))
		return add_addresses(mistake, "is a port without an address", text, fault);
	if (*text == ':' && is_port(text + 1))
		return add_addresses(mistake, "has no address before the ':'", text + 1, fault);
	if (!strncmp(text, "*:", 2) && is_port(text + 2))
		return add_addresses(mistake, "has a '*', which is no address", text + 2, fault);
	return false;
}

/* NAME:PORT where a listener needs an address. */
static bool explain_name(const struct mistake *mistake, struct fault *fault)
{
	size_t length = strcspn(mistake->text, ":");
	const char *port = mistake->text + length + 1;
	char host[DNS_NAME_BYTES];

	if (mistake->use == CONFIG_ADDRESS_BACKEND || !mistake->text[length] || !is_port(port) ||
	    length >= sizeof(host))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)length, mistake->text);
	if (!host[strspn(host, DIGITS ".")] || dns_why_not_name(host))
		return false;
	if (!strcasecmp(host, "localhost"))
		fault_set(fault, NULL, mistake->text,
			  "is a name, and an address is needed; write [::1]:%.11s", port);
	else
		fault_set(fault, NULL, mistake->text,
			  "is a name, and an address is needed; write one of this host's ('ip "
			  "address' lists them), as in [2001:db8::1]:%.11s",
			  port);
	return true;
}

/*
 * The length of a socat keyword and its colon at the beginning of `text`, "TCP6-LISTEN:"; 0: none.
 */
static size_t measure_socat_word(const char *text)
{
	static const char *const words[] = {"tcp", "tcp4", "tcp6", "unix"};
	static const char *const roles[] = {"", "-listen", "-l", "-connect", "-client"};
	char word[24];

	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		for (size_t j = 0; j < ARRAY_COUNT(roles); j++) {
			size_t length =
				(size_t)snprintf(word, sizeof(word), "%s%s:", words[i], roles[j]);

			if (!strncasecmp(text, word, length))
				return length;
		}
	return 0;
}

static bool explain_socat(const struct mistake *mistake, struct fault *fault)
{
	const char *text = mistake->text;
	size_t word = measure_socat_word(text), length = strcspn(text + word, ",");
	const char *bind = strstr(text + word, ",bind=");
	char reason[SHOWN_BYTES], rest[SHOWN_BYTES];

	if (!word || addr_is_local_text(text) || !strncmp(text + word, "//", 2))
		return false;
	snprintf(reason, sizeof(reason), "begins with %.*s, as socat's addresses do", (int)word,
		 text);
	snprintf(rest, sizeof(rest), "%.*s", (int)MIN(length, sizeof(rest)), text + word);
	bind = bind ? bind + strlen(",bind=") : NULL;
	if (!strncasecmp(text, "unix", strlen("unix")))
		fault_set(fault, NULL, mistake->text, "%s; write unix:%s", reason, rest);
	else if (bind && is_port(rest))
		fault_set(fault, NULL, mistake->text, "%s; write %.*s:%s", reason,
			  (int)MIN(strcspn(bind, ","), SHOWN_BYTES), bind, rest);
	else if (is_port(rest))
		return add_addresses(mistake, reason, rest, fault);
	else
		fault_set(fault, NULL, mistake->text, "%s; write %s", reason, rest);
	return true;
}

/* Several addresses with commas between. */
static bool explain_list(const struct mistake *mistake, struct fault *fault)
{
	static const char reason[] = "holds several addresses";
	const char *comma = strchr(mistake->text, ',');

	if (!comma || !memchr(mistake->text, ':', (size_t)(comma - mistake->text)) ||
	    (comma[1] && !strchr(comma, ':')))
		return false;
	if (mistake->use != CONFIG_ADDRESS_BACKEND)
		fault_set(fault, NULL, mistake->text, "%s; %s", reason,
			  mistake->use == CONFIG_ADDRESS_LISTEN
				  ? "each needs a listener of its own, see --listen"
				  : "write one");
	else if (mistake->kind == CONFIG_ORIGIN_FILE)
		fault_set(fault, NULL, mistake->text, "%s; write a line backend = ADDRESS for each",
			  reason);
	else if (mistake->kind == CONFIG_ORIGIN_ENVIRONMENT)
		fault_set(fault, NULL, mistake->text, "%s; put blanks between them, not commas",
			  reason);
	else
		fault_set(fault, NULL, mistake->text,
			  "%s; put blanks between them, not commas, or a --backend before each",
			  reason);
	return true;
}

static bool explain_local(const struct mistake *mistake, struct fault *fault)
{
	if (mistake->use != CONFIG_ADDRESS_MONITORING || !addr_is_local_text(mistake->text))
		return false;
	fault_set(
		fault, NULL, mistake->text,
		"is a local socket, and HTTP is answered on TCP alone; write it as in [::1]:9006");
	return true;
}

int config_address_explain(enum config_address_use use, enum config_origin_kind kind,
			   const char *text, const char *problem, struct fault *fault)
{
	static bool (*const mistakes[])(const struct mistake *, struct fault *) = {
		explain_socat, explain_list, explain_local, explain_port, explain_name};
	const struct mistake mistake = {use, kind, text};

	for (size_t i = 0; i < ARRAY_COUNT(mistakes); i++)
		if (mistakes[i](&mistake, fault))
			return -EINVAL;
	return fault_set_words(fault, NULL, text, problem);
}

bool config_address_read_range(const char *text, unsigned long *first, unsigned long *last)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	*first = strtoul(text, &end, 10);
	if (*end != '-' || !isdigit((unsigned char)end[1]))
		return false;
	*last = strtoul(end + 1, &end, 10);
	return !*end;
}

const char *config_address_split_range(const char *text, char *word, size_t word_bytes,
				       unsigned *port_count)
{
	const char *colon = strrchr(text, ':');
	unsigned long first, last;
	size_t length;

	*port_count = 1;
	snprintf(word, word_bytes, "%s", text);
	if (!colon || !config_address_read_range(colon + 1, &first, &last))
		return NULL;
	if (!first || last > 65535)
		return "has ports outside of 1 to 65535; give two of these";
	if (first > last)
		return "has a range of ports that ends before it begins; write the lower one first";
	length = (size_t)(strchr(colon, '-') - text);
	if (length < word_bytes)
		word[length] = '\0';
	*port_count = (unsigned)(last - first + 1);
	return NULL;
}

/* Whether the user probably means an IPv4 address. */
static bool is_like_v4(const char *host)
{
	return !host[strspn(host, "0123456789.")];
}

const char *config_address_parse_backend(const char *text, struct config_backend *backend)
{
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	const char *problem = addr_parse(text, &backend->addr);
	char host[DNS_NAME_BYTES], full[ADDR_TEXT_BYTES];
	struct in_addr v4;

	backend->name[0] = '\0';
	if (!problem || !*text || *text == '[' || (colon && strchr(colon + 1, ':')))
		return problem;
	if (!length)
		return "has nothing before the ':'; write address:port or name:port";
	if (length >= sizeof(host))
		return "is too long; a host name has up to 253 characters";
	snprintf(host, sizeof(host), "%.*s", (int)length, text);
	if (inet_pton(AF_INET, host, &v4) == 1)
		return problem; /* `problem` is about the port */
	if (is_like_v4(host))
		return "is not an IPv4 address; write it as in 192.0.2.1:80, or a name as in "
		       "web.example:80";
	problem = dns_why_not_name(host);
	if (problem)
		return problem;
	if (!colon)
		return "has no port; write name:port";
	if ((size_t)snprintf(full, sizeof(full), "0.0.0.0:%s", colon + 1) >= sizeof(full))
		return "has a port that is too long; give a number from 1 to 65535";
	problem = addr_parse(full, &backend->addr);
	if (!problem)
		memcpy(backend->name, host, sizeof(host));
	return problem;
}
