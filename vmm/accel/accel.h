/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel.h - runs the guest: KVM, or threads of this process that do the guest's work (native)
 * where /dev/kvm is not usable.
 *
 * The guest needs RAM at address 0 (one region of at least 8 MiB), BARs below 4 GiB and outside
 * 0xfec00000..0xffffffff, and BARs and bus numbers that are assigned before it boots.
 *
 * Threads: the machine calls create, boot, pause, resume, save, load and free, one at a time.
 * vCPU threads call the bus callbacks and MSI functions, concurrently, and only while resumed.
 */
#ifndef VMM_ACCEL_ACCEL_H
#define VMM_ACCEL_ACCEL_H

#include "switchover/base.h"
#include "switchover/memory.h"

enum vmm_accel_kind { VMM_ACCEL_AUTO, VMM_ACCEL_KVM, VMM_ACCEL_NATIVE };

/* The machine's buses. Unclaimed reads return all ones; unclaimed writes are dropped. */
struct vmm_bus {
	void (*mmio_read)(void *opaque, uint64_t gpa, void *data, unsigned len);
	void (*mmio_write)(void *opaque, uint64_t gpa, const void *data, unsigned len);
	void (*pio_read)(void *opaque, uint16_t port, void *data, unsigned len);
	void (*pio_write)(void *opaque, uint16_t port, const void *data, unsigned len);
	/*
	 * A vCPU cannot continue (KVM internal error, triple fault): all vCPUs should be
	 * paused.
	 */
	void (*failed)(void *opaque, unsigned vcpu, const char *why);
	void *opaque;
};

/* The guest's parameters, passed in its boot page. */
struct vmm_guest_params {
	uint32_t doorbell_period_us; /* each vCPU rings every device once per period, */
	uint32_t doorbell_turns;     /* divided into so many ticks; 0: 1 */
	uint32_t dirty_pages_per_s;  /* pages of RAM that each vCPU rewrites */
	uint64_t dirty_bytes;	     /* size of the working set; 0: half of RAM */
	uint32_t dma_pages;	     /* ring size of each device's DMA engine; 0: engine off */
	uint32_t dma_rate;	     /* pages/s, per device */
	uint32_t p2p_rate;	     /* writes/s, per device; 0: engine off */
	uint32_t irq_every;	     /* doorbells per MSI-X interrupt; 0: no interrupts */
};

struct vmm_accel_config {
	enum vmm_accel_kind kind;
	unsigned vcpus; /* 1..64 */
	struct swo_ram *ram;
	struct vmm_bus bus;
	struct vmm_guest_params guest;
};

struct vmm_accel;

/* AUTO uses KVM if /dev/kvm works. Starts the vCPU threads, paused. */
int vmm_accel_create(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err);
void vmm_accel_free(struct vmm_accel *accel);
const char *vmm_accel_name(const struct vmm_accel *accel); /* "kvm" or "native" */

/* The kernel's ID of a vCPU's thread. Any thread. */
int vmm_accel_thread(const struct vmm_accel *accel, unsigned vcpu);

/* The CPU that the guest sees. Of a target that has not been loaded: the one that it can have. */
struct vmm_accel_cpu {
	char vendor[16];     /* "": no CPU to compare, as with the native accelerator */
	char features[8192]; /* words, with blanks between */
	uint32_t xsave_bytes;
	uint32_t tsc_khz; /* 0: unknown */
	uint32_t tsc_ppm; /* the largest deviation from it that a guest may be loaded with, */
	bool tsc_any;	  /* unless any is possible */
};
int vmm_accel_cpu(struct vmm_accel *accel, struct vmm_accel_cpu *out, struct swo_error *err);

/*
 * Writes the guest's image and boot page to RAM and sets the vCPUs to its entry. Not called on
 * a target that waits for a migration.
 */
int vmm_accel_boot(struct vmm_accel *accel, struct swo_error *err);

/*
 * After boot, before the vCPUs run: writes every page, as a guest with a long uptime would
 * have.
 */
int vmm_accel_fill_ram(struct vmm_accel *accel, struct swo_error *err);

/* Resumes all vCPUs. */
void vmm_accel_resume(struct vmm_accel *accel);
/*
 * Returns when every vCPU has left the guest and has completed any MMIO or PIO exit (KVM:
 * re-entered with immediate_exit), so that no doorbell is repeated or lost.
 */
int vmm_accel_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err);

/*
 * The vCPUs run for 100 - percent of the time at most, in slices of 10 ms; 0: all the time. Any
 * thread, paused or not; returns at once, and delays no pause.
 */
#define VMM_THROTTLE_MAX 99
int vmm_accel_throttle(struct vmm_accel *accel, unsigned percent, struct swo_error *err);

/*
 * The state of the vCPUs and the interrupt controllers, as bytes; only while paused. load does
 * not trust its input: on SWO_E_CORRUPT nothing has changed.
 */
int vmm_accel_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err);
int vmm_accel_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err);

/* The log of the vCPUs' writes. The caller destroys it. */
int vmm_accel_dirty_source(
	struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err);

/* RAM that the guest never uses, in whole pages: known once it was booted, or has arrived. */
int vmm_accel_spare_ram(
	struct vmm_accel *accel, uint64_t *gpa, uint64_t *pages, struct swo_error *err);

/*
 * MSI: each signal on `eventfd` delivers the message (addr, data) to the guest. KVM: an irqfd
 * with an MSI route. add returns a handle; set changes the message, or (masked) detaches it.
 */
int vmm_accel_msi_add(
	struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err);
int vmm_accel_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
	bool masked, struct swo_error *err);
void vmm_accel_msi_del(struct vmm_accel *accel, unsigned handle);

/*
 * Maps `size` bytes of memory that is not RAM (a device's) into the guest at `gpa`, without bus
 * callbacks; size 0 unmaps. `slot` is the caller's number for the mapping, from 0; it must be
 * unmapped before it is mapped elsewhere, and before `host` is unmapped. Native: no effect, all
 * accesses remain callbacks.
 */
int vmm_accel_map(struct vmm_accel *accel, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	struct swo_error *err);

/* Figures from the guest's status page (in RAM, so they migrate). */
struct vmm_guest_stats {
	uint64_t rounds;	 /* rounds of doorbells, all vCPUs */
	uint64_t doorbells;	 /* rung, all devices and vCPUs */
	uint64_t pages_dirtied;	 /* rewritten with the pattern */
	uint64_t ram_mismatches; /* pages whose content differs from the last write */
	uint64_t irqs;		 /* MSI-X interrupts handled */
	uint64_t inbox_looks;	 /* reads of a number that one device writes into another's BAR */
	uint64_t inbox_setbacks; /* of these, how many returned less than the one before */
	uint32_t devices;	 /* simulated VFs found */
	uint32_t error;		 /* 0, or the guest's error */
};
int vmm_accel_guest_stats(
	struct vmm_accel *accel, struct vmm_guest_stats *out, struct swo_error *err);
/* Checks every page of the working set against the pattern; only while paused. */
int vmm_accel_check_ram(
	struct vmm_accel *accel, uint64_t *pages, uint64_t *mismatches, struct swo_error *err);

#endif
