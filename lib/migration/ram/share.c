/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * share.c - RAM that is handed over by descriptor: the descriptors sent with HELLO, their
 * checks, and the word that both sides share.
 */
#include "migration/ram/share.h"

#include "base/uri.h"
#include "memory/share.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_MAGIC 0x444e414853574f53u /* "SOWSHAND" */

enum { WORD_OPEN, WORD_BEGUN, WORD_FORBIDDEN };

struct share_page {
	uint64_t magic;
	_Atomic uint32_t word;
};
/* Between processes only hardware atomics work. */
static_assert(ATOMIC_INT_LOCK_FREE == 2, "the word is in shared memory");

/* Its memfd must meet the same conditions as RAM's. */
static const struct swo_ram_region page_region = {.name = "(handover)", .size = SWO_PAGE_SIZE};

int ram_share_check(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, bool is_source, struct swo_error *err)
{
	struct base_uri parsed;
	int fds[SWO_RAM_REGIONS_MAX];

	if (params->handover != SWO_HANDOVER_FD)
		return 0;
	if (base_uri_parse(uri, &parsed, err))
		return -1;
	if (!parsed.is_unix)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handover=fd requires a unix: URI of a process on this host, "
			"not '%.100s'; use handover=copy",
			uri);
	if (params->tls.creds[0])
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handover=fd and tls-creds exclude each other: descriptors cannot be encrypted, "
			"and RAM does not leave this host");
	if (!vm->ops->ram_reach)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"handover=fd: this VMM has no ram_reach callback");
	for (unsigned i = 0; i < swo_ram_count(vm->ram); i++)
		fds[i] = swo_ram_region(vm->ram, i)->fd;
	return is_source ? memory_ram_check_fds(vm->ram, fds, err) : 0;
}

void ram_share_init(struct shared_ram *share)
{
	*share = (struct shared_ram){.fd = -1};
	for (unsigned i = 0; i < SWO_RAM_REGIONS_MAX; i++)
		share->ram_fds[i] = -1;
}

/* The page */

static int map_page(struct shared_ram *share, struct swo_error *err)
{
	void *at = mmap(NULL, SWO_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, share->fd, 0);

	if (at == MAP_FAILED)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "handover=fd: cannot create the shared word");
	share->page = at;
	return 0;
}

static int make_page(struct shared_ram *share, struct swo_error *err)
{
	share->fd = memfd_create("switchover-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (share->fd < 0 || ftruncate(share->fd, (off_t)SWO_PAGE_SIZE) ||
		fcntl(share->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "handover=fd: cannot map the shared word");
	if (map_page(share, err))
		return -1;
	share->page->magic = PAGE_MAGIC;
	return 0;
}

/* From a value of `from` to `to`; true as well if it has that value already. */
static bool move_word(struct shared_ram *share, uint32_t from, uint32_t to)
{
	if (!share->page)
		return true;
	return atomic_compare_exchange_strong(&share->page->word, &from, to) || from == to;
}

bool ram_share_begin(struct shared_ram *share)
{
	return move_word(share, WORD_OPEN, WORD_BEGUN);
}

bool ram_share_forbid(struct shared_ram *share)
{
	const bool forbidden = move_word(share, WORD_OPEN, WORD_FORBIDDEN);

	if (!forbidden)
		atomic_store(&share->lost, true);
	return forbidden;
}

bool ram_share_is_forbidden(struct shared_ram *share)
{
	return share->page && atomic_load(&share->page->word) == WORD_FORBIDDEN;
}

/* Passing descriptors */

int ram_share_offer(struct shared_ram *share, struct swo_ram *ram, struct channel_conn *conn,
	struct swo_error *err)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned count = swo_ram_count(ram);

	static_assert(CHANNEL_FDS_MAX == SWO_RAM_REGIONS_MAX + 1, "the word and all of RAM");
	if (make_page(share, err))
		return -1;
	fds[0] = share->fd;
	for (unsigned i = 0; i < count; i++)
		fds[i + 1] = swo_ram_region(ram, i)->fd;
	return channel_conn_attach_fds(conn, fds, count + 1, err);
}

static int check_taken(struct shared_ram *share, struct swo_ram *ram, struct swo_error *err)
{
	if (memory_ram_check_fd(&page_region, share->fd, err) ||
		memory_ram_check_fds(ram, share->ram_fds, err) || map_page(share, err))
		return -1;
	if (share->page->magic != PAGE_MAGIC)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"handover=fd: a received descriptor is not the shared word");
	return 0;
}

int ram_share_take(struct shared_ram *share, struct swo_ram *ram, struct channel_conn *conn,
	struct swo_error *err)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned count = swo_ram_count(ram);

	/* This call fails on a TCP connection, with its own error. */
	if (channel_conn_accept_fds(conn, false, err) ||
		channel_conn_take_fds(conn, fds, count + 1, err))
		return -1;
	share->fd = fds[0];
	memcpy(share->ram_fds, fds + 1, count * sizeof(*fds));
	if (!check_taken(share, ram, err))
		return 0;
	ram_share_close(share);
	return -1;
}

int ram_share_adopt(struct shared_ram *share, const struct swo_vm *vm, struct swo_error *err)
{
	int rc = vm->ops->ram_reach(vm->opaque, false, err);

	if (!rc)
		rc = memory_ram_adopt(vm->ram, share->ram_fds, err);
	if (!rc)
		rc = vm->ops->ram_reach(vm->opaque, true, err);
	/* After the devices, whose backend may have to pin pages for writing. */
	if (!rc)
		rc = memory_ram_protect(vm->ram, true, err);
	return rc;
}

static void unmap_from_devices(const struct swo_vm *vm)
{
	struct swo_error err = {0};

	/* A device that hangs cannot unmap it; by the uAPI it does not write where it is. */
	if (vm->ops->ram_reach(vm->opaque, false, &err))
		swo_log(SWO_LOG_WARN, "RAM stays mapped for a device: %s", err.text);
}

void ram_share_release(struct shared_ram *share, const struct swo_vm *vm)
{
	if (!share->page || swo_ram_is_gone(vm->ram))
		return;
	unmap_from_devices(vm);
	memory_ram_release(vm->ram);
}

bool ram_share_return(struct shared_ram *share, const struct swo_vm *vm)
{
	struct swo_error err = {0};

	if (!share->page)
		return false;
	unmap_from_devices(vm);
	if (!memory_ram_renew(vm->ram, &err))
		return true;
	swo_log(SWO_LOG_ERROR, "this VM cannot take another migration: %s", err.text);
	return false;
}

void ram_share_reach_again(const struct swo_vm *vm)
{
	struct swo_error err = {0};

	if (vm->ops->ram_reach(vm->opaque, true, &err))
		swo_log(SWO_LOG_WARN, "after a refused migration: %s", err.text);
}

void ram_share_close(struct shared_ram *share)
{
	if (share->page)
		munmap(share->page, SWO_PAGE_SIZE);
	share->page = NULL;
	swo_close_fd(&share->fd);
	for (unsigned i = 0; i < SWO_RAM_REGIONS_MAX; i++)
		swo_close_fd(&share->ram_fds[i]);
}
