/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_msi.c - MSI of a device that has no MSI-X, as a guest programs it, and its migration.
 */
#include "rig.h"
#include "tests/support/cm.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CAP	 0x50
#define BDF	 (1 << 3)
#define FOUR	 (2 << 1) /* it has four vectors */
#define FOUR_ON	 (2 << 4 | 1)
#define WIDE	 0x80
#define MASKABLE 0x100

static void add(struct rig *rig, unsigned flags)
{
	rig_begin(rig);
	fake_pci_init(&rig->fake[0], "vf0");
	fake_pci_msi_only(&rig->fake[0], flags);
	rig_add(rig, "vf0", NULL);
	rig_end(rig);
	rig_enable(rig, 0);
}

static unsigned connected(const struct rig *rig)
{
	unsigned count = 0;

	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		count += rig->fake[0].irqs[v] >= 0;
	return count;
}

static void program(struct rig *rig, unsigned control)
{
	rig_config_write(rig, BDF, CAP + 4, 0xfee01003, 4);
	rig_config_write(rig, BDF, CAP + 8, 0x1, 4);
	rig_config_write(rig, BDF, CAP + 12, 0x4041, 2);
	rig_config_write(rig, BDF, CAP + 2, control, 2);
}

static void a_guest_sees_it_only_without_msix(void **state)
{
	struct rig rig;

	(void)state;
	add(&rig, FOUR | WIDE | MASKABLE | 1); /* enabled by an earlier user */
	assert_int_equal(rig_config_read(&rig, BDF, 0x34, 1), CAP);
	assert_int_equal(rig_config_read(&rig, BDF, CAP, 1), 5);
	assert_int_equal(rig_config_read(&rig, BDF, CAP + 2, 2), FOUR | WIDE | MASKABLE);
	assert_int_equal(connected(&rig), 0);
	rig_down(&rig);

	rig_up(&rig, 1, 0);
	assert_int_equal(rig_config_read(&rig, BDF, 0x34, 1), 0x40);
	assert_int_not_equal(rig_config_read(&rig, BDF, 0x41, 1), CAP);
	rig_down(&rig);
}

static void as_many_vectors_as_the_guest_enables_are_delivered(void **state)
{
	struct rig rig;

	(void)state;
	add(&rig, FOUR | WIDE | MASKABLE);
	program(&rig, FOUR_ON);
	assert_int_equal(connected(&rig), 4);
	for (unsigned v = 0; v < 4; v++) {
		assert_int_equal(rig.fake[0].irqs[v], rig.msi[v].eventfd);
		assert_false(rig.msi[v].masked);
		assert_int_equal(rig.msi[v].addr, 0x1fee01000);
		assert_int_equal(rig.msi[v].data, v ? 0x4040 + v : 0x4041);
	}
	rig_config_write(&rig, BDF, CAP + 2, 0, 2);
	assert_int_equal(connected(&rig), 0);
	assert_true(rig.msi[0].masked);
	rig_config_write(&rig, BDF, CAP + 2, 1, 2); /* one is allowed */
	assert_int_equal(connected(&rig), 1);
	assert_false(rig.msi[0].masked);
	assert_true(rig.msi[1].masked);
	/* The device has the host's address, and no mask of the guest. */
	assert_int_equal(fake_pci_writes(&rig.fake[0], 7, CAP + 4, NULL), 0);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 7, CAP + 2, NULL), 0);
	rig_down(&rig);
}

static void a_masked_vector_is_pending_until_it_is_unmasked(void **state)
{
	struct rig rig;

	(void)state;
	add(&rig, FOUR | WIDE | MASKABLE);
	program(&rig, FOUR_ON);
	rig_config_write(&rig, BDF, CAP + 16, 0x4, 4);
	assert_true(rig.msi[2].masked);
	assert_false(rig.msi[1].masked);
	assert_int_equal(rig_config_read(&rig, BDF, CAP + 20, 4), 0);
	assert_int_equal(eventfd_write(rig.msi[2].eventfd, 1), 0);
	assert_int_equal(rig_config_read(&rig, BDF, CAP + 20, 4), 0x4);
	rig_config_write(&rig, BDF, CAP + 16, 0, 4);
	assert_false(rig.msi[2].masked);
	rig_down(&rig);
}

static void a_narrow_device_has_its_fields_further_down(void **state)
{
	struct rig rig;

	(void)state;
	add(&rig, 0);
	rig_config_write(&rig, BDF, CAP + 4, 0xfee02000, 4);
	rig_config_write(&rig, BDF, CAP + 8, 0x33, 2);
	rig_config_write(&rig, BDF, CAP + 2, 1, 2);
	assert_int_equal(connected(&rig), 1);
	assert_int_equal(rig.msi[0].addr, 0xfee02000);
	assert_int_equal(rig.msi[0].data, 0x33);
	rig_down(&rig);
}

static void it_migrates_with_what_is_pending(void **state)
{
	struct rig source, target;
	struct swo_buf saved = SWO_BUF_INIT(1 << 20);
	struct swo_error err;
	eventfd_t count;

	(void)state;
	add(&source, FOUR | WIDE | MASKABLE);
	add(&target, FOUR | WIDE | MASKABLE);
	program(&source, FOUR_ON);
	rig_config_write(&source, BDF, CAP + 16, 0x2, 4);
	assert_int_equal(eventfd_write(source.msi[1].eventfd, 1), 0);
	assert_int_equal(vmm_pci_save(source.fn[0], &saved, &err), 0);
	vmm_pci_begin_load(target.pci);
	assert_int_equal(vmm_pci_load(target.fn[0], saved.data, saved.len, &err), 0);
	assert_int_equal(connected(&target), 4);
	for (unsigned at = CAP; at < CAP + 24; at += 4)
		assert_int_equal(
			rig_config_read(&target, BDF, at, 4), rig_config_read(&source, BDF, at, 4));
	for (unsigned v = 0; v < 4; v++) {
		assert_int_equal(target.msi[v].masked, v == 1);
		assert_int_equal(v == 1 || target.msi[v].data == source.msi[v].data, 1);
	}
	assert_int_equal(eventfd_read(target.msi[1].eventfd, &count), 0);
	/* Another kind of device does not take it. */
	rig_down(&target);
	rig_up(&target, 1, 0);
	assert_int_equal(vmm_pci_load(target.fn[0], saved.data, saved.len, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	swo_buf_free(&saved);
	rig_down(&target);
	rig_down(&source);
}

static void a_malformed_capability_is_refused(void **state)
{
	static const unsigned bad[] = {6 << 1, 7 << 1, 5 << 1 /* 32, and the device has 16 */};
	struct vmm_pci_device_desc desc = {.id = "vf0", .ops = fake_pci_ops(), .slot = -1};
	struct vmm_pci_function *fn;
	struct swo_error err;

	(void)state;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		struct rig rig;

		rig_begin(&rig);
		fake_pci_init(&rig.fake[0], "vf0");
		fake_pci_msi_only(&rig.fake[0], bad[i]);
		desc.self = &rig.fake[0];
		assert_int_equal(vmm_pci_add_device(rig.pci, &desc, &fn, &err), -1);
		assert_non_null(strstr(err.text, "MSI capability at 0x50"));
		rig.count = 1;
		rig_down(&rig);
	}
}

static void what_a_reset_takes_is_set_again_as_far_as_it_is_on(void **state)
{
	struct swo_error err;
	struct rig rig;

	(void)state;
	add(&rig, FOUR | WIDE);
	assert_int_equal(vmm_pci_renew(rig.fn[0], true, &err), 0);
	assert_int_equal(connected(&rig), 0);
	program(&rig, FOUR_ON);
	assert_int_equal(connected(&rig), 4);
	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		rig.fake[0].irqs[v] = -1;
	rig.fake[0].irq_offs = 0;
	assert_int_equal(vmm_pci_renew(rig.fn[0], true, &err), 0);
	assert_int_equal(connected(&rig), 4);
	assert_int_equal(rig.fake[0].irq_offs, 1);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_reset_takes_is_set_again_as_far_as_it_is_on),
		cmocka_unit_test(a_guest_sees_it_only_without_msix),
		cmocka_unit_test(as_many_vectors_as_the_guest_enables_are_delivered),
		cmocka_unit_test(a_masked_vector_is_pending_until_it_is_unmasked),
		cmocka_unit_test(a_narrow_device_has_its_fields_further_down),
		cmocka_unit_test(it_migrates_with_what_is_pending),
		cmocka_unit_test(a_malformed_capability_is_refused),
	};

	return cmocka_run_group_tests_name("vmm pci msi", tests, NULL, NULL);
}
