/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - simvf.ko's regions, its DMA into this process's memory, its interrupts, the
 * DMA log, and peer-to-peer writes with the order that they demand.
 */
#include "abi.h"
#include "bed.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PLAIN	   "state_bytes = 64K\n"
#define RING_PAGES 4
#define PEER_IOVA  UINT64_C(0x40000000)

static struct bed_device dev, peer;

static void regs(struct bed_device *d, uint64_t offset, uint64_t value, size_t len)
{
	assert_int_equal(bed_poke(d, SIMVF_BAR_REGS, offset, value, len), 0);
}

static void start_dma(uint64_t iova)
{
	regs(&dev, SIMVF_REG_DMA_ADDR, iova, 8);
	regs(&dev, SIMVF_REG_DMA_PAGES, RING_PAGES, 4);
	regs(&dev, SIMVF_REG_DMA_RATE, 2000, 4);
	regs(&dev, SIMVF_REG_CONTROL, SIMVF_CONTROL_DMA, 4);
}

/* Deadlines are guards only. */
static void await_counter(unsigned index, const char *name, uint64_t least)
{
	for (unsigned tries = 0; tries < 10000 && bed_counter(index, name) < least; tries++)
		bed_sleep_ms(1);
	assert_true(bed_counter(index, name) >= least);
}

static void device_looks_like_a_pci_function_with_msix(void **state)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_irq_info irqs = {.argsz = sizeof(irqs), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	const uint64_t sizes[] = {SIMVF_BAR_REGS_SIZE, 0, SIMVF_BAR_INBOX_SIZE, 0,
		SIMVF_BAR_MSIX_SIZE, 0, 0, SVF_CONFIG_SIZE, 0};

	(void)state;
	bed_open(&dev, 0, PLAIN);
	assert_int_equal(ioctl(dev.fd, VFIO_DEVICE_GET_INFO, &info), 0);
	assert_int_equal(info.flags & (VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET),
		VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	assert_int_equal(ioctl(dev.fd, VFIO_DEVICE_GET_IRQ_INFO, &irqs), 0);
	assert_int_equal(irqs.count, SIMVF_MSIX_VECTORS);
	for (uint32_t i = 0; i < info.num_regions; i++) {
		struct vfio_region_info region = {.argsz = sizeof(region), .index = i};

		assert_int_equal(ioctl(dev.fd, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
		assert_int_equal(region.size, sizes[i]);
		assert_int_equal(
			!!(region.flags & VFIO_REGION_INFO_FLAG_MMAP), i == SIMVF_BAR_INBOX);
	}
	assert_int_equal(
		bed_reg(&dev, SVF_REGION_CONFIG, 0, 4), SIMVF_PCI_VENDOR | SIMVF_PCI_DEVICE << 16);
	assert_int_equal(bed_reg(&dev, SIMVF_BAR_REGS, SIMVF_REG_ID, 4), SIMVF_ID);
	bed_close(&dev);
}

static void accesses_beyond_a_region_are_refused(void **state)
{
	(void)state;
	bed_open(&dev, 0, PLAIN);
	assert_int_equal(bed_poke(&dev, SIMVF_BAR_REGS, SIMVF_BAR_REGS_SIZE, 0, 4), EINVAL);
	assert_int_equal(bed_poke(&dev, 1, 0, 0, 4), EINVAL);
	assert_int_equal(bed_poke(&dev, 4000, 0, 0, 4), EINVAL);
	assert_true(mmap(NULL, 4096, PROT_READ, MAP_SHARED, dev.fd, 0) == MAP_FAILED);
	assert_true(mmap(NULL, 8192, PROT_READ, MAP_SHARED, dev.fd, (off_t)2 << 40) == MAP_FAILED);
	bed_close(&dev);
}

static void dma_engine_fills_mapped_memory(void **state)
{
	uint64_t seed, done;

	(void)state;
	memset(bed_ram, 0, BED_RAM_BYTES);
	bed_open(&dev, 0, PLAIN);
	seed = bed_counter(0, "seed");
	start_dma(BED_RAM_IOVA + 8192);
	await_counter(0, "dma_pages", 3 * RING_PAGES);
	assert_int_equal(bed_set(&dev, SVF_STOP), 0);
	done = bed_counter(0, "dma_pages");
	for (uint64_t n = done - RING_PAGES; n < done; n++) {
		const uint64_t *page = (void *)(bed_ram + 8192 + n % RING_PAGES * 4096);

		assert_int_equal(page[0], n + 1);
		assert_int_equal(page[1], seed);
		for (uint64_t i = 2; i < 512; i++)
			assert_int_equal(page[i], SIMVF_DMA_WORD(seed, n, i));
	}
	assert_int_equal(bed_ram[8191], 0);
	assert_int_equal(bed_ram[8192 + RING_PAGES * 4096], 0);
	assert_int_equal(bed_counter(0, "dma_errors"), 0);
	assert_int_equal(bed_counter(0, "ram_mismatches"), 0);
	bed_close(&dev);
}

static void stopped_device_does_no_dma(void **state)
{
	uint64_t before;

	(void)state;
	bed_open(&dev, 0, PLAIN);
	start_dma(BED_RAM_IOVA);
	await_counter(0, "dma_pages", 1);
	assert_int_equal(bed_set(&dev, SVF_RUNNING_P2P), 0);
	before = bed_counter(0, "dma_pages");
	bed_sleep_ms(30);
	assert_int_equal(bed_counter(0, "dma_pages"), before);
	assert_int_equal(bed_set(&dev, SVF_RUNNING), 0);
	await_counter(0, "dma_pages", before + 1);
	bed_close(&dev);
}

static void dma_to_memory_that_is_not_mapped_is_counted(void **state)
{
	(void)state;
	bed_open(&dev, 0, PLAIN);
	start_dma(UINT64_C(0x700000000000));
	await_counter(0, "dma_errors", 2);
	bed_close(&dev);
}

static void dma_goes_on_until_the_device_is_closed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		bed_open(&dev, 0, PLAIN);
		start_dma(BED_RAM_IOVA);
		await_counter(0, "dma_pages", 2);
		bed_close(&dev);
	}
}

static void dma_log_reports_pages_or_fails_with_a_reason(void **state)
{
	struct vfio_device_feature_dma_logging_control start = {.page_size = 4096};
	uint64_t bits[BED_RAM_BYTES / 4096 / 64 + 1] = {0};
	struct vfio_device_feature_dma_logging_range range = {BED_RAM_IOVA, BED_RAM_BYTES};
	struct vfio_device_feature_dma_logging_report report = {.iova = BED_RAM_IOVA,
		.length = BED_RAM_BYTES,
		.page_size = 4096,
		.bitmap = (uintptr_t)bits};
	const uint32_t set = VFIO_DEVICE_FEATURE_SET, get = VFIO_DEVICE_FEATURE_GET;
	int rc;

	(void)state;
	bed_open(&dev, 0, PLAIN);
	start.num_ranges = 1;
	start.ranges = (uintptr_t)&range;
	assert_int_equal(bed_feature(&dev, set | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &start,
				 sizeof(start)),
		0);
	assert_int_equal(bed_feature(&dev, set | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &start,
				 sizeof(start)),
		EINVAL);
	start_dma(BED_RAM_IOVA + 5 * 4096);
	await_counter(0, "dma_pages", RING_PAGES);
	assert_int_equal(bed_set(&dev, SVF_RUNNING_P2P), 0);
	rc = bed_feature(
		&dev, get | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &report, sizeof(report));
	if (!access("/dev/iommu", F_OK)) {
		assert_int_equal(rc, 0);
		assert_int_equal(bits[0], 0xfull << 5);
		bits[0] = 0;
		assert_int_equal(bed_feature(&dev, get | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
					 &report, sizeof(report)),
			0);
		assert_int_equal(bits[0], 0);
	} else {
		assert_int_equal(rc, EOPNOTSUPP);
	}
	assert_int_equal(
		bed_feature(&dev, set | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, &start, 0), 0);
	bed_close(&dev);
}

static int set_irqs(uint32_t flags, uint32_t start, uint32_t count, const int *fds)
{
	uint32_t room[32];
	struct vfio_irq_set *set = (void *)room;

	*set = (struct vfio_irq_set){.argsz = (uint32_t)(sizeof(*set) + (fds ? count * 4 : 0)),
		.flags = flags | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.start = start,
		.count = count};
	if (fds)
		memcpy(set->data, fds, count * 4);
	return ioctl(dev.fd, VFIO_DEVICE_SET_IRQS, set) ? errno : 0;
}

static void doorbells_raise_their_vectors(void **state)
{
	int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)}, bad = 9999;
	uint64_t count = 0;

	(void)state;
	bed_open(&dev, 0, PLAIN);
	assert_int_equal(set_irqs(VFIO_IRQ_SET_DATA_EVENTFD, 2, 2, fds), 0);
	assert_int_equal(set_irqs(VFIO_IRQ_SET_DATA_EVENTFD, 2, 1, &bad), EBADF);
	assert_int_equal(set_irqs(VFIO_IRQ_SET_DATA_EVENTFD, 15, 2, fds), EINVAL);
	regs(&dev, SIMVF_REG_IRQ_EVERY, 2, 4);
	regs(&dev, SIMVF_REG_CONTROL, SIMVF_CONTROL_IRQ, 4);
	for (uint64_t n = 1; n <= 6; n++)
		regs(&dev, SIMVF_DOORBELL(3), n, 8);
	assert_int_equal(read(fds[1], &count, 8), 8);
	assert_int_equal(count, 3);
	assert_int_equal(read(fds[0], &count, 8), -1);
	assert_int_equal(set_irqs(VFIO_IRQ_SET_DATA_NONE, 2, 1, NULL), 0);
	assert_int_equal(read(fds[0], &count, 8), 8);
	assert_int_equal(set_irqs(VFIO_IRQ_SET_DATA_NONE, 0, 0, NULL), 0);
	regs(&dev, SIMVF_DOORBELL(3), 8, 8);
	assert_int_equal(read(fds[1], &count, 8), -1);
	assert_int_equal(bed_counter(0, "doorbells_lost"), 1);
	bed_close(&dev);
	close(fds[0]);
	close(fds[1]);
}

static uint64_t *map_inbox(struct bed_device *d)
{
	void *inbox = mmap(NULL, SIMVF_BAR_INBOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		(off_t)SIMVF_BAR_INBOX << 40);

	assert_true(inbox != MAP_FAILED);
	return inbox;
}

static void mapped_inbox_is_the_devices(void **state)
{
	uint64_t *inbox;

	(void)state;
	bed_open(&dev, 0, PLAIN);
	inbox = map_inbox(&dev);
	inbox[SIMVF_INBOX_SLOT(7) / 8] = 5;
	assert_int_equal(bed_reg(&dev, SIMVF_BAR_INBOX, SIMVF_INBOX_SLOT(7), 8), 5);
	assert_int_equal(bed_counter(0, "p2p_received"), 5);
	munmap(inbox, SIMVF_BAR_INBOX_SIZE);
	bed_close(&dev);
}

/* The device writes into its peer's inbox, which this process maps for it. */
static uint64_t *pair_up(void)
{
	uint64_t *inbox;

	bed_open(&dev, 0, PLAIN);
	bed_open(&peer, 1, PLAIN);
	inbox = map_inbox(&peer);
	assert_int_equal(bed_map(PEER_IOVA, inbox, SIMVF_BAR_INBOX_SIZE), 0);
	regs(&dev, SIMVF_REG_P2P_ADDR, PEER_IOVA + SIMVF_INBOX_SLOT(2), 8);
	regs(&dev, SIMVF_REG_P2P_RATE, 2000, 4);
	regs(&dev, SIMVF_REG_CONTROL, SIMVF_CONTROL_P2P, 4);
	await_counter(1, "p2p_received", 3);
	return inbox;
}

static void part(uint64_t *inbox)
{
	bed_unmap(PEER_IOVA, SIMVF_BAR_INBOX_SIZE);
	munmap(inbox, SIMVF_BAR_INBOX_SIZE);
	bed_close(&dev);
	bed_close(&peer);
}

static void p2p_order_that_is_kept_violates_nothing(void **state)
{
	uint64_t *inbox = pair_up();

	(void)state;
	assert_int_equal(bed_set(&dev, SVF_RUNNING_P2P), 0);
	assert_int_equal(bed_set(&peer, SVF_RUNNING_P2P), 0);
	assert_int_equal(bed_set(&peer, SVF_STOP), 0);
	assert_int_equal(bed_set(&dev, SVF_STOP), 0);
	bed_sleep_ms(10);
	assert_int_equal(bed_set(&dev, SVF_RUNNING_P2P), 0);
	assert_int_equal(bed_set(&peer, SVF_RUNNING_P2P), 0);
	assert_int_equal(bed_set(&dev, SVF_RUNNING), 0);
	assert_int_equal(bed_set(&peer, SVF_RUNNING), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(bed_counter(i, "p2p_order_violations"), 0);
		assert_int_equal(bed_counter(i, "p2p_violations"), 0);
		assert_int_equal(bed_counter(i, "dma_errors"), 0);
	}
	part(inbox);
}

static void stopping_beside_a_moving_sibling_is_found_out(void **state)
{
	uint64_t *inbox = pair_up(), seen;

	(void)state;
	assert_int_equal(bed_set(&peer, SVF_STOP), 0);
	assert_int_equal(bed_counter(1, "p2p_order_violations"), 1);
	seen = bed_counter(0, "p2p_writes");
	await_counter(0, "p2p_writes", seen + 3);
	assert_int_equal(bed_set(&peer, SVF_RUNNING_P2P), 0);
	assert_true(bed_counter(1, "p2p_violations") >= 1);
	part(inbox);
}

static void moving_beside_a_stopped_sibling_is_found_out(void **state)
{
	uint64_t *inbox = pair_up();

	(void)state;
	assert_int_equal(bed_set(&dev, SVF_RUNNING_P2P), 0);
	assert_int_equal(bed_set(&peer, SVF_STOP), 0);
	assert_int_equal(bed_counter(1, "p2p_order_violations"), 0);
	assert_int_equal(bed_set(&dev, SVF_RUNNING), 0);
	assert_int_equal(bed_counter(0, "p2p_order_violations"), 1);
	part(inbox);
}

static void devices_of_different_sets_are_no_siblings(void **state)
{
	(void)state;
	bed_open(&dev, 0, PLAIN);
	bed_open(&peer, 1, PLAIN);
	assert_int_equal(bed_put(0, "p2p_set", "1"), 0);
	assert_int_equal(bed_put(1, "p2p_set", "2"), 0);
	assert_int_equal(bed_set(&dev, SVF_STOP), 0);
	assert_int_equal(bed_counter(0, "p2p_order_violations"), 0);
	bed_close(&dev);
	bed_close(&peer);
}

static void register_access_while_stopped_is_counted(void **state)
{
	(void)state;
	bed_open(&dev, 0, PLAIN);
	assert_int_equal(bed_set(&dev, SVF_STOP), 0);
	bed_reg(&dev, SIMVF_BAR_REGS, SIMVF_REG_ID, 4);
	assert_int_equal(bed_counter(0, "quiesce_violations"), 1);
	bed_close(&dev);
}

static void reset_gives_a_device_like_new(void **state)
{
	(void)state;
	bed_open(&dev, 0, PLAIN);
	regs(&dev, SIMVF_DOORBELL(0), 1, 8);
	regs(&dev, SIMVF_REG_IRQ_EVERY, 3, 4);
	assert_int_equal(bed_reset(&dev), 0);
	assert_int_equal(bed_reg(&dev, SIMVF_BAR_REGS, SIMVF_DOORBELL(0), 8), 0);
	assert_int_equal(bed_reg(&dev, SIMVF_BAR_REGS, SIMVF_REG_IRQ_EVERY, 4), 0);
	bed_close(&dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_case(device_looks_like_a_pci_function_with_msix),
		bed_case(accesses_beyond_a_region_are_refused),
		bed_case(dma_engine_fills_mapped_memory),
		bed_case(stopped_device_does_no_dma),
		bed_case(dma_to_memory_that_is_not_mapped_is_counted),
		bed_case(dma_goes_on_until_the_device_is_closed),
		bed_case(dma_log_reports_pages_or_fails_with_a_reason),
		bed_case(doorbells_raise_their_vectors),
		bed_case(mapped_inbox_is_the_devices),
		bed_case(p2p_order_that_is_kept_violates_nothing),
		bed_case(stopping_beside_a_moving_sibling_is_found_out),
		bed_case(moving_beside_a_stopped_sibling_is_found_out),
		bed_case(devices_of_different_sets_are_no_siblings),
		bed_case(register_access_while_stopped_is_counted),
		bed_case(reset_gives_a_device_like_new),
	};

	return cmocka_run_group_tests_name("simvf memory", tests, NULL, NULL);
}
