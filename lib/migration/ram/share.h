/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * share.h - RAM that is handed over by descriptor: both sides map the same pages, and beside
 * them one word that records, whatever becomes of either process, whether the target has started.
 *
 * With a copy each side, two VMs could run and each would be whole. With one memory the source's
 * VM is intact only as long as the target's has not started to run in it. So that moment is decided in
 * that word, by the side that comes first: the target, right before its first arc to a running state, or
 * the source (or a target that gives up), which forbids it for good.
 */
#ifndef MIGRATION_RAM_SHARE_H
#define MIGRATION_RAM_SHARE_H

#include "channel/conn.h"
#include "switchover/migration.h"

#include <stdatomic.h>

struct shared_ram {
	struct share_page *page;	  /* NULL: RAM is copied */
	int fd;				  /* the page's memfd */
	atomic_bool lost;		  /* the other side had started when this one forbade it */
	int ram_fds[SWO_RAM_REGIONS_MAX]; /* target: received, not adopted yet; -1: none */
};

void ram_share_init(struct shared_ram *share);

/* Can this VM's RAM go (or come) that way, by this URI? The error names the obstacle. */
int ram_share_check(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, bool is_source, struct swo_error *err);

/* Source: creates the page; its descriptor and RAM's are sent with the next byte on `conn`. */
int ram_share_offer(struct shared_ram *share, struct swo_ram *ram, struct channel_conn *conn,
	struct swo_error *err);
/* Target: takes and checks the received descriptors, which are not trusted. */
int ram_share_take(struct shared_ram *share, struct swo_ram *ram, struct channel_conn *conn,
	struct swo_error *err);
/* Target: maps the source's RAM read-only, while it is briefly unmapped from the devices. */
int ram_share_adopt(struct shared_ram *share, const struct swo_vm *vm, struct swo_error *err);
/* RAM is not owned any more: this process can no longer write to it. */
void ram_share_release(struct shared_ram *share, const struct swo_vm *vm);
/*
 * Target that refuses the VM: the same, but it has RAM of its own afterwards, for the next migration.
 * True: the devices can be given it (reach_again), once they cannot do anything any more.
 */
bool ram_share_return(struct shared_ram *share, const struct swo_vm *vm);
void ram_share_reach_again(const struct swo_vm *vm);
void ram_share_close(struct shared_ram *share);

/* Target: false if it has been forbidden. True as well if RAM is copied. */
bool ram_share_begin(struct shared_ram *share);
/*
 * Either: false when the target has started: the VM never runs here again, whatever the target reports.
 * True from then on, and where RAM is copied.
 */
bool ram_share_forbid(struct shared_ram *share);
/* False where RAM is copied. */
bool ram_share_is_forbidden(struct shared_ram *share);

#endif
