/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_state.c - a device's configuration and the board, saved on one bus and loaded on
 * another; every damaged copy is refused.
 */
#include "rig.h"
#include "tests/support/cm.h"

#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static void program(struct rig *rig)
{
	rig_enable(rig, 0);
	rig_config_write(rig, 8, 0x18, 0xf3000000, 4);
	rig_config_write(rig, 8, 0x3c, 11, 1);
	rig_config_write(rig, 8, 0x42, 0x8000, 2);

	uint64_t table = rig_bar(rig, 0, 4);

	rig_mmio_write(rig, table + 32, 0xfee03000, 8);
	rig_mmio_write(rig, table + 40, 0x55, 8);
}

static void save(struct rig *rig, unsigned device, struct swo_buf *out)
{
	struct swo_error err;

	*out = (struct swo_buf)SWO_BUF_INIT(1 << 20);
	assert_int_equal(vmm_pci_save(rig->fn[device], out, &err), 0);
}

/* All values that a guest can read. */
static void look(struct rig *rig, uint32_t out[64 + 64])
{
	for (unsigned i = 0; i < 64; i++)
		out[i] = rig_config_read(rig, 8, 4 * i, 4);
	for (unsigned i = 0; i < 64; i++)
		out[64 + i] = (uint32_t)rig_mmio_read(rig, rig_bar(rig, 0, 4) + 4 * i, 4);
}

static void a_loaded_device_looks_to_the_guest_as_the_saved_one_did(void **state)
{
	uint32_t before[128], after[128];
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf;

	(void)state;
	rig_up(&source, 2, 0);
	rig_up(&target, 2, 0);
	program(&source);
	save(&source, 0, &buf);
	vmm_pci_begin_load(target.pci);
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	look(&source, before);
	look(&target, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_false(target.msi[2].masked);
	assert_int_equal(target.msi[2].addr, 0xfee03000);
	assert_int_equal(target.msi[2].data, 0x55);
	assert_true(target.msi[1].masked);
	/* The moved BAR is mapped at its new address. */
	assert_true(
		fake_has_map(&target.fake[1].device, 0xf3000000, 0x1000, target.fake[0].inbox_fd));
	assert_int_equal(target.fake[1].device.map_count, 2);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

static void the_command_is_written_last_and_once_a_session(void **state)
{
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf;

	(void)state;
	rig_up(&source, 1, 0);
	rig_up(&target, 1, 0);
	program(&source);
	save(&source, 0, &buf);
	vmm_pci_begin_load(target.pci);
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);

	struct fake_pci *fake = &target.fake[0];
	unsigned writes = fake->write_count;

	assert_int_equal(fake->writes[writes - 1].offset, 4);
	assert_int_equal(fake_pci_writes(fake, 7, 4, NULL), 1);
	/* The same again: no write to the device. */
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	assert_int_equal(fake->write_count, writes);
	/* Another command: only the command is written. */
	swo_buf_free(&buf);
	rig_config_write(&source, 8, 4, 2, 2);
	save(&source, 0, &buf);
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	assert_int_equal(fake->write_count, writes + 1);
	assert_int_equal(fake_pci_writes(fake, 7, 4, NULL), 2);
	/* A new session writes everything again. */
	vmm_pci_begin_load(target.pci);
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	assert_int_equal(fake_pci_writes(fake, 7, 4, NULL), 3);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

static void saving_twice_gives_the_same_bytes_and_accesses_no_device(void **state)
{
	struct swo_buf one, two;
	struct rig rig;

	(void)state;
	rig_up(&rig, 1, 0);
	program(&rig);
	unsigned reads = rig.fake[0].reads;

	save(&rig, 0, &one);
	save(&rig, 0, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	assert_int_equal(rig.fake[0].reads, reads);
	swo_buf_free(&one);
	swo_buf_free(&two);
	rig_down(&rig);
}

static void pending_interrupts_arrive_and_stale_ones_go(void **state)
{
	const uint64_t one = 1;
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf;
	uint64_t got;

	(void)state;
	rig_up(&source, 1, 0);
	rig_up(&target, 1, 0);
	assert_int_equal(write(source.msi[7].eventfd, &one, 8), 8);
	assert_int_equal(write(target.msi[6].eventfd, &one, 8), 8);
	save(&source, 0, &buf);
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	assert_int_equal(read(target.msi[7].eventfd, &got, 8), 8);
	assert_int_equal(read(target.msi[6].eventfd, &got, 8), -1);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

static void cut_or_flipped_anywhere_it_is_refused_and_nothing_changes(void **state)
{
	uint32_t before[128], after[128];
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf;

	(void)state;
	rig_up(&source, 1, 0);
	rig_up(&target, 1, 0);
	program(&source);
	save(&source, 0, &buf);
	look(&target, before);
	unsigned writes = target.fake[0].write_count;

	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(vmm_pci_load(target.fn[0], buf.data, len, &err), -1);
	for (size_t bit = 0; bit < 8 * buf.len; bit++) {
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), -1);
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	look(&target, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(target.fake[0].write_count, writes);
	/* The undamaged copy is accepted: the refusals were due to the damage. */
	assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

static void reseal(struct swo_buf *buf)
{
	uint64_t hash = XXH3_64bits(buf->data, buf->len - 8);

	memcpy(buf->data + buf->len - 8, &hash, 8);
}

static void invalid_values_with_a_correct_hash_are_refused(void **state)
{
	/* Offsets of version, vectors, vendor, command, MSI-X flags, reserved, BAR 0 and 1's
	   address, BAR 2's size, control of table entry 0, a bit beyond the last vector. */
	static const struct {
		unsigned at;
		uint8_t value;
	} lies[] = {{4, 9}, {6, 17}, {8, 0x35}, {12, 0x88}, {14, 0x01}, {19, 1}, {24, 0x10},
		{28, 1}, {32, 1}, {72 + 17, 0x20}, {120 + 12, 2}, {120 + 256 + 2, 1}};
	struct rig rig;
	struct swo_error err;
	struct swo_buf buf;

	(void)state;
	rig_up(&rig, 1, 0);
	save(&rig, 0, &buf);
	unsigned writes = rig.fake[0].write_count;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(lies); i++) {
		uint8_t was = buf.data[lies[i].at];

		assert_int_not_equal(was, lies[i].value);
		buf.data[lies[i].at] = lies[i].value;
		reseal(&buf);
		assert_int_equal(vmm_pci_load(rig.fn[0], buf.data, buf.len, &err), -1);
		assert_non_null(strstr(err.text, "vf0"));
		buf.data[lies[i].at] = was;
	}
	assert_int_equal(rig.fake[0].write_count, writes);
	reseal(&buf);
	assert_int_equal(vmm_pci_load(rig.fn[0], buf.data, buf.len, &err), 0);
	swo_buf_free(&buf);
	rig_down(&rig);
}

struct loader {
	struct vmm_pci_function *fn;
	struct swo_buf *buf;
	int rc;
};

static void *load_thread(void *opaque)
{
	struct loader *loader = opaque;
	struct swo_error err;

	loader->rc = vmm_pci_load(loader->fn, loader->buf->data, loader->buf->len, &err);
	return NULL;
}

static void different_devices_load_at_once(void **state)
{
	struct rig source, target;
	struct loader loader[4];
	struct swo_buf buf[4];
	struct swo_error err;
	pthread_t thread[4];

	(void)state;
	rig_up(&source, 4, 0);
	rig_up(&target, 4, 0);
	for (unsigned i = 0; i < 4; i++) {
		rig_enable(&source, i);
		rig_config_write(&source, rig_bdf(&source, i), 0x18, 0xf4000000 + i * 0x1000, 4);
		save(&source, i, &buf[i]);
		target.fake[i].config_delay_ms = 5;
		loader[i] = (struct loader){target.fn[i], &buf[i], -1};
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
			swo_thread_start(&thread[i], "load", load_thread, &loader[i], &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(loader[i].rc, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++)
			assert_int_equal(
				fake_has_map(&target.fake[i].device, 0xf4000000 + j * 0x1000,
					0x1000, target.fake[j].inbox_fd),
				i != j);
	for (unsigned i = 0; i < 4; i++)
		swo_buf_free(&buf[i]);
	rig_down(&source);
	rig_down(&target);
}

static void the_board_goes_along_and_damage_is_refused(void **state)
{
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf = SWO_BUF_INIT(4096);
	uint32_t latch = 0;

	(void)state;
	rig_up(&source, 1, 1);
	rig_up(&target, 1, 1);
	rig_config_write(&source, 8, 0x19, 0x0909, 2);
	assert_int_equal(vmm_pci_board_save(source.pci, &buf, &err), 0);
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(vmm_pci_board_load(target.pci, buf.data, len, &err), -1);
	for (size_t bit = 0; bit < 8 * buf.len; bit++) {
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(vmm_pci_board_load(target.pci, buf.data, buf.len, &err), -1);
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(rig_config_read(&target, 9 << 8, 0, 4), 0xffffffff);
	assert_int_equal(vmm_pci_board_load(target.pci, buf.data, buf.len, &err), 0);
	vmm_pci_pio_read(target.pci, 0xcf8, &latch, 4);
	assert_int_equal(latch, 0x80000000u | 8 << 8 | 0x18);
	assert_int_equal(rig_config_read(&target, 9 << 8, 0, 4), 0x53561234);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

static void a_board_with_other_ports_is_refused(void **state)
{
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf = SWO_BUF_INIT(4096);

	(void)state;
	rig_up(&source, 1, 1);
	rig_up(&target, 1, 0);
	assert_int_equal(vmm_pci_board_save(source.pci, &buf, &err), 0);
	assert_int_equal(vmm_pci_board_load(target.pci, buf.data, buf.len, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	buf.len = 0;
	assert_int_equal(vmm_pci_board_save(target.pci, &buf, &err), 0);
	assert_int_equal(vmm_pci_board_load(source.pci, buf.data, buf.len, &err), -1);
	swo_buf_free(&buf);
	rig_down(&source);
	rig_down(&target);
}

/* What an image or a reset takes away. */
static void lose(struct fake_pci *fake)
{
	memset(fake->config + 4, 0, 2);
	memset(fake->config + 0x10, 0, 24);
	fake->config[0x43] = 0;
	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		fake->irqs[v] = -1;
}

static void what_the_devices_image_has_overwritten_is_set_again(void **state)
{
	struct rig source, target;
	struct swo_error err;
	struct swo_buf buf;

	(void)state;
	for (int host_enables = 0; host_enables < 2; host_enables++) {
		rig_up(&source, 1, 0);
		rig_up(&target, 1, 0);

		struct fake_pci *fake = &target.fake[0];

		fake->host_enables = host_enables;
		if (host_enables)
			fake->config[0x43] = 0x80;
		program(&source);
		save(&source, 0, &buf);
		vmm_pci_begin_load(target.pci);
		assert_int_equal(vmm_pci_load(target.fn[0], buf.data, buf.len, &err), 0);

		uint8_t before[256];
		int irqs[FAKE_VECTORS];

		memcpy(before, fake->config, sizeof(before));
		memcpy(irqs, fake->irqs, sizeof(irqs));
		/* As it is, the vectors are only set again. */
		fake->irq_sets = fake->irq_offs = 0;
		assert_int_equal(vmm_pci_renew(target.fn[0], false, &err), 0);
		assert_int_equal(fake->irq_sets, 1);
		assert_int_equal(fake->irq_offs, 0);
		lose(fake);
		assert_int_equal(vmm_pci_renew(target.fn[0], false, &err), 0);
		assert_memory_equal(fake->irqs, irqs, sizeof(irqs));
		assert_int_equal(fake->config[4], before[4]);
		assert_int_equal(fake->config[0x43], before[0x43]);
		assert_int_equal(fake->irq_offs, host_enables);
		/* A reset takes the BARs, too. */
		lose(fake);
		assert_int_equal(vmm_pci_renew(target.fn[0], true, &err), 0);
		assert_memory_equal(fake->config, before, sizeof(before));
		assert_memory_equal(fake->irqs, irqs, sizeof(irqs));
		swo_buf_free(&buf);
		rig_down(&source);
		rig_down(&target);
	}
}

static void msix_that_the_guest_has_off_is_set_all_the_same(void **state)
{
	struct rig rig;
	struct swo_error err;

	(void)state;
	rig_up(&rig, 1, 0);
	lose(&rig.fake[0]);
	assert_int_equal(vmm_pci_renew(rig.fn[0], false, &err), 0);
	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		assert_int_equal(rig.fake[0].irqs[v], rig.msi[v].eventfd);
	rig_down(&rig);
}

static void a_server_is_requested_once_and_set_only_where_it_differs(void **state)
{
	struct swo_device_ops remote = *fake_pci_ops();
	struct vmm_pci_device_desc desc = {.id = "vf0", .ops = &remote, .slot = -1};
	struct swo_error err;
	struct rig rig;

	(void)state;
	remote.name = "vfio-user";
	rig_begin(&rig);
	fake_pci_init(&rig.fake[0], "vf0");
	desc.self = &rig.fake[rig.count++];
	assert_int_equal(vmm_pci_add_device(rig.pci, &desc, &rig.fn[0], &err), 0);
	rig_end(&rig);
	rig_enable(&rig, 0);
	rig_config_write(&rig, 8, 0x42, 0x8000, 2);

	const unsigned reads = rig.fake[0].reads, writes = rig.fake[0].write_count;

	rig.fake[0].irq_sets = 0;
	assert_int_equal(vmm_pci_renew(rig.fn[0], false, &err), 0);
	assert_int_equal(rig.fake[0].reads, reads + 1);
	assert_int_equal(rig.fake[0].write_count, writes);
	assert_int_equal(rig.fake[0].irq_sets, 0);
	for (unsigned at = 4; at < 0x44;
		at += 0x3f) { /* COMMAND, then the high byte of the flags */
		const uint8_t before = rig.fake[0].config[at];

		rig.fake[0].config[at] = (uint8_t)~before;
		rig.fake[0].irq_sets = 0;
		assert_int_equal(vmm_pci_renew(rig.fn[0], false, &err), 0);
		assert_int_equal(rig.fake[0].config[at], before);
		assert_true(rig.fake[0].irq_sets > 0);
	}
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loaded_device_looks_to_the_guest_as_the_saved_one_did),
		cmocka_unit_test(the_command_is_written_last_and_once_a_session),
		cmocka_unit_test(saving_twice_gives_the_same_bytes_and_accesses_no_device),
		cmocka_unit_test(pending_interrupts_arrive_and_stale_ones_go),
		cmocka_unit_test(cut_or_flipped_anywhere_it_is_refused_and_nothing_changes),
		cmocka_unit_test(invalid_values_with_a_correct_hash_are_refused),
		cmocka_unit_test(different_devices_load_at_once),
		cmocka_unit_test(the_board_goes_along_and_damage_is_refused),
		cmocka_unit_test(a_board_with_other_ports_is_refused),
		cmocka_unit_test(what_the_devices_image_has_overwritten_is_set_again),
		cmocka_unit_test(msix_that_the_guest_has_off_is_set_all_the_same),
		cmocka_unit_test(a_server_is_requested_once_and_set_only_where_it_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
