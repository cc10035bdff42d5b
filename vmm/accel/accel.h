/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel.h - what runs the guest: KVM, or threads of this process that do the
 * guest's work themselves (native) where there is no /dev/kvm.
 *
 * The guest needs RAM at address 0 (one region of at least 8 MiB), BARs below 4 GiB and outside
 * 0xfec00000..0xffffffff, and BARs and bus numbers that are assigned when it boots.
 *
 * Threads: create, boot, pause, resume, save, load and free are the machine's, one at a
 * time. Bus callbacks and MSI functions come from vCPU threads, concurrently, and only while
 * resumed.
 */
#ifndef VMM_ACCEL_ACCEL_H
#define VMM_ACCEL_ACCEL_H

#include "switchover/base.h"
#include "switchover/memory.h"

enum vmm_accel_kind { VMM_ACCEL_AUTO, VMM_ACCEL_KVM, VMM_ACCEL_NATIVE };

/* The machine's buses. Reads of nothing give all ones; writes to nothing are dropped. */
struct vmm_bus {
	void (*mmio_read)(void *opaque, uint64_t gpa, void *data, unsigned len);
	void (*mmio_write)(void *opaque, uint64_t gpa, const void *data, unsigned len);
	void (*pio_read)(void *opaque, uint16_t port, void *data, unsigned len);
	void (*pio_write)(void *opaque, uint16_t port, const void *data, unsigned len);
	/* A vCPU cannot go on (KVM internal error, triple fault): all vCPUs should be paused. */
	void (*failed)(void *opaque, unsigned vcpu, const char *why);
	void *opaque;
};

/* What the guest is told to do; it finds this in its boot page. */
struct vmm_guest_params {
	uint32_t doorbell_period_us; /* each vCPU rings every device this often, */
	uint32_t doorbell_turns;     /* so many at a time: a period has so many ticks; 0: 1 */
	uint32_t dirty_pages_per_s;  /* each vCPU rewrites so many pages of RAM */
	uint64_t dirty_bytes;	     /* of its working set; 0: half of RAM */
	uint32_t dma_pages;	     /* ring of each device's DMA engine; 0: engine off */
	uint32_t dma_rate;	     /* pages a second and device */
	uint32_t p2p_rate;	     /* writes a second and device; 0: engine off */
	uint32_t irq_every;	     /* an MSI-X interrupt every so many doorbells; 0: never */
};

struct vmm_accel_config {
	enum vmm_accel_kind kind;
	unsigned vcpus; /* 1..64 */
	struct swo_ram *ram;
	struct vmm_bus bus;
	struct vmm_guest_params guest;
};

struct vmm_accel;

/* AUTO takes KVM when /dev/kvm works. Starts the vCPU threads, paused. */
int vmm_accel_create(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err);
void vmm_accel_free(struct vmm_accel *accel);
const char *vmm_accel_name(const struct vmm_accel *accel); /* "kvm" or "native" */

/* Writes the guest's image and boot page to RAM and sets the vCPUs to its entry. A target that
   waits for a migration does not call this. */
int vmm_accel_boot(struct vmm_accel *accel, struct swo_error *err);

/* After boot, before anything runs: every page is written, as if the guest had been up for long. */
int vmm_accel_fill_ram(struct vmm_accel *accel, struct swo_error *err);

/* Lets all vCPUs run. */
void vmm_accel_resume(struct vmm_accel *accel);
/*
 * Returns when every vCPU is out of the guest and any MMIO or PIO exit it was in is complete
 * (KVM: re-entered with immediate_exit), so that no doorbell repeats or is lost.
 */
int vmm_accel_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err);

/* Everything of the vCPUs and the interrupt controllers, as bytes; only while paused. load does not
   trust its input: SWO_E_CORRUPT, and then nothing has changed. */
int vmm_accel_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err);
int vmm_accel_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err);

/* Who knows what the vCPUs wrote. The caller destroys it. */
int vmm_accel_dirty_source(
	struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err);

/*
 * MSI: each time `eventfd` is signalled the message (addr, data) is delivered to the guest. KVM: an
 * irqfd with an MSI route. add gives a handle; set changes the message, or (masked) takes it off.
 */
int vmm_accel_msi_add(
	struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err);
int vmm_accel_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
	bool masked, struct swo_error *err);
void vmm_accel_msi_del(struct vmm_accel *accel, unsigned handle);

/*
 * Lets the guest reach `size` bytes of memory that is not RAM (a device's) at `gpa` without the bus
 * callbacks; size 0: no more. `slot` is the caller's name for it, from 0 on; it must be taken away
 * before it is put elsewhere, and before `host` goes. Native: nothing to do, and all accesses are
 * callbacks still.
 */
int vmm_accel_map(struct vmm_accel *accel, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	struct swo_error *err);

/* What the guest says of itself in its status page (in RAM, so it migrates). */
struct vmm_guest_stats {
	uint64_t rounds;	 /* of doorbells, of all vCPUs */
	uint64_t doorbells;	 /* rung, all devices and vCPUs */
	uint64_t pages_dirtied;	 /* rewritten with the pattern */
	uint64_t ram_mismatches; /* pages found not to hold what was last written there */
	uint64_t irqs;		 /* MSI-X interrupts handled */
	uint64_t inbox_looks;	 /* at a number that one device writes into another's BAR */
	uint64_t inbox_setbacks; /* of those, how often it was less than before */
	uint32_t devices;	 /* simulated VFs found */
	uint32_t error;		 /* 0, or what the guest died of */
};
int vmm_accel_guest_stats(
	struct vmm_accel *accel, struct vmm_guest_stats *out, struct swo_error *err);
/* Checks every page of the working set against the pattern; only while paused. */
int vmm_accel_check_ram(
	struct vmm_accel *accel, uint64_t *pages, uint64_t *mismatches, struct swo_error *err);

#endif
