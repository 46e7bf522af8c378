/* SPDX-License-Identifier: MIT */
/*
 * Puts a TCP socket into an eBPF sockmap with a stream_verdict program that passes every byte on to
 * the socket itself, as agents do that look at traffic: bpf(2), BPF_PROG_TYPE_SK_SKB.
 */
#pragma once

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int sockmap_call(int command, union bpf_attr *attributes)
{
	long result = syscall(SYS_bpf, command, attributes, sizeof(*attributes));

	return result < 0 ? -errno : (int)result;
}

/* Returns a program that answers SK_PASS, or -errno. */
static inline int sockmap_load(void)
{
	static const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load;

	memset(&load, 0, sizeof(load));
	load.prog_type = BPF_PROG_TYPE_SK_SKB;
	load.expected_attach_type = BPF_SK_SKB_STREAM_VERDICT;
	load.insns = (uint64_t)(uintptr_t)program;
	load.insn_cnt = sizeof(program) / sizeof(program[0]);
	load.license = (uint64_t)(uintptr_t) "GPL";
	return sockmap_call(BPF_PROG_LOAD, &load);
}

/*
 * The socket, connected, stays in the map until either is closed. Returns the map, which is the
 * caller's to close, or -errno: -EPERM without CAP_BPF and CAP_NET_ADMIN.
 */
static inline int sockmap_join(int fd)
{
	uint32_t key = 0, value = (uint32_t)fd;
	union bpf_attr make, attach, update;
	int program = sockmap_load(), map, result;

	if (program < 0)
		return program;
	memset(&make, 0, sizeof(make));
	make.map_type = BPF_MAP_TYPE_SOCKMAP;
	make.key_size = make.value_size = sizeof(uint32_t);
	make.max_entries = 1;
	map = sockmap_call(BPF_MAP_CREATE, &make);
	memset(&attach, 0, sizeof(attach));
	attach.target_fd = (uint32_t)map;
	attach.attach_bpf_fd = (uint32_t)program;
	attach.attach_type = BPF_SK_SKB_STREAM_VERDICT;
	result = map < 0 ? map : sockmap_call(BPF_PROG_ATTACH, &attach);
	memset(&update, 0, sizeof(update));
	update.map_fd = (uint32_t)map;
	update.key = (uint64_t)(uintptr_t)&key;
	update.value = (uint64_t)(uintptr_t)&value;
	if (!result)
		result = sockmap_call(BPF_MAP_UPDATE_ELEM, &update);
	close(program);
	if (result && map >= 0)
		close(map);
	return result ? result : map;
}
