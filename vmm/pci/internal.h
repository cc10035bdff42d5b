/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the PCI bus: functions and their locks, windows, MSI-X vectors.
 *
 * Locks, in this order: a function's `lock` (its shadow, its MSI-X), then either the bus's
 * `lock` (decoded addresses, DMA maps) or `msi_lock`. A device's own messages are sent under
 * either; MMIO takes none.
 */
#ifndef VMM_PCI_INTERNAL_H
#define VMM_PCI_INTERNAL_H

#include "pci.h"
#include "regs.h"

#include <pthread.h>
#include <stdatomic.h>

#define BAR_NOWHERE UINT64_MAX
#define PCI_ID_MAX  32

struct pci_bar {
	uint64_t region_size; /* size of the device's region; 0: no such BAR */
	uint64_t size;	      /* size for the guest: a power of two, a page or more */
	bool wide;	      /* 64-bit: the next BAR is its high half */

	/* Bus lock. */
	uint64_t decoded; /* decoded address; BAR_NOWHERE: none */
	bool answers;	  /* decoded, and not covered by another BAR */

	/* Set at add: how siblings access it; fd < 0: not at all. The backend owns the fd. */
	int fd;
	uint64_t fd_offset;
	uint64_t fd_from; /* offset of the mappable part in the BAR */
	uint64_t fd_size;
	uint64_t mapped; /* bus lock: address at which siblings have it mapped */

	/* Set at add: the part of it that needs no trap, mapped here; NULL: none. */
	uint8_t *host;
	uint64_t host_from, host_size;
	unsigned map_slot;
	uint64_t given; /* bus lock: address at which the accelerator has it mapped */
	bool map_complained;
};

struct pci_vector {
	int eventfd;
	unsigned handle;
	bool added;
	/* The last state set on `handle`. */
	uint64_t addr;
	uint32_t data;
	bool masked;
};

/* MSI-X, or MSI of a device that has nothing else: its messages are a table here, too. */
struct pci_msix {
	unsigned count; /* 0: none */
	bool is_msi;
	uint8_t cap; /* offset in configuration space */
	unsigned table_bar, pba_bar;
	uint32_t table_at, pba_at; /* offsets in those */
	uint32_t *table;	   /* 4 words per vector */
	unsigned connected;	   /* so many vectors are set on the device */
	struct pci_vector *vectors;
};

enum pci_kind { PCI_KIND_HOST, PCI_KIND_PORT, PCI_KIND_DEVICE };

struct pci_bus {
	struct vmm_pci_function *at[PCI_SLOTS][PCI_FUNCTIONS];
};

struct vmm_pci_function {
	struct vmm_pci *pci;
	struct vmm_pci_function *next; /* in order of adding */
	enum pci_kind kind;
	char id[PCI_ID_MAX];
	struct vmm_pci_function *port; /* the port above it; NULL: on bus 0 */
	unsigned slot, function;

	pthread_mutex_t lock;
	uint8_t shadow[PCI_CONFIG_SIZE]; /* read by the guest where `ours` is set */
	uint8_t ours[PCI_CONFIG_SIZE];	 /* 0xff: from the shadow, 0: from the device */
	uint8_t wmask[PCI_CONFIG_SIZE];	 /* bits of the shadow that the guest may change */

	/* Root ports. */
	struct pci_bus behind;
	unsigned bus_number; /* assigned at realize */

	/* Devices. */
	const struct swo_device_ops *ops;
	void *self;
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	atomic_bool complained; /* a failed access was logged: once is enough */
	atomic_bool released;	/* the host has it back */
	bool map_complained;
	bool loaded; /* in this session: */
	uint16_t loaded_command;
};

/* Routes MMIO. Read without a lock: see mmio.c. */
struct pci_window {
	_Atomic uint64_t start, end;
	_Atomic(struct vmm_pci_function *) fn;
	atomic_uint bar;
};

struct vmm_pci {
	struct swo_ram *ram;
	struct vmm_msi_ops msi;
	struct vmm_map_ops map;
	unsigned map_slots;
	pthread_mutex_t msi_lock;
	pthread_mutex_t lock;
	atomic_uint config_address; /* the latch at 0xcf8 */
	struct pci_bus root;
	struct vmm_pci_function *first; /* in order of adding */
	struct vmm_pci_function **last;
	bool realized;

	atomic_uint windows_seq; /* odd during a change */
	atomic_uint window_count;
	unsigned window_room;
	struct pci_window *windows;
};

static inline uint32_t pci_get(const uint8_t *config, unsigned at, unsigned len)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint32_t)config[at + i] << 8 * i;
	return value;
}

static inline void pci_put(uint8_t *config, unsigned at, uint32_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		config[at + i] = (uint8_t)(value >> 8 * i);
}

/* The first device from fn on, which counts. */
static inline struct vmm_pci_function *pci_next_device(struct vmm_pci_function *fn)
{
	while (fn && fn->kind != PCI_KIND_DEVICE)
		fn = fn->next;
	return fn;
}

/* As the shadow has it. */
static inline uint64_t pci_bar_address(const struct vmm_pci_function *fn, unsigned bar)
{
	uint64_t low = pci_get(fn->shadow, PCI_BAR(bar), 4) & ~(uint32_t)PCI_BAR_FLAGS;
	uint64_t high = fn->bar[bar].wide ? pci_get(fn->shadow, PCI_BAR(bar + 1), 4) : 0;

	return high << 32 | low;
}

/* bridge.c */
/* Of the host bridge, or of a root port. */
void pci_bridge_init_header(struct vmm_pci_function *fn);

/* device.c: the device's properties, as it reports them */
int pci_device_probe(struct vmm_pci_function *fn, struct swo_error *err);
/* Writes part of the shadow to the device. */
int pci_config_push(struct vmm_pci_function *fn, unsigned at, unsigned len, struct swo_error *err);
/* Logs once that accesses to a device fail. */
void pci_complain(struct vmm_pci_function *fn, const struct swo_error *err);

/* config.c */
/* `at` and `len` are within one aligned double word. */
uint32_t pci_config_read(struct vmm_pci_function *fn, unsigned at, unsigned len);
void pci_config_write(struct vmm_pci_function *fn, unsigned at, uint32_t value, unsigned len);

/* bar.c: addresses, as in the shadow */
void pci_bar_set_address(struct vmm_pci_function *fn, unsigned bar, uint64_t address);
int pci_bars_assign(struct vmm_pci *pci, struct swo_error *err);
/* With the function's lock held: applies its BARs and PCI_COMMAND to windows and DMA maps. */
void pci_bars_changed(struct vmm_pci_function *fn);

/* mmio.c */
int pci_windows_init(struct vmm_pci *pci, struct swo_error *err);
/* With the bus lock held: rebuilds the windows from the decoded addresses. */
void pci_windows_update(struct vmm_pci *pci);

/* dma.c */
/* Maps RAM and every BAR at its present address, for every device. */
int pci_dma_init(struct vmm_pci *pci, struct swo_error *err);
/* With the bus lock held: BARs may have moved. */
void pci_dma_update(struct vmm_pci *pci);
/* With the bus lock held: no sibling accesses its BARs any more. */
void pci_dma_release(struct vmm_pci_function *fn);

/* map.c: BARs that need no trap */
/* Maps what can be mapped, once the MSI-X capability has been read. */
void pci_map_init(struct vmm_pci_function *fn);
void pci_map_free(struct vmm_pci_function *fn);
/* With the bus lock held: nothing maps its BARs any more; a vCPU may be in the middle of an access. */
void pci_map_release(struct vmm_pci_function *fn);
/* With the bus lock held: the windows have changed. */
void pci_map_update(struct vmm_pci *pci);
/* true if the access was to the mapped part, and has been done. */
bool pci_map_read(const struct pci_bar *bar, uint64_t at, void *data, unsigned len);
bool pci_map_write(const struct pci_bar *bar, uint64_t at, const void *data, unsigned len);

/* msix.c */
int pci_msix_init(struct vmm_pci_function *fn, struct swo_error *err);
int pci_msix_connect(struct vmm_pci_function *fn, struct swo_error *err);
/* Sets the flags and all eventfds again. */
int pci_msix_renew(struct vmm_pci_function *fn, struct swo_error *err);
void pci_msix_free(struct vmm_pci_function *fn);
/* With the function's lock held: enable, mask or the table has changed. */
void pci_msix_update(struct vmm_pci_function *fn);
static inline bool pci_msix_is_masked(const struct vmm_pci_function *fn, unsigned vector)
{
	return fn->msix.table[4 * vector + PCI_MSIX_CONTROL] & PCI_MSIX_MASKED;
}
/* true if the access was to the table or the pending bits, and has been done. */
bool pci_msix_read(
	struct vmm_pci_function *fn, unsigned bar, uint64_t at, void *data, unsigned len);
bool pci_msix_write(
	struct vmm_pci_function *fn, unsigned bar, uint64_t at, const void *data, unsigned len);
/*
 * With the function's lock held: bit v of bits[v / 64] for each masked vector with a pending
 * interrupt.
 */
void pci_msix_pending(struct vmm_pci_function *fn, uint64_t *bits);
void pci_msix_set_pending(struct vmm_pci_function *fn, const uint64_t *bits);
static inline unsigned pci_msix_pending_words(const struct vmm_pci_function *fn)
{
	return (fn->msix.count + 63) / 64;
}

/* msi.c: the capability of a device that has MSI only */
int pci_msi_probe(struct vmm_pci_function *fn, uint8_t cap, struct swo_error *err);
/* Is this part of it? Nothing of it is written to the device: the VMM masks, and the host enables. */
bool pci_msi_has(const struct vmm_pci_function *fn, unsigned at, unsigned len);
/* With the function's lock held: part of the capability was written, or is about to be read. */
void pci_msi_written(struct vmm_pci_function *fn, unsigned at, unsigned len);
void pci_msi_before_read(struct vmm_pci_function *fn, unsigned at, unsigned len);
/* With the function's lock held: the table was loaded; the capability follows. */
void pci_msi_loaded(struct vmm_pci_function *fn);
/* The number of vectors that the guest has enabled. */
unsigned pci_msi_enabled(const struct vmm_pci_function *fn);

#endif
