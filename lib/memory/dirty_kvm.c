/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_kvm.c - writes of vCPUs, from KVM's dirty log. Slot number = region index: the log's
 * bitmap then has the same bits as the region's.
 */
#include "ram.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct kvm_log {
	struct swo_ram *ram;
	int vm_fd;
	uint64_t *bitmap; /* of the size that the largest region needs */
	bool on;
};

static int set_slot(
	struct kvm_log *log, unsigned index, bool logging, const char *what, struct swo_error *err)
{
	const struct swo_ram_region *region = &log->ram->region[index];
	struct kvm_userspace_memory_region slot = {
		.slot = index,
		.flags = logging ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = region->gpa,
		.memory_size = region->size,
		.userspace_addr = (uintptr_t)region->host,
	};

	if (ioctl(log->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return swo_error_set(
			err, SWO_E_IO, errno, "KVM dirty log of '%s': %s", region->name, what);
	return 0;
}

static int get_log(struct kvm_log *log, unsigned index, struct swo_error *err)
{
	struct kvm_dirty_log request = {.slot = index, .dirty_bitmap = log->bitmap};

	if (ioctl(log->vm_fd, KVM_GET_DIRTY_LOG, &request))
		return swo_error_set(err, SWO_E_IO, errno, "KVM dirty log of '%s': cannot read it",
			log->ram->region[index].name);
	return 0;
}

static void kvm_log_stop(void *self)
{
	struct kvm_log *log = self;

	if (!log->on)
		return;
	log->on = false;
	for (unsigned i = 0; i < log->ram->count; i++) {
		struct swo_error err = {0};

		if (set_slot(log, i, false, "cannot disable it", &err))
			swo_log(SWO_LOG_WARN, "%s", err.text);
	}
}

static int kvm_log_start(void *self, struct swo_error *err)
{
	struct kvm_log *log = self;
	bool was_on = log->on;

	log->on = true;
	for (unsigned i = 0; i < log->ram->count; i++) {
		/* KVM creates a new, empty log when it is enabled; an old one must be cleared. */
		if (set_slot(log, i, true, "cannot enable it", err) ||
			(was_on && get_log(log, i, err))) {
			kvm_log_stop(log);
			return -1;
		}
	}
	return 0;
}

static int kvm_log_collect(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct kvm_log *log = self;

	if (!log->on)
		return swo_error_set(err, SWO_E_STATE, 0, "KVM dirty log: it is not enabled");
	for (unsigned i = 0; i < ram->count; i++) {
		if (get_log(log, i, err))
			return -1;
		memory_region_mark_bitmap(&ram->region[i], log->bitmap);
	}
	return 0;
}

static void kvm_log_destroy(void *self)
{
	struct kvm_log *log = self;

	kvm_log_stop(log);
	free(log->bitmap);
	free(log);
}

int swo_dirty_kvm(
	struct swo_ram *ram, int vm_fd, struct swo_dirty_source *out, struct swo_error *err)
{
	struct kvm_log *log = calloc(1, sizeof(*log));
	size_t words = 1;

	for (unsigned i = 0; i < ram->count; i++)
		if (bitmap_words(region_pages(&ram->region[i])) > words)
			words = bitmap_words(region_pages(&ram->region[i]));
	if (log)
		log->bitmap = calloc(words, sizeof(*log->bitmap));
	if (!log || !log->bitmap) {
		free(log);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "KVM dirty log");
	}
	log->ram = ram;
	log->vm_fd = vm_fd;
	*out = (struct swo_dirty_source){
		.name = "kvm",
		.self = log,
		.start = kvm_log_start,
		.collect = kvm_log_collect,
		.stop = kvm_log_stop,
		.destroy = kvm_log_destroy,
	};
	return 0;
}
