/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * box.h - a machine with fake devices, run natively, and its monitor.
 */
#ifndef TESTS_VMM_MACHINE_BOX_H
#define TESTS_VMM_MACHINE_BOX_H

#include "tests/vmm/fake_pci.h"
#include "tests/vmm/qmp/qmp_talk.h"
#include "vmm/machine/internal.h"
#include "vmm/machine/qmp.h"

#define BOX_DEVICES 2
#define BOX_RAM	    (UINT64_C(16) << 20)
/* Pages, in each stop: x-check-ram of a machine that started since counts those that are lost. */
#define BOX_STOP_WRITES 4

struct box {
	char dir[32], path[64];
	pthread_mutex_t mutex;
	struct qmp_server *server;
	struct vmm_machine *machine;
	struct fake_pci fake[BOX_DEVICES];
};

/* Changes the configuration of a box; NULL: nothing. */
typedef void box_change(struct vmm_machine_config *config);

void box_up(struct box *box, box_change *change);
void box_down(struct box *box);
/* Waits until the guest has rung every device some more. */
void box_rings(struct box *box);
void box_expect_status(struct talk *talk, const char *status, bool running);
/* Repeats query-migrate until its status is this. */
void box_wait_migration(struct talk *talk, const char *status);
/* {"execute": command, "arguments": {"uri": "unix:..."}} of a socket in `box`'s directory. */
void box_uri_command(char text[256], const char *command, const struct box *box);

/* Two machines, and a monitor of each; the target listens, and both send events. */
struct box_pair {
	struct box source, target;
	struct talk s, t;
};

void box_pair_up(struct box_pair *pair, box_change *source, box_change *target);
void box_pair_down(struct box_pair *pair);
void box_migrate(struct box_pair *pair);

#endif
