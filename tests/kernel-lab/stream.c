/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.c - data sessions of simvf.ko: the life of a data_fd, whole and damaged streams,
 * and that a state saved here loads in the model of the vfio-user simulator, and back.
 */
#include "abi.h"
#include "bed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SMALL "state_bytes = 256K\nprecopy_percent = 50\n"

static uint8_t stream[BED_STREAM];
static struct bed_device source, target;

static void open_both(const char *profile)
{
	bed_open(&source, 0, profile);
	bed_open(&target, 1, profile);
	assert_int_equal(bed_put(0, "p2p_set", "1"), 0);
	assert_int_equal(bed_put(1, "p2p_set", "2"), 0);
}

static void close_both(void)
{
	bed_close(&source);
	bed_close(&target);
}

/* All of a stopped source's stream. */
static size_t save(void)
{
	ssize_t got;

	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	got = bed_read_all(&source, stream, sizeof(stream));
	assert_true(got > 0);
	assert_int_equal(read(source.data, stream + got, 1), 0);
	return (size_t)got;
}

static void complete_migration_arrives_bit_for_bit(void **state)
{
	char before[32], after[32];
	ssize_t early, late;

	(void)state;
	open_both(SMALL);
	for (uint64_t n = 1; n <= 40; n++)
		assert_int_equal(bed_poke(&source, SIMVF_BAR_REGS, SIMVF_DOORBELL(3), n, 8), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	early = bed_read_all(&source, stream, sizeof(stream));
	assert_true(early > 128 * 1024);
	assert_int_equal(bed_write_all(&target, stream, (size_t)early), 0);
	assert_int_equal(bed_poke(&source, SIMVF_BAR_REGS, SIMVF_DOORBELL(3), 41, 8), 0);
	assert_int_equal(bed_set(&source, SVF_PRE_COPY_P2P), 0);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	late = bed_read_all(&source, stream, sizeof(stream));
	assert_true(late > 128 * 1024);
	assert_int_equal(bed_write_all(&target, stream, (size_t)late), 0);
	assert_int_equal(bed_set(&target, SVF_STOP), 0);
	bed_get(0, "state_hash", before, sizeof(before));
	bed_get(1, "state_hash", after, sizeof(after));
	assert_string_equal(before, after);
	assert_string_not_equal(before, "0000000000000000\n");
	assert_int_equal(bed_set(&target, SVF_RUNNING), 0);
	assert_int_equal(bed_reg(&target, SIMVF_BAR_REGS, SIMVF_REG_DOORBELLS, 8), 41);
	assert_int_equal(bed_counter(1, "state_mismatches"), 0);
	assert_int_equal(bed_counter(0, "seed"), bed_counter(1, "seed"));
	close_both();
}

static void save_load_save_gives_the_same_bytes(void **state)
{
	static uint8_t again[BED_STREAM];
	size_t len;

	(void)state;
	open_both(SMALL);
	len = save();
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_write_all(&target, stream, len), 0);
	assert_int_equal(bed_set(&target, SVF_STOP), 0);
	assert_int_equal(bed_set(&target, SVF_STOP_COPY), 0);
	assert_int_equal(bed_read_all(&target, again, sizeof(again)), len);
	assert_memory_equal(stream, again, len);
	close_both();
}

static void pre_copy_returns_enomsg_and_reports_the_rest(void **state)
{
	uint64_t initial = 0, dirty = 0;

	(void)state;
	open_both(SMALL);
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	assert_int_equal(bed_precopy_info(&source, &initial, &dirty), 0);
	assert_true(initial >= 128 * 1024);
	assert_true(bed_read_all(&source, stream, sizeof(stream)) > 0);
	assert_int_equal(bed_precopy_info(&source, &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	assert_int_equal(dirty, 0);
	assert_int_equal(read(source.data, stream, 1), -1);
	assert_int_equal(errno, ENOMSG);
	assert_int_equal(bed_put(0, "precopy_zero", "1"), 0);
	assert_int_equal(read(source.data, stream, 1), 0);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	assert_int_equal(bed_precopy_info(&source, &initial, &dirty), EINVAL);
	close_both();
}

static uint64_t data_size(void)
{
	uint64_t size = 0;

	assert_int_equal(bed_feature(&source, VFIO_DEVICE_FEATURE_GET | LAB_FEATURE_DATA_SIZE,
				 &size, sizeof(size)),
		0);
	return size;
}

static void data_size_is_that_of_the_whole_state_or_what_is_then_read(void **state)
{
	ssize_t early;
	uint64_t size;

	(void)state;
	open_both(SMALL);
	size = data_size();
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	early = bed_read_all(&source, stream, sizeof(stream));
	assert_true(early > 0);
	assert_int_equal(data_size(), size);
	assert_int_equal(save() + (size_t)early, size);
	assert_int_equal(data_size(), size);
	bed_close(&source);
	assert_int_equal(bed_put(0, "rules", "\n"), 0);
	bed_open(&source, 0, SMALL);
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	early = bed_read_all(&source, stream, sizeof(stream));
	size = data_size();
	assert_int_equal(save(), size);
	bed_close(&source);
	assert_int_equal(bed_put(0, "rules", "full-size increments"), 0);
	bed_open(&source, 0, SMALL);
	close_both();
}

static void increment_is_saved_only_when_it_is_requested(void **state)
{
	uint64_t initial = 0, dirty = 0;

	(void)state;
	open_both("state_bytes = 256K\nprecopy_percent = 100\n");
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	assert_true(bed_read_all(&source, stream, sizeof(stream)) > 0);
	for (uint64_t n = 1; n <= 10; n++)
		assert_int_equal(bed_poke(&source, SIMVF_BAR_REGS, SIMVF_DOORBELL(3), n, 8), 0);
	assert_int_equal(read(source.data, stream, 1), -1);
	assert_int_equal(errno, ENOMSG);
	assert_int_equal(bed_precopy_info(&source, &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	assert_true(dirty > 4096);
	assert_int_equal(bed_read_all(&source, stream, sizeof(stream)), dirty);
	close_both();
}

static void data_fd_ends_with_its_session(void **state)
{
	uint8_t byte;

	(void)state;
	open_both(SMALL);
	assert_int_equal(bed_set(&source, SVF_PRE_COPY), 0);
	assert_int_equal(bed_set(&source, SVF_RUNNING), 0);
	assert_int_equal(read(source.data, &byte, 1), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_reset(&target), 0);
	assert_int_equal(write(target.data, "x", 1), -1);
	assert_int_equal(errno, ENODEV);
	close_both();
}

static void data_fd_outlives_its_device_and_returns_enodev(void **state)
{
	uint8_t byte;
	int data;

	(void)state;
	open_both(SMALL);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	data = source.data;
	source.data = -1;
	bed_close(&source);
	assert_int_equal(read(data, &byte, 1), -1);
	assert_int_equal(errno, ENODEV);
	bed_open(&source, 0, SMALL);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	assert_int_equal(read(data, &byte, 1), -1);
	assert_int_equal(errno, ENODEV);
	close(data);
	assert_int_equal(read(source.data, &byte, 1), 1);
	close_both();
}

static void wrong_direction_and_position_are_refused(void **state)
{
	uint8_t byte = 0;

	(void)state;
	open_both(SMALL);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(write(source.data, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(read(target.data, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pread(source.data, &byte, 1, 0), -1);
	assert_int_equal(errno, ESPIPE);
	close_both();
}

/* The target must refuse `len` bytes of stream, at the latest when it is finalised. */
static void expect_refusal(size_t len)
{
	int rc;

	assert_int_equal(bed_reset(&target), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	rc = bed_write_all(&target, stream, len);
	if (rc)
		assert_int_equal(rc, EINVAL);
	assert_int_equal(bed_set(&target, SVF_STOP), EINVAL);
	assert_int_equal(bed_state(&target), SVF_RESUMING);
	assert_int_equal(bed_set(&target, SVF_RUNNING), EINVAL);
	assert_int_equal(bed_reset(&target), 0);
	assert_int_equal(bed_state(&target), SVF_RUNNING);
}

static void damaged_streams_are_refused(void **state)
{
	size_t len;

	(void)state;
	open_both(SMALL);
	len = save();
	expect_refusal(0);
	expect_refusal(1);
	expect_refusal(len / 2);
	expect_refusal(len - 1);
	expect_refusal(len + 1);
	stream[len / 3] ^= 1;
	expect_refusal(len);
	stream[len / 3] ^= 1;
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_write_all(&target, stream, len), 0);
	assert_int_equal(bed_set(&target, SVF_STOP), 0);
	close_both();
}

static void state_of_another_size_is_refused(void **state)
{
	size_t len;

	(void)state;
	open_both(SMALL);
	bed_close(&target);
	bed_open(&target, 1, "state_bytes = 512K\n");
	assert_int_equal(bed_put(1, "p2p_set", "2"), 0);
	len = save();
	expect_refusal(len);
	close_both();
}

static void stream_faults_have_their_effect(void **state)
{
	size_t whole, cut;

	(void)state;
	open_both(SMALL);
	whole = save();
	assert_int_equal(bed_reset(&source), 0);
	assert_int_equal(bed_put(0, "faults", "save:short@100000"), 0);
	cut = save();
	assert_int_equal(cut, 100000);
	expect_refusal(cut);
	assert_int_equal(bed_put(0, "faults", "clear"), 0);
	assert_int_equal(bed_reset(&source), 0);
	assert_int_equal(bed_put(0, "faults", "save:corrupt@70000"), 0);
	assert_int_equal(save(), whole);
	expect_refusal(whole);
	assert_int_equal(bed_put(0, "faults", "clear"), 0);
	assert_int_equal(bed_put(0, "faults", "save:break@5000=ENOMEM"), 0);
	assert_int_equal(bed_reset(&source), 0);
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	assert_int_equal(bed_read_all(&source, stream, sizeof(stream)), -ENOMEM);
	close_both();
}

static void load_faults_have_their_effect(void **state)
{
	size_t len;

	(void)state;
	open_both(SMALL);
	len = save();
	assert_int_equal(bed_put(1, "faults", "load:fail@4096=EIO,x1"), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_write_all(&target, stream, len), EIO);
	assert_int_equal(bed_reset(&target), 0);
	assert_int_equal(bed_put(1, "faults", "clear"), 0);
	assert_int_equal(bed_put(1, "faults", "load:refuse=EBUSY,x1"), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_write_all(&target, stream, len), 0);
	assert_int_equal(bed_set(&target, SVF_STOP), EBUSY);
	assert_int_equal(bed_state(&target), SVF_RESUMING);
	close_both();
}

static void save_fd_that_must_not_block_returns_eagain(void **state)
{
	uint8_t byte;

	(void)state;
	open_both("state_bytes = 1M\nsave_rate = 1\n");
	assert_int_equal(bed_set(&source, SVF_STOP_COPY), 0);
	assert_int_equal(fcntl(source.data, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(source.data, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	close_both();
}

/* The simulator's model in this process */

static int no_dma(void *opaque, uint64_t addr, void *buf, size_t len)
{
	(void)opaque;
	(void)addr;
	(void)buf;
	(void)len;
	return -SVF_EIO;
}

static int no_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	(void)opaque;
	(void)addr;
	(void)buf;
	(void)len;
	return -SVF_EIO;
}

static int no_p2p(void *opaque, uint64_t addr, uint64_t value)
{
	(void)opaque;
	(void)addr;
	(void)value;
	return -SVF_EIO;
}

static bool no_irq(void *opaque, unsigned vector)
{
	(void)opaque;
	(void)vector;
	return false;
}

static void no_event(void *opaque, enum svf_event what)
{
	(void)opaque;
	(void)what;
}

static const struct svf_ops ops = {no_dma, no_dma_write, no_p2p, no_irq, no_event, NULL};
static struct svf model;
static uint64_t model_inbox[SVF_INBOX_WORDS], model_memory[4096];

static void make_model(void)
{
	struct svf_config config = {.mig_flags = 7,
		.seed = 77,
		.ops = &ops,
		.inbox = model_inbox,
		.memory = model_memory};

	svf_profile_init(&config.profile);
	config.profile.state_bytes = 256 * 1024;
	assert_true(svf_memory_size(config.profile.state_bytes) <= sizeof(model_memory));
	assert_int_equal(svf_init(&model, &config, 1), 0);
}

static void kernel_state_loads_in_the_vfio_user_model(void **state)
{
	char hash[32], here[32];
	size_t len;

	(void)state;
	make_model();
	open_both(SMALL);
	assert_int_equal(bed_poke(&source, SIMVF_BAR_REGS, SIMVF_DOORBELL(0), 1, 8), 0);
	len = save();
	assert_int_equal(svf_set_state(&model, SVF_RESUMING, 2), 0);
	assert_int_equal(svf_write(&model, stream, len, 3), 0);
	assert_int_equal(svf_set_state(&model, SVF_RUNNING, 4), 0);
	bed_get(0, "state_hash", hash, sizeof(hash));
	snprintf(here, sizeof(here), "%016llx\n", (unsigned long long)model.stats.state_hash);
	assert_string_equal(hash, here);
	close_both();
}

static void vfio_user_models_state_loads_in_the_kernel(void **state)
{
	uint64_t number = 1, done;
	size_t len = 0;

	(void)state;
	make_model();
	open_both(SMALL);
	assert_int_equal(
		svf_region_write(&model, SIMVF_BAR_REGS, SIMVF_DOORBELL(5), &number, 8, 2, &done),
		0);
	assert_int_equal(svf_set_state(&model, SVF_STOP_COPY, 3), 0);
	assert_int_equal(svf_read(&model, stream, sizeof(stream), &len, 4), 0);
	assert_int_equal(bed_set(&target, SVF_RESUMING), 0);
	assert_int_equal(bed_write_all(&target, stream, len), 0);
	assert_int_equal(bed_set(&target, SVF_RUNNING), 0);
	assert_int_equal(bed_reg(&target, SIMVF_BAR_REGS, SIMVF_DOORBELL(5), 8), 1);
	assert_int_equal(bed_counter(1, "seed"), 77);
	close_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_case(complete_migration_arrives_bit_for_bit),
		bed_case(save_load_save_gives_the_same_bytes),
		bed_case(pre_copy_returns_enomsg_and_reports_the_rest),
		bed_case(data_size_is_that_of_the_whole_state_or_what_is_then_read),
		bed_case(increment_is_saved_only_when_it_is_requested),
		bed_case(data_fd_ends_with_its_session),
		bed_case(data_fd_outlives_its_device_and_returns_enodev),
		bed_case(wrong_direction_and_position_are_refused),
		bed_case(damaged_streams_are_refused),
		bed_case(state_of_another_size_is_refused),
		bed_case(stream_faults_have_their_effect),
		bed_case(load_faults_have_their_effect),
		bed_case(save_fd_that_must_not_block_returns_eagain),
		bed_case(kernel_state_loads_in_the_vfio_user_model),
		bed_case(vfio_user_models_state_loads_in_the_kernel),
	};

	return cmocka_run_group_tests_name("simvf stream", tests, NULL, NULL);
}
