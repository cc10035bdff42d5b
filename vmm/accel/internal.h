/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - shared by the accelerators: the object behind struct vmm_accel, the operations
 * of each kind, and the records of a saved state.
 */
#ifndef VMM_ACCEL_INTERNAL_H
#define VMM_ACCEL_INTERNAL_H

#include "accel.h"

#include "guest/abi.h"

#include <stdatomic.h>

struct accel_ops {
	const char *name;
	/* Frees the object, also a partly created one. */
	void (*free)(struct vmm_accel *accel);
	/* The image and the boot page are in RAM: sets the vCPUs to the entry. */
	int (*boot)(struct vmm_accel *accel, struct swo_error *err);
	void (*resume)(struct vmm_accel *accel);
	int (*pause)(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err);
	/* Until it is released, no vCPU runs; not a pause: a pause and a resume go on as ever. */
	void (*hold)(struct vmm_accel *accel, bool hold);
	int (*save)(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err);
	int (*load)(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err);
	int (*dirty_source)(
		struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err);
	int (*msi_add)(
		struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err);
	int (*msi_set)(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
		bool masked, struct swo_error *err);
	void (*msi_del)(struct vmm_accel *accel, unsigned handle);
	/* May be NULL, both. */
	int (*cpu)(struct vmm_accel *accel, struct vmm_accel_cpu *out, struct swo_error *err);
	int (*map)(struct vmm_accel *accel, unsigned slot, uint64_t gpa, uint64_t size, void *host,
		struct swo_error *err);
};

/* throttle.c */
struct accel_throttle {
	pthread_mutex_t mutex; /* before the accelerator's own */
	pthread_cond_t changed;
	pthread_t thread;
	bool started, quit;
	unsigned percent;
	unsigned generation; /* increases with each change */
};

/* Each kind embeds this first in its own struct. */
struct vmm_accel {
	const struct accel_ops *ops;
	struct vmm_accel_config config;
	struct swo_ram *ram;
	bool entered;			  /* booted or loaded */
	bool paused;			  /* all vCPUs have left the guest */
	atomic_int tids[GUEST_VCPUS_MAX]; /* of the vCPUs' threads, once they are parked */
	struct accel_throttle throttle;
};

void accel_throttle_init(struct vmm_accel *accel);
void accel_throttle_end(struct vmm_accel *accel);

/* SWO_E_UNSUPPORTED if /dev/kvm is not usable. */
int accel_kvm_new(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err);
int accel_native_new(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err);

/* The guest's memory (vmm/workload/guest.c) */

/* The image, page tables, boot page and empty tables. */
int accel_guest_load(struct vmm_accel *accel, struct swo_error *err);

/* Records of a saved state (blob.c) */

/*
 * "SWOVCPUS", u32 version, u32 kind, u32 vcpus, u32 records; then each record: u32 tag, u32
 * index, u32 length, u32 zero, the bytes. All little-endian. A reader rejects unknown tags and
 * checks the lengths.
 */
#define BLOB_KIND_KVM	 1u
#define BLOB_KIND_NATIVE 2u
#define BLOB_SIZE_MAX	 (4u << 20)

struct blob_record {
	uint32_t tag;
	uint32_t index;
	uint32_t length;
	uint32_t zero;
};

/* Writes the header; the caller has counted the records. */
int blob_head(struct swo_buf *out, uint32_t kind, uint32_t vcpus, uint32_t records,
	struct swo_error *err);
int blob_put(struct swo_buf *out, uint32_t tag, uint32_t index, const void *data, size_t length,
	struct swo_error *err);

struct blob_reader {
	const uint8_t *at;
	size_t left;
	uint32_t records; /* remaining */
};
/* Checks header, kind and number of vCPUs. */
int blob_open(struct blob_reader *reader, const void *data, size_t len, uint32_t kind,
	uint32_t vcpus, struct swo_error *err);
/* 1 and a record, 0 at the end, -1 and SWO_E_CORRUPT. *data points into the blob. */
int blob_next(struct blob_reader *reader, struct blob_record *record, const void **data,
	struct swo_error *err);

#endif
