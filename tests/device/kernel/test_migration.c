/* SPDX-License-Identifier: BSD-3-Clause */
/* Arcs, data sessions, the DMA log and recovery of the kernel backend, against a fake kernel. */
#include "base/log.h"
#include "device/core/vfio_abi.h"
#include "fake_kernel.h"
#include "tests/support/must.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OPS (&swo_vfio_kernel_ops)

static struct swo_error err;

static void *open_device(unsigned n)
{
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	char path[32];
	void *self;

	snprintf(path, sizeof(path), "/dev/vfio/%u:dev%u", 5 + n, n);
	MUST(kernel_open(&fk_sys, "vf0", path, &params, &self, &err));
	return self;
}

static int setup(void **state)
{
	(void)state;
	fk_init();
	fk_keep_log(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fk_keep_log(false);
	return fk.open_fds || fk.map_count || fk.device[0].opens || fk.device[0].logging;
}

/* Sessions */

static size_t stream(void *from, void *to)
{
	uint8_t buf[4096];
	size_t got, sum = 0;

	do {
		MUST(OPS->data_read(from, buf, sizeof(buf), &got, &err));
		MUST(OPS->data_write(to, buf, got, &err));
		sum += got;
	} while (got);
	return sum;
}

static void state_moves_from_one_device_to_another(void)
{
	void *a = open_device(0), *b = open_device(1);
	struct swo_precopy_info info;
	uint64_t size;

	MUST(OPS->data_size(a, &size, &err));
	MUST(OPS->set_state(b, SWO_DEVICE_RESUMING, &err));
	MUST(OPS->set_state(a, SWO_DEVICE_PRE_COPY, &err));
	MUST(OPS->precopy_info(a, &info, &err));
	assert_int_equal(info.initial_bytes, size / 2);
	size_t before = stream(a, b);

	MUST(OPS->precopy_info(a, &info, &err));
	assert_int_equal(info.initial_bytes, 0);
	MUST(OPS->set_state(a, SWO_DEVICE_PRE_COPY_P2P, &err));
	MUST(OPS->set_state(a, SWO_DEVICE_STOP_COPY, &err));
	FAILS(OPS->precopy_info(a, &info, &err), SWO_E_DEVICE);
	assert_int_equal(before + stream(a, b), size);
	assert_int_equal(fk.device[0].sessions, 1);
	MUST(OPS->set_state(a, SWO_DEVICE_STOP, &err));
	MUST(OPS->set_state(b, SWO_DEVICE_STOP, &err));
	MUST(OPS->set_state(b, SWO_DEVICE_RUNNING, &err));
	assert_memory_equal(
		fk.device[0].state_data, fk.device[1].state_data, sizeof(fk.device[0].state_data));
	/* Two containers, two groups, two devices: the sessions' fds are closed. */
	assert_int_equal(fk.open_fds, 6);
	OPS->destroy(a);
	OPS->destroy(b);
}

static void a_session_carries_the_state(void **state)
{
	(void)state;
	state_moves_from_one_device_to_another();
}

static void a_zero_in_pre_copy_means_no_data_for_now_like_enomsg(void **state)
{
	(void)state;
	fk.returns_zero = true;
	state_moves_from_one_device_to_another();
}

static void short_and_interrupted_calls_are_gone_on_with(void **state)
{
	(void)state;
	fk.max_io = 7;
	fk.interrupts = 0;
	state_moves_from_one_device_to_another();
	fk.max_io = 1;
	void *a = open_device(0);

	fk.interrupts = 20;
	MUST(OPS->set_state(a, SWO_DEVICE_STOP_COPY, &err));
	uint8_t byte;
	size_t got;

	fk.interrupts = 20;
	MUST(OPS->data_read(a, &byte, 1, &got, &err));
	assert_int_equal(got, 1);
	OPS->destroy(a);
}

static void there_is_nothing_to_read_or_write_without_a_session(void **state)
{
	(void)state;
	void *a = open_device(0);
	uint8_t byte = 0;
	size_t got;

	FAILS(OPS->data_read(a, &byte, 1, &got, &err), SWO_E_STATE);
	FAILS(OPS->data_write(a, &byte, 1, &err), SWO_E_STATE);
	MUST(OPS->set_state(a, SWO_DEVICE_STOP_COPY, &err));
	MUST(OPS->set_state(a, SWO_DEVICE_STOP, &err));
	FAILS(OPS->data_read(a, &byte, 1, &got, &err), SWO_E_STATE);
	OPS->destroy(a);
}

static void a_failed_read_names_the_device_and_the_errno(void **state)
{
	(void)state;
	void *a = open_device(0);
	uint8_t byte;
	size_t got;

	MUST(OPS->set_state(a, SWO_DEVICE_STOP_COPY, &err));
	fk.fail_read = EIO;
	FAILS(OPS->data_read(a, &byte, 1, &got, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EIO);
	assert_non_null(strstr(err.text, "device vf0"));
	/* "No data for now" is a result in PRE_COPY only. */
	fk.fail_read = ENOMSG;
	FAILS(OPS->data_read(a, &byte, 1, &got, &err), SWO_E_DEVICE);
	fk.fail_read = 0;
	OPS->destroy(a);
}

static void after_a_failed_write_only_a_reset_helps(void **state)
{
	(void)state;
	void *a = open_device(0);
	uint8_t bytes[300] = {0};
	enum swo_device_state now;

	fk.lax = true; /* a driver that would accept an incomplete state */
	MUST(OPS->set_state(a, SWO_DEVICE_RESUMING, &err));
	fk.fail_write = ENOMEM;
	FAILS(OPS->data_write(a, bytes, sizeof(bytes), &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, ENOMEM);
	fk.fail_write = 0;
	FAILS(OPS->data_write(a, bytes, sizeof(bytes), &err), SWO_E_STATE);
	FAILS(OPS->set_state(a, SWO_DEVICE_STOP, &err), SWO_E_STATE);
	assert_int_equal(fk.device[0].state, SWO_DEVICE_RESUMING);
	MUST(OPS->reset(a, &err));
	MUST(OPS->get_state(a, &now, &err));
	assert_int_equal(now, SWO_DEVICE_RUNNING);
	MUST(OPS->set_state(a, SWO_DEVICE_STOP, &err));
	OPS->destroy(a);
}

static void a_refused_arc_has_its_errno_and_the_state_can_be_read_back(void **state)
{
	(void)state;
	void *a = open_device(0);
	enum swo_device_state now;

	FAILS(OPS->set_state(a, (enum swo_device_state)42, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EINVAL);
	fk.fail_from = SWO_DEVICE_RUNNING_P2P;
	fk.fail_to = SWO_DEVICE_STOP;
	fk.fail_arc_errno = EBUSY;
	fk.fail_arcs = 1;
	FAILS(OPS->set_state(a, SWO_DEVICE_STOP_COPY, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EBUSY);
	MUST(OPS->get_state(a, &now, &err));
	assert_int_equal(now, SWO_DEVICE_RUNNING_P2P);
	OPS->destroy(a);
}

static void a_session_that_ends_in_error_is_closed(void **state)
{
	(void)state;
	void *a = open_device(0);
	enum swo_device_state now;
	unsigned before = fk.open_fds;

	MUST(OPS->set_state(a, SWO_DEVICE_PRE_COPY, &err));
	assert_int_equal(fk.open_fds, before + 1);
	fk.fail_from = SWO_DEVICE_PRE_COPY;
	fk.fail_to = SWO_DEVICE_PRE_COPY_P2P;
	fk.fail_arc_errno = EIO;
	fk.fail_arcs = 1;
	fk.fail_to_error = true;
	FAILS(OPS->set_state(a, SWO_DEVICE_PRE_COPY_P2P, &err), SWO_E_DEVICE);
	MUST(OPS->get_state(a, &now, &err));
	assert_int_equal(now, SWO_DEVICE_ERROR);
	assert_int_equal(fk.open_fds, before);
	MUST(OPS->reset(a, &err));
	OPS->destroy(a);
}

static void a_missing_feature_is_reported(void **state)
{
	(void)state;
	struct swo_precopy_info info;
	uint64_t value;

	fk.no_data_size = fk.no_precopy_info = fk.no_reset = true;
	void *a = open_device(0);

	assert_int_equal(OPS->features(a) & (SWO_FEATURE_DATA_SIZE | SWO_FEATURE_RESET), 0);
	FAILS(OPS->data_size(a, &value, &err), SWO_E_UNSUPPORTED);
	FAILS(OPS->reset(a, &err), SWO_E_UNSUPPORTED);
	MUST(OPS->set_state(a, SWO_DEVICE_PRE_COPY, &err));
	FAILS(OPS->precopy_info(a, &info, &err), SWO_E_UNSUPPORTED);
	fk.device[0].flags = 0;
	FAILS(OPS->get_mig_flags(a, &value, &err), SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "migration driver"));
	OPS->destroy(a);
}

static void an_errno_as_the_data_size_is_an_error(void **state)
{
	(void)state;
	void *a = open_device(0);
	uint64_t value = 0;

	fk.data_size = (uint64_t)-EINVAL;
	FAILS(OPS->data_size(a, &value, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EINVAL);
	assert_int_equal(value, 0);
	fk.data_size = (uint64_t)1 << 40;
	MUST(OPS->data_size(a, &value, &err));
	assert_true(value == fk.data_size);
	OPS->destroy(a);
}

static size_t read_all(void *a)
{
	uint8_t buf[4096];
	size_t got, sum = 0;

	do {
		MUST(OPS->data_read(a, buf, sizeof(buf), &got, &err));
		sum += got;
	} while (got);
	return sum;
}

/* A device that changes, in PRE_COPY, with its first image read. */
static void *open_changing(void)
{
	struct swo_precopy_info info;
	void *a = open_device(0);

	MUST(OPS->set_state(a, SWO_DEVICE_PRE_COPY, &err));
	read_all(a);
	MUST(OPS->precopy_info(a, &info, &err));
	assert_int_equal(info.initial_bytes + info.dirty_bytes, 0);
	fk.device[0].changed = 5000;
	return a;
}

static void close_changing(void *a)
{
	MUST(OPS->set_state(a, SWO_DEVICE_RUNNING, &err));
	OPS->destroy(a);
}

static void an_increment_is_saved_when_it_is_requested(void **state)
{
	(void)state;
	struct swo_precopy_info info;
	void *a = open_changing();

	assert_int_equal(read_all(a), 0);
	MUST(OPS->precopy_info(a, &info, &err));
	assert_int_equal(info.dirty_bytes, 5000);
	assert_int_equal(read_all(a), 5000);
	assert_int_equal(fk.device[0].saves, 2);
	close_changing(a);
}

static void new_initial_data_is_reported_where_the_kernel_can(void **state)
{
	(void)state;
	for (int v2 = 0; v2 < 2; v2++) {
		struct swo_precopy_info info;

		fk.knows_precopy_v2 = v2;
		/* Drivers leave the caller's flags, which have no meaning then. */
		fk.info_flags = VFIO_PRECOPY_INFO_REINIT;
		void *a = open_changing();

		assert_true(fk.device[0].precopy_v2 == v2);
		assert_true(!!(OPS->features(a) & SWO_FEATURE_PRECOPY_INFO_V2) == v2);
		fk.device[0].reinit = true;
		MUST(OPS->precopy_info(a, &info, &err));
		assert_true(info.reinit == v2);
		assert_int_equal(info.initial_bytes, v2 ? 5000 : 0);
		assert_int_equal(info.dirty_bytes, v2 ? 0 : 5000);
		assert_int_equal(read_all(a), 5000);
		MUST(OPS->precopy_info(a, &info, &err));
		assert_false(info.reinit);
		assert_int_equal(info.initial_bytes, 0);
		close_changing(a);
	}
}

/* The DMA log */

static void the_log_reports_writes_and_its_first_report_loses_none(void **state)
{
	(void)state;
	static const struct swo_dma_range range = {0, 64 * 4096};
	void *a = open_device(0);
	uint64_t page = 4096, bits = 0;

	/* Written between the start and the first report. */
	fk.device[0].dirty = 0x1;
	MUST(OPS->dma_log_start(a, &page, &range, 1, &err));
	assert_int_equal(page, 4096);
	fk.device[0].dirty |= 0x50;
	FAILS(OPS->dma_log_start(a, &page, &range, 1, &err), SWO_E_STATE);
	MUST(OPS->dma_log_report(a, 0, 64 * 4096, page, &bits, &err));
	assert_int_equal(bits, 0x51);
	bits = 0;
	MUST(OPS->dma_log_report(a, 0, 64 * 4096, page, &bits, &err));
	assert_int_equal(bits, 0);
	fk.fail_request = VFIO_DEVICE_FEATURE;
	fk.fail_feature = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
	fk.fail_errno = EIO;
	fk.fail_count = 1;
	FAILS(OPS->dma_log_report(a, 0, 64 * 4096, page, &bits, &err), SWO_E_DEVICE);
	MUST(OPS->dma_log_stop(a, &err));
	FAILS(OPS->dma_log_report(a, 0, 4096, page, &bits, &err), SWO_E_STATE);
	MUST(OPS->dma_log_stop(a, &err));
	OPS->destroy(a);
}

static void the_first_report_loses_none_at_the_end_of_the_address_space(void **state)
{
	(void)state;
	const uint64_t pages = 4, from = -pages * 4096;
	const struct swo_dma_range range = {from, pages * 4096};
	void *a = open_device(0);
	uint64_t page = 4096, bits = 0;

	fk.device[0].dirty_from = from;
	fk.device[0].dirty = 0x1; /* the page of the report at the start */
	MUST(OPS->dma_log_start(a, &page, &range, 1, &err));
	fk.device[0].dirty |= 0x8;
	MUST(OPS->dma_log_report(a, from, pages * 4096, page, &bits, &err));
	assert_int_equal(bits, 0x9);
	MUST(OPS->dma_log_stop(a, &err));
	OPS->destroy(a);
}

static void a_log_that_cannot_report_is_found_out_at_its_start(void **state)
{
	(void)state;
	static const struct swo_dma_range range = {0, 64 * 4096};
	void *a = open_device(0);
	uint64_t page = 4096;

	fk.no_iommufd = true; /* as every Debian kernel: START passes, REPORT does not */
	FAILS(OPS->dma_log_start(a, &page, &range, 1, &err), SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "cannot report"));
	assert_non_null(strstr(err.text, "CONFIG_IOMMUFD"));
	assert_false(fk.device[0].logging);
	FAILS(OPS->dma_log_start(a, &page, &range, 1, &err), SWO_E_UNSUPPORTED);
	OPS->destroy(a);
}

static void ranges_that_are_too_many_become_one(void **state)
{
	(void)state;
	static uint8_t ram[32768];
	struct swo_dma_range ranges[300];
	void *a = open_device(0);
	uint64_t page = 4096;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct swo_dma_range){i * 0x10000, 0x1000};
	MUST(OPS->dma_log_start(a, &page, ranges, SWO_ARRAY_SIZE(ranges), &err));
	assert_int_equal(fk.device[0].range_count, 1);
	assert_int_equal(fk.device[0].range_length, 299 * 0x10000 + 0x1000);
	MUST(OPS->dma_log_stop(a, &err));
	fk.max_ranges = 1;
	MUST(OPS->dma_log_start(a, &page, ranges, 3, &err));
	assert_int_equal(fk.device[0].range_length, 2 * 0x10000 + 0x1000);
	MUST(OPS->dma_log_stop(a, &err));
	/* No ranges: all that is mapped; neighbours are merged. */
	FAILS(OPS->dma_log_start(a, &page, NULL, 0, &err), SWO_E_INVALID);
	MUST(OPS->dma_map(a, 0x4000, 0x4000, -1, 0, ram, 3, &err));
	MUST(OPS->dma_map(a, 0, 0x4000, -1, 0, ram + 0x4000, 3, &err));
	MUST(OPS->dma_log_start(a, &page, NULL, 0, &err));
	assert_int_equal(fk.device[0].range_length, 0x8000);
	MUST(OPS->dma_log_stop(a, &err));
	OPS->destroy(a);
}

static void the_devices_page_size_is_reported_or_refused(void **state)
{
	(void)state;
	static const struct swo_dma_range range = {0, 64 * 4096};
	void *a = open_device(0);
	uint64_t page = 4096, bits = 0;

	fk.device[0].log_page = 65536;
	fk.device[0].dirty = 1u << 5;
	MUST(OPS->dma_log_start(a, &page, &range, 1, &err));
	assert_int_equal(page, 65536);
	MUST(OPS->dma_log_report(a, 0, 64 * 4096, 65536, &bits, &err));
	assert_int_equal(bits, 1);
	MUST(OPS->dma_log_stop(a, &err));
	fk.device[0].log_page = 5000;
	FAILS(OPS->dma_log_start(a, &page, &range, 1, &err), SWO_E_PROTOCOL);
	assert_false(fk.device[0].logging);
	OPS->destroy(a);
}

/* Under the device:
 */

static void the_device_recovers_from_a_failed_arc(void **state)
{
	(void)state;
	struct swo_device *dev;

	MUST(swo_device_create("vf0", OPS, open_device(0), NULL, &dev, &err));
	MUST(swo_device_set_state(dev, SWO_DEVICE_PRE_COPY, &err));
	fk.fail_from = SWO_DEVICE_PRE_COPY_P2P;
	fk.fail_to = SWO_DEVICE_STOP_COPY;
	fk.fail_arc_errno = EIO;
	fk.fail_arcs = 1;
	FAILS(swo_device_set_state(dev, SWO_DEVICE_STOP_COPY, &err), SWO_E_DEVICE);
	MUST(swo_device_recover(dev, false, &err));
	assert_int_equal(swo_device_state(dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(dev), SWO_DEVICE_SOUND);
	fk.fail_arcs = 1;
	fk.fail_to_error = true;
	FAILS(swo_device_set_state(dev, SWO_DEVICE_PRE_COPY_P2P, &err) ||
				swo_device_set_state(dev, SWO_DEVICE_STOP_COPY, &err)
			? -1
			: 0,
		SWO_E_DEVICE);
	MUST(swo_device_recover(dev, false, &err));
	assert_int_equal(swo_device_health(dev), SWO_DEVICE_WAS_RESET);
	swo_device_destroy(dev);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_session_carries_the_state),
		CASE(a_zero_in_pre_copy_means_no_data_for_now_like_enomsg),
		CASE(short_and_interrupted_calls_are_gone_on_with),
		CASE(there_is_nothing_to_read_or_write_without_a_session),
		CASE(a_failed_read_names_the_device_and_the_errno),
		CASE(after_a_failed_write_only_a_reset_helps),
		CASE(a_refused_arc_has_its_errno_and_the_state_can_be_read_back),
		CASE(a_session_that_ends_in_error_is_closed),
		CASE(a_missing_feature_is_reported),
		CASE(an_errno_as_the_data_size_is_an_error),
		CASE(an_increment_is_saved_when_it_is_requested),
		CASE(new_initial_data_is_reported_where_the_kernel_can),
		CASE(the_log_reports_writes_and_its_first_report_loses_none),
		CASE(the_first_report_loses_none_at_the_end_of_the_address_space),
		CASE(a_log_that_cannot_report_is_found_out_at_its_start),
		CASE(ranges_that_are_too_many_become_one),
		CASE(the_devices_page_size_is_reported_or_refused),
		CASE(the_device_recovers_from_a_failed_arc),
	};

	return cmocka_run_group_tests_name("vfio_kernel_migration", tests, NULL, NULL);
}
