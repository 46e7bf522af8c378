/* SPDX-License-Identifier: MIT */
#include "config/config_file.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(config_file_errors, .fini = support_check_leaks);

#define FORWARD	    "[forward a]\nlisten=[::1]:1\nbackend=127.0.0.1:2\n"
#define ERROR_LIMIT 12
#define TEXT(text)  (text), sizeof(text) - 1

struct row {
	const char *text;
	size_t count;
	const char *errors[ERROR_LIMIT];
};

/* What is wrong is told with its line, its reason and its remedy, and nothing besides. */
static const struct row rows[] = {
	/* lines */
	{TEXT(""), {"f:1: holds no option; write NAME = VALUE and [forward NAME]"}},
	{TEXT("\n # nothing\n;nor here\n"),
	 {"f:1: holds no option; write NAME = VALUE and [forward NAME]"}},
	{TEXT("maxconn\nmaxconn 5\n= 5\nmaxconn: 5\nlisten [::]:80\nmax conn = 5\n" FORWARD),
	 {"f:1: maxconn: no '=' behind an option's name; write NAME = VALUE",
	  "f:2: maxconn 5: no '=' behind an option's name; write NAME = VALUE",
	  "f:3: = 5: no '=' behind an option's name; write NAME = VALUE",
	  "f:4: maxconn: 5: no '=' behind an option's name; write NAME = VALUE",
	  "f:5: listen [::]:80: no '=' behind an option's name; write NAME = VALUE",
	  "f:6: max conn = 5: no '=' behind an option's name; write NAME = VALUE"}},
	{TEXT("user=a\0b\nuser=\x1b[31m\nuser=\xff\nuser=\xc3\nuser="
	      "\xe2\x82\xac\xc2\x9b\n" FORWARD),
	 {"f:1: byte 7 is 0x00, a control character or no UTF-8; remove it",
	  "f:2: byte 6 is 0x1b, a control character or no UTF-8; remove it",
	  "f:3: byte 6 is 0xff, a control character or no UTF-8; remove it",
	  "f:4: byte 6 is 0xc3, a control character or no UTF-8; remove it",
	  "f:5: byte 9 is 0xc2, a control character or no UTF-8; remove it"}},
	{TEXT("a\rmaxconn=5\n" FORWARD),
	 {"f:1: byte 2 is 0x0d, a control character or no UTF-8; remove it"}},

	/* sections */
	{TEXT(FORWARD "[front]\nnonsense\nuser=\n[]\n[forward\n[forward b] x\n[Global]\n"),
	 {"f:4: [front]: no such section; write [global] or [forward NAME]",
	  "f:7: []: no such section; write [global] or [forward NAME]",
	  "f:8: [forward: not a section; write [global] or [forward NAME]",
	  "f:9: [forward b] x: not a section; write [global] or [forward NAME]",
	  "f:10: [Global]: no such section; write [global] or [forward NAME]"}},
	{TEXT("[forward]\n[forward a b]\n[forward \xc3\xa4]\n[forward a/b]\n[global x]\n"
	      "[forward 0123456789012345678901234567890123456789012345678901234567890123]\n"),
	 {"f:1: [forward ]: no name for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' and '-'",
	  "f:2: [forward a b]: no name for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' and "
	  "'-'",
	  "f:3: [forward \xc3\xa4]: no name for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' "
	  "and '-'",
	  "f:4: [forward a/b]: no name for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' and "
	  "'-'",
	  "f:5: [global x]: no such section; write [global] or [forward NAME]",
	  "f:6: [forward 0123456789012345678901234567890123456789012345678901234567890123]: no "
	  "name "
	  "for a forward; give 1 to 63 of A-Z, a-z, 0-9, '_', '.' and '-'"}},
	{TEXT(FORWARD
	      "[forward a]\nlisten=x\n[forward b]\n[forward c]\nlisten=[::1]:2\n[forward d]\n"
	      "backend=127.0.0.1:1"),
	 {"f:4: [forward a]: is at line 1 already; give this one another name",
	  "f:6: [forward b]: has no listen; add listen = ADDRESS",
	  "f:6: [forward b]: has no backend; add backend = ADDRESS",
	  "f:7: [forward c]: has no backend; add backend = ADDRESS",
	  "f:9: [forward d]: has no listen; add listen = ADDRESS"}},
	{TEXT("[global]\n[global]\n" FORWARD),
	 {"f:2: [global]: comes twice; put it before the first [forward NAME]"}},
	{TEXT(FORWARD "[global]\nmaxconn=5\n"),
	 {"f:4: [global]: comes behind another section; put it before the first [forward NAME]"}},

	/* a header that cannot be read is one: its lines are not of the section before */
	{TEXT(FORWARD "[forward b\xff]\nlisten=[::1]:2\nbackend=127.0.0.1:3\n"),
	 {"f:4: byte 11 is 0xff, a control character or no UTF-8; remove it"}},
	{TEXT("[forward a]\n\t [forw\0ard b]\nlisten=[::1]:2\n\0[c]\n"),
	 {"f:1: [forward a]: has no listen; add listen = ADDRESS",
	  "f:1: [forward a]: has no backend; add backend = ADDRESS",
	  "f:2: byte 8 is 0x00, a control character or no UTF-8; remove it",
	  "f:4: byte 1 is 0x00, a control character or no UTF-8; remove it"}},
	/* a line that cannot be read may be the one that its section lacks, a comment is not */
	{TEXT("[forward a]\nlisten=[::1]:1\xff\nbackend=127.0.0.1:2-3\n[forward "
	      "b]\nlisten=[::1]:2\n"
	      "backend 127.0.0.1:3\n[forward c]\n# \xff\nlisten=[::1]:3\n"),
	 {"f:2: byte 15 is 0xff, a control character or no UTF-8; remove it",
	  "f:6: backend 127.0.0.1:3: no '=' behind an option's name; write NAME = VALUE",
	  "f:8: byte 3 is 0xff, a control character or no UTF-8; remove it",
	  "f:7: [forward c]: has no backend; add backend = ADDRESS"}},
	{TEXT("\xff\n"), {"f:1: byte 1 is 0xff, a control character or no UTF-8; remove it"}},

	/* options */
	{TEXT("maxcon=5\nMaxconn=5\n--maxconn=5\nfrobnicate=1\nchekc=1\n" FORWARD),
	 {"f:1: maxcon: no such option; did you mean maxconn?",
	  "f:2: Maxconn: no such option; did you mean maxconn?",
	  "f:3: --maxconn: no such option; did you mean maxconn?",
	  "f:4: frobnicate: no such option; sixpipe --help all lists them",
	  "f:5: chekc: no such option; sixpipe --help all lists them"}},
	{TEXT("check=yes\nhelp=no\nversion=1\nconfig=g\ndump-config=yes\n" FORWARD),
	 {"f:1: check: is for the command line alone; leave it out",
	  "f:2: help: is for the command line alone; leave it out",
	  "f:3: version: is for the command line alone; leave it out",
	  "f:4: config: is for the command line alone; leave it out",
	  "f:5: dump-config: is for the command line alone; leave it out"}},
	{TEXT("listen=[::1]:1\nbackend=127.0.0.1:1\n" FORWARD "maxconn=5\n"),
	 {"f:1: listen: is of one forward; put it behind a line [forward NAME]",
	  "f:2: backend: is of one forward; put it behind a line [forward NAME]",
	  "f:6: maxconn: is of the whole process; put it before the first section"}},
	{TEXT("maxconn=5\n[global]\nmaxconn=6\naccess-log=yes\n access-log = yes\n" FORWARD
	      "timeout-idle=1s\nlisten=[::1]:9\ntimeout-idle=1s\n"),
	 {"f:3: maxconn: is at line 1 already; leave one of them out",
	  "f:5: access-log: is at line 4 already; leave one of them out",
	  "f:10: listen: is at line 7 already; leave one of them out",
	  "f:11: timeout-idle: is at line 9 already; leave one of them out"}},

	/* values, as the command line has them */
	{TEXT("workers=0\nengine=\nmaxconn=x\nuser=#u\naccess-log=maybe\n" FORWARD
	      "timeout-idle=5\n"),
	 {"f:1: workers '0': out of range; give 1 to 256",
	  "f:2: engine '': not one of auto|io_uring|epoll; give one of these",
	  "f:3: maxconn 'x': not a number; give a count such as 1000",
	  "f:4: user '': empty; give NAME[:GROUP]",
	  "f:5: access-log 'maybe': neither yes nor no; give 1, yes, true or on, or 0, no, false "
	  "or "
	  "off",
	  "f:9: timeout-idle '5': not a time; give a number and its unit, such as 500ms, 5s, 2m, "
	  "1h "
	  "or 1d"}},
	{TEXT("[forward a]\nlisten=::1:80\nbackend=127.0.0.1:0\n[forward b]\nlisten=[::1]:0\n"
	      "backend=127.0.0.1:1 frobnicate=2\n"),
	 {"f:2: listen '::1:80': looks like IPv6 without brackets; write [address]:port",
	  "f:3: backend '127.0.0.1:0': port 0 cannot be connected to; give 1 to 65535",
	  "f:6: backend '127.0.0.1:1': 'frobnicate=2' is no parameter of a backend; sixpipe --help "
	  "forwarding lists them"}},

	/* the whole */
	{TEXT(FORWARD
	      "[forward b]\nbackend=127.0.0.1:2\nlisten=[::1]:1\n[forward c]\nlisten=[::1]:1"
	      "\nbackend=127.0.0.1:x"),
	 {"f:9: backend '127.0.0.1:x': has a port that is not a number; give one from 0 to 65535",
	  "f:6: listen '[::1]:1': is given at f:2 too; put all its backends behind one",
	  "f:8: listen '[::1]:1': is given at f:2 too; put all its backends behind one"}},
	{TEXT("metrics=[::1]:1\n" FORWARD "accept-proxy=yes\n"),
	 {"f:1: metrics '[::1]:1': is a listener's address; give another port",
	  "f:3: listen '[::1]:1': --accept-proxy without --trust would let anybody claim any "
	  "address; add --trust with the blocks of your proxies"}},
	{TEXT(FORWARD "accept-proxy=yes\n"),
	 {"f:2: listen '[::1]:1': --accept-proxy without --trust would let anybody claim any "
	  "address; add --trust with the blocks of your proxies"}},
	{TEXT("trust=10.0.0.0/8\n" FORWARD),
	 {"f:1: trust: without --accept-proxy nobody is trusted with anything; add --accept-proxy "
	  "or "
	  "leave it out"}},
	{TEXT("metrics=[::1]:80\n[forward a]\nlisten=[::]:80\nbackend=127.0.0.1:2\n[forward b]\n"
	      "listen=[::1]:80\nbackend=127.0.0.1:2\n"),
	 {"f:1: metrics '[::1]:80': is within [::]:80 at f:3; give another port",
	  "f:1: metrics '[::1]:80': is a listener's address; give another port",
	  "f:6: listen '[::1]:80': is within [::]:80 at f:3; give one of them another port or "
	  "address"}},
	/* a mistake in a range is told once, at its line, and so are all mistakes of one forward */
	{TEXT("[forward a]\nlisten=[::1]:80-90\nbackend=127.0.0.1:2\naccept-proxy=yes\n"
	      "max-fails=1\nfail-timeout=0\nsource=2001:db8::1\n[forward b]\n"
	      "listen=[::1]:85-95\nbackend=127.0.0.1:3-4\n"),
	 {"f:2: listen '[::1]:80-90': --source gives IPv6 addresses, which cannot reach backend "
	  "127.0.0.1:2; give that one a listener of its own",
	  "f:2: listen '[::1]:80-90': --accept-proxy without --trust would let anybody claim any "
	  "address; add --trust with the blocks of your proxies",
	  "f:2: listen '[::1]:80-90': with --fail-timeout 0 a backend that failed once would never "
	  "be tried again; give a time, or --max-fails 0",
	  "f:9: listen '[::1]:85-95': shares ports with [::1]:80-90 at f:2; give one of them "
	  "another "
	  "port or address",
	  "f:9: listen '[::1]:85-95': backend 127.0.0.1:3 has 2 ports for the listener's 11; give "
	  "as "
	  "many, or one for all"}},
	{TEXT("[forward a]\nlisten=[::1]:1-200\nbackend=127.0.0.1:2\n[forward b]\n"
	      "listen=[::1]:201-300\nbackend=127.0.0.1:2\n[forward c]\nlisten=[::1]:301\n"
	      "backend=127.0.0.1:2\n"),
	 {"f:5: listen '[::1]:201-300': one too many; 256 listeners are the limit, each port of a "
	  "range being one; start another process for more"}},
	{TEXT(FORWARD "source=embedded,2001:db8::1\n"),
	 {"f:4: source 'embedded,2001:db8::1': IPv4 addresses for some clients and an IPv6 one for "
	  "all others reach no backend both; give an IPv4 one"}},
	/* what only all forwards together tell */
	{TEXT("trust=10.0.0.0/8\ncheck-expect=x\ndual-stack=yes\ndns-min-ttl=2s\ndns-max-ttl=1s\n"
	      "dns-server=x\n" FORWARD "check-send=x\nsend-proxy=v1\nproxy-tlv=0xE0=x\n"
	      "source=127.0.0.9\npseudo-key=k\npseudo-state=s\n"),
	 {"f:6: dns-server 'x': is not an address; write it as in 192.0.2.53, 192.0.2.53:5353 or "
	  "[2001:db8::53]:5353",
	  "f:5: dns-max-ttl '1s': is less than --dns-min-ttl 2s; give more, or a smaller "
	  "--dns-min-ttl",
	  "f:1: trust: without --accept-proxy nobody is trusted with anything; add --accept-proxy "
	  "or "
	  "leave it out",
	  "f:12: proxy-tlv: only headers of version 2 have room for it; add --send-proxy v2 or "
	  "leave it "
	  "out",
	  "f:3: dual-stack: no listener that it holds for is on [::], and others have one family; "
	  "listen on [::], or leave it out",
	  "f:10: check-send: no backend is checked; add --check-backends, or check behind a "
	  "backend's address",
	  "f:2: check-expect: no backend is checked; add --check-backends, or check behind a "
	  "backend's address",
	  "f:14: pseudo-key: there are no addresses to choose by it; add --source pseudo or "
	  "loopback, "
	  "or leave it out",
	  "f:15: pseudo-state: there are no addresses to keep in it; add --source pseudo or "
	  "loopback, "
	  "or leave it out"}},
	{TEXT("[forward a]\nlisten=[::1]:9\nbackend=127.0.0.1:2 weight=2 backup weight=3\n"),
	 {"f:3: backend '127.0.0.1:2': weight is there twice; leave one of them out"}},
	{TEXT("[forward a]\nbackend=127.0.0.1:2\nlisten=127.0.0.1:2\n"),
	 {"f:3: listen '127.0.0.1:2': is a backend of its own and would forward to itself; give "
	  "the "
	  "service's address"}},
	{TEXT(FORWARD "source=2001:db8::1\n"),
	 {"f:2: listen '[::1]:1': --source gives IPv6 addresses, which cannot reach backend "
	  "127.0.0.1:2; give that one a listener of its own"}},
	/* one mistake does not look like another: the trust that was meant is in the line with the fault */
	{TEXT(FORWARD "accept-proxy=yes\ntrsut=10.0.0.0/8\n"),
	 {"f:5: trsut: no such option; did you mean trust?"}},
	{TEXT("trsut=10.0.0.0/8\n" FORWARD "accept-proxy=yes\n"),
	 {"f:1: trsut: no such option; did you mean trust?"}},
	/* ... but what was given, and does not fit, is told beside any other */
	{TEXT("maxcon=4\nresolve-at-start=require\nresolve-timeout=0\n"
	      "[forward a]\nlisten=[::]:1-5\nbackend=1.1.1.1:1-2\nmax-fails=1\nfail-timeout=0\n"
	      "accept-proxy=yes\n"
	      "[forward b]\nlisten=unix:@b\nbackend=unix:@b2\naccept-proxy=yes\ntrust=::1\n"),
	 {"f:1: maxcon: no such option; did you mean maxconn?",
	  "f:5: listen '[::]:1-5': backend 1.1.1.1:1 has 2 ports for the listener's 5; give as "
	  "many, "
	  "or one for all",
	  "f:5: listen '[::]:1-5': with --fail-timeout 0 a backend that failed once would never be "
	  "tried again; give a time, or --max-fails 0",
	  "f:11: listen 'unix:@b': --accept-proxy does not go with a local socket, which would "
	  "wake us "
	  "for every byte of a header; listen on loopback",
	  "f:2: resolve-at-start 'require': needs time for the answers; give a --resolve-timeout "
	  "above "
	  "0"}},
	{TEXT("maxconn=5\n"),
	 {"--config 'f': has no forward, and LISTEN and BACKEND are missing; add a [forward NAME], "
	  "or "
	  "give both"}},
};

Test(config_file_errors, rows)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;
		unsigned wanted = 0;

		config_init(&config);
		config_file_parse(&config, "f", rows[i].text, rows[i].count);
		cr_expect_neq(support_check(&config, &fault), 0, "row %zu", i);
		while (wanted < ERROR_LIMIT && rows[i].errors[wanted])
			wanted++;
		cr_expect_eq(config.errors.count, wanted, "row %zu: %u errors", i,
			     config.errors.count);
		for (unsigned j = 0; j < config.errors.count; j++)
			cr_expect_str_eq(support_text(&config.errors.list[j]),
					 j < wanted ? rows[i].errors[j] : "", "row %zu: %s", i,
					 support_text(&config.errors.list[j]));
		if (config.errors.count)
			cr_expect_str_eq(support_text(&fault), support_text(&config.errors.list[0]),
					 "row %zu", i);
		config_finish(&config);
	}
}
