/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patterns.h - which VMM requests which arc on all of its devices in turn. Arcs outside a VMM's
 * table are never started speculatively.
 */
#ifndef PRELOAD_PATTERNS_H
#define PRELOAD_PATTERNS_H

#include <stdbool.h>
#include <stdint.h>

enum pattern_vmm { VMM_NONE, VMM_QEMU, VMM_CLOUD_HYPERVISOR };

struct pattern_arc {
	uint32_t from;
	uint32_t to;
	/* The state that all devices must reach before any goes on to `to`, for a VMM that does
	   not request it; 0: none. (0 is ERROR, which is never requested.) */
	uint32_t via;
};

/*
 * NULL: the VMM does not request this arc on one device after the other. p2p: whether any of its
 * devices has the P2P states.
 */
const struct pattern_arc *pattern_find(enum pattern_vmm vmm, bool p2p, uint32_t from, uint32_t to);

/* By the path of a program: qemu-system-*, qemu-kvm, kvm; cloud-hypervisor. */
enum pattern_vmm pattern_vmm_of(const char *path);
/* "qemu", "cloud-hypervisor", "none"; false for another name. */
bool pattern_vmm_named(const char *name, enum pattern_vmm *out);
const char *pattern_name(enum pattern_vmm vmm);

bool pattern_is_p2p(uint32_t state);
/* True if the arc leaves the P2P states, so that every device must have reached them first. */
bool pattern_leaves_p2p(uint32_t from, uint32_t to);
const char *pattern_state_name(uint32_t state);

#endif
