/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * library.c - the library's kernel backend, and devices on top of it, against simvf.ko: the
 * cases of the unit tests, with the real VFIO core. Checked by the devices' own counters.
 */
#include "bed.h"

#include "switchover/device.h"
#include "switchover/runstate.h"
#include "tests/support/must.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define COUNT 4
#define SMALL "state_bytes = 256K\nprecopy_percent = 50\n"

static struct swo_error err;
static struct swo_vfio_context *context;
static struct swo_device *devs[COUNT];

static void *open_backend(unsigned index, const char *profile)
{
	struct swo_vfio_kernel_params params = {
		.size = sizeof(struct swo_vfio_kernel_params), .context = context};
	char path[64], name[16];
	void *self;

	bed_prepare(index, profile);
	snprintf(path, sizeof(path), "/sys/devices/platform/simvf.%u", index);
	snprintf(name, sizeof(name), "vf%u", index);
	MUST(swo_vfio_kernel_open(name, path, &params, &self, &err));
	return self;
}

static void open_devices(unsigned count, const char *profile, uint64_t arc_deadline_ms)
{
	struct swo_device_params params = {
		.size = sizeof(struct swo_device_params), .arc_deadline_ms = arc_deadline_ms};
	char name[16];

	for (unsigned i = 0; i < count; i++) {
		void *self = open_backend(i, profile);

		snprintf(name, sizeof(name), "vf%u", i);
		MUST(swo_device_create(name, &swo_vfio_kernel_ops, self, &params, &devs[i], &err));
	}
}

static int setup(void **state)
{
	(void)state;
	return swo_vfio_context_new(&context, &err);
}

static int teardown(void **state)
{
	bed_teardown(state);
	for (unsigned i = 0; i < COUNT; i++) {
		if (devs[i])
			swo_device_destroy(devs[i]);
		devs[i] = NULL;
	}
	swo_vfio_context_unref(context);
	context = NULL;
	return 0;
}

static size_t copy(struct swo_device *from, struct swo_device *to)
{
	static uint8_t buf[65536];
	void *source, *target;
	const struct swo_device_ops *ops = swo_device_backend(from, &source);
	size_t got, sum = 0;

	swo_device_backend(to, &target);
	do {
		MUST(ops->data_read(source, buf, sizeof(buf), &got, &err));
		if (got)
			MUST(ops->data_write(target, buf, got, &err));
		sum += got;
	} while (got);
	return sum;
}

static void state_moves_completely_from_device_to_device(void **state)
{
	char before[32], after[32];

	(void)state;
	open_devices(2, SMALL, 0);
	assert_int_equal(swo_device_mig_flags(devs[0]), 7);
	assert_int_equal(bed_put(0, "p2p_set", "1"), 0);
	assert_int_equal(bed_put(1, "p2p_set", "2"), 0);
	MUST(swo_device_set_state(devs[1], SWO_DEVICE_RESUMING, &err));
	MUST(swo_device_set_state(devs[0], SWO_DEVICE_PRE_COPY, &err));
	assert_true(copy(devs[0], devs[1]) > 128 * 1024);
	MUST(swo_device_set_state(devs[0], SWO_DEVICE_STOP_COPY, &err));
	assert_true(copy(devs[0], devs[1]) > 128 * 1024);
	MUST(swo_device_set_state(devs[1], SWO_DEVICE_RUNNING, &err));
	bed_get(0, "state_hash", before, sizeof(before));
	bed_get(1, "state_hash", after, sizeof(after));
	assert_string_equal(before, after);
	assert_string_not_equal(before, "0000000000000000\n");
	assert_int_equal(bed_counter(1, "state_mismatches"), 0);
}

static void failed_arc_is_named_and_taken_back_without_reset(void **state)
{
	(void)state;
	open_devices(1, SMALL, 0);
	MUST(swo_device_set_state(devs[0], SWO_DEVICE_PRE_COPY_P2P, &err));
	assert_int_equal(bed_put(0, "faults", "arc=PRE_COPY_P2P->STOP_COPY:fail=EIO,x1"), 0);
	assert_int_equal(swo_device_set_state(devs[0], SWO_DEVICE_STOP_COPY, &err), -1);
	assert_non_null(strstr(err.text, "vf0"));
	assert_non_null(strstr(err.text, "PRE_COPY_P2P->STOP_COPY"));
	MUST(swo_device_recover(devs[0], false, &err));
	assert_int_equal(swo_device_state(devs[0]), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(devs[0]), SWO_DEVICE_SOUND);
	assert_int_equal(bed_counter(0, "resets"), 0);
}

static void device_in_error_is_reset_and_reported(void **state)
{
	(void)state;
	open_devices(1, SMALL, 0);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING_P2P->STOP:error,x1"), 0);
	assert_int_equal(swo_device_set_state(devs[0], SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(swo_device_state(devs[0]), SWO_DEVICE_ERROR);
	MUST(swo_device_recover(devs[0], false, &err));
	assert_int_equal(swo_device_health(devs[0]), SWO_DEVICE_WAS_RESET);
	assert_int_equal(bed_counter(0, "resets"), 1);
}

static void hung_arc_passes_its_deadline_and_loses_the_device(void **state)
{
	(void)state;
	open_devices(1, SMALL, 100);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING_P2P->STOP:hang,x1"), 0);
	assert_int_equal(swo_device_set_state(devs[0], SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(swo_device_health(devs[0]), SWO_DEVICE_LOST);
}

static void truncated_state_is_refused_by_the_device_too(void **state)
{
	(void)state;
	open_devices(2, SMALL, 0);
	assert_int_equal(bed_put(0, "p2p_set", "1"), 0);
	assert_int_equal(bed_put(0, "faults", "save:short@50000"), 0);
	MUST(swo_device_set_state(devs[1], SWO_DEVICE_RESUMING, &err));
	MUST(swo_device_set_state(devs[0], SWO_DEVICE_STOP_COPY, &err));
	assert_int_equal(copy(devs[0], devs[1]), 50000);
	assert_int_equal(swo_device_set_state(devs[1], SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_DEVICE);
	MUST(swo_device_discard(devs[1], &err));
	assert_int_equal(swo_device_health(devs[1]), SWO_DEVICE_WAS_RESET);
}

static void dma_reaches_memory_that_the_library_mapped(void **state)
{
	const struct swo_device_ops *ops = &swo_vfio_kernel_ops;
	const uint64_t addr = 0x2000000;
	const uint32_t pages = 4, rate = 2000, control = SIMVF_CONTROL_DMA;
	uint64_t seed;
	void *self;

	(void)state;
	self = open_backend(0, SMALL);
	memset(bed_ram, 0, BED_RAM_BYTES);
	seed = bed_counter(0, "seed");
	MUST(ops->dma_map(self, addr, BED_RAM_BYTES, -1, 0, bed_ram, 3, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_DMA_ADDR, &addr, 8, false, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_DMA_PAGES, &pages, 4, false, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_DMA_RATE, &rate, 4, false, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_CONTROL, &control, 4, false, &err));
	for (unsigned tries = 0; tries < 10000 && bed_counter(0, "dma_pages") < 4; tries++)
		bed_sleep_ms(1);
	MUST(ops->set_state(self, SWO_DEVICE_RUNNING_P2P, &err));
	assert_int_equal(((uint64_t *)bed_ram)[1], seed);
	assert_int_equal(bed_counter(0, "dma_errors"), 0);
	MUST(ops->dma_unmap(self, addr, BED_RAM_BYTES, &err));
	ops->destroy(self);
}

static void dma_log_works_or_is_reported_not_to(void **state)
{
	const struct swo_device_ops *ops = &swo_vfio_kernel_ops;
	struct swo_dma_range range = {0x2000000, BED_RAM_BYTES};
	uint64_t page = 4096, bits[BED_RAM_BYTES / 4096 / 64] = {0};
	void *self = open_backend(0, SMALL);
	int started;

	(void)state;
	MUST(ops->dma_map(self, range.iova, range.length, -1, 0, bed_ram, 3, &err));
	started = ops->dma_log_start(self, &page, &range, 1, &err);
	if (!started && !access("/dev/iommu", F_OK)) {
		MUST(ops->dma_log_report(self, range.iova, range.length, page, bits, &err));
		assert_int_equal(bits[0], 0);
		MUST(ops->dma_log_stop(self, &err));
	} else {
		/* Debian's kernels accept START and fail every REPORT */
		if (!started)
			assert_int_equal(ops->dma_log_report(
						 self, range.iova, range.length, page, bits, &err),
				-1);
		assert_int_equal(err.code, SWO_E_UNSUPPORTED);
		assert_true(strlen(err.text) > 20);
	}
	ops->destroy(self);
}

static void interrupts_arrive_by_eventfd(void **state)
{
	const struct swo_device_ops *ops = &swo_vfio_kernel_ops;
	const uint32_t every = 1, control = SIMVF_CONTROL_IRQ;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	void *self = open_backend(0, SMALL);
	uint64_t number = 1, count = 0;

	(void)state;
	MUST(ops->set_irqs(self, 2, 1, &fd, 1, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_IRQ_EVERY, &every, 4, false, &err));
	MUST(ops->region_write(self, 0, SIMVF_REG_CONTROL, &control, 4, false, &err));
	MUST(ops->region_write(self, 0, SIMVF_DOORBELL(1), &number, 8, false, &err));
	assert_int_equal(read(fd, &count, 8), 8);
	assert_int_equal(count, 1);
	MUST(ops->set_irqs(self, 2, 0, NULL, 0, &err));
	ops->destroy(self);
	close(fd);
}

/* All devices reach P2P before any stops, in parallel, and likewise during roll-back. */
static uint64_t stop_and_start(enum swo_transitions transitions)
{
	struct swo_runstate *rs = swo_runstate_new(SWO_RUN_STATE_RUNNING);
	uint64_t before;

	assert_non_null(rs);
	open_devices(COUNT, "even", 0);
	for (unsigned i = 0; i < COUNT; i++)
		MUST(swo_device_follow(devs[i], rs, 1, transitions, SWO_JOIN_PASS, &err));
	before = bed_now();
	MUST(swo_runstate_change(rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, &err));
	MUST(swo_runstate_change(rs, SWO_RUN_STATE_RUNNING, SWO_ON_ERROR_ROLLBACK, &err));
	before = bed_now() - before;
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(bed_counter(i, "p2p_order_violations"), 0);
		assert_int_equal(swo_device_state(devs[i]), SWO_DEVICE_RUNNING);
		swo_device_unfollow(devs[i]);
		swo_device_destroy(devs[i]);
		devs[i] = NULL;
	}
	swo_runstate_free(rs);
	return before / 1000000;
}

static void devices_follow_the_run_state_in_p2p_order_and_in_parallel(void **state)
{
	uint64_t serial = stop_and_start(SWO_TRANSITIONS_SERIAL);
	uint64_t parallel = stop_and_start(SWO_TRANSITIONS_PARALLEL);

	(void)state;
	assert_true(serial >= COUNT * 105);
	if (parallel * 2 > serial)
		fail_msg("serial %llu ms, parallel %llu ms", (unsigned long long)serial,
			(unsigned long long)parallel);
}

#define lab_case(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_case(state_moves_completely_from_device_to_device),
		lab_case(failed_arc_is_named_and_taken_back_without_reset),
		lab_case(device_in_error_is_reset_and_reported),
		lab_case(hung_arc_passes_its_deadline_and_loses_the_device),
		lab_case(truncated_state_is_refused_by_the_device_too),
		lab_case(dma_reaches_memory_that_the_library_mapped),
		lab_case(dma_log_works_or_is_reported_not_to),
		lab_case(interrupts_arrive_by_eventfd),
		lab_case(devices_follow_the_run_state_in_p2p_order_and_in_parallel),
	};

	return cmocka_run_group_tests_name("library on simvf", tests, NULL, NULL);
}
