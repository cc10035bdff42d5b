/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_machine_cpu.c - the hosts of source and target differ: their CPUs, TSCs and devices. Another
 * host's KVM is this one's, with other answers to a few ioctls.
 */
#include "box.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS_MAX 1024

/* Of the host whose machine is being created */
static struct host {
	bool plain; /* without PLAIN_ECX, nothing in leaf 7 */
	int tsc_percent, tsc_ppm;
} host;
static struct host vcpu_host[FDS_MAX]; /* of each vCPU's descriptor */
static bool is_other[FDS_MAX];
static unsigned hits; /* of answers that were changed */
static uint32_t guest_ecx,
	set_khz; /* leaf 1, and the frequency, as set last in another host's vCPU */

#define PLAIN_ECX (1u << 13) /* CX16: every CPU with 64 bits has it */

static void make_plain(struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx &= ~PLAIN_ECX;
		if (cpuid->entries[i].function == 7 && !cpuid->entries[i].index)
			cpuid->entries[i].ebx = cpuid->entries[i].edx = 0;
	}
	hits++;
}

static int tsc_of(const struct host *of, int khz)
{
	const int changed = of->tsc_percent ? (int)((int64_t)khz * of->tsc_percent / 100) : khz;

	hits++;
	return changed + (int)((int64_t)khz * of->tsc_ppm / 1000000);
}

static void note_cpuid(const struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			guest_ecx = cpuid->entries[i].ecx;
}

/* In place of libc's, for this program. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_SET_TSC_KHZ && fd < FDS_MAX && is_other[fd]) {
		set_khz = (uint32_t)(uintptr_t)arg;
		return 0;
	}
	if (request == KVM_SET_CPUID2 && fd < FDS_MAX && is_other[fd])
		note_cpuid(arg);
	int rc = (int)syscall(SYS_ioctl, fd, request, arg);

	if (request == KVM_CREATE_VCPU && rc >= 0 && rc < FDS_MAX) {
		vcpu_host[rc] = host;
		is_other[rc] = host.plain || host.tsc_percent || host.tsc_ppm;
	}
	if (request == KVM_GET_SUPPORTED_CPUID && !rc && host.plain)
		make_plain(arg);
	if (request == KVM_GET_TSC_KHZ && rc > 0 && fd < FDS_MAX && is_other[fd])
		rc = tsc_of(&vcpu_host[fd], rc);
	return rc;
}

static void kvm_source(struct vmm_machine_config *config)
{
	config->accel = VMM_ACCEL_KVM;
}

static void kvm_target(struct vmm_machine_config *config)
{
	config->accel = VMM_ACCEL_KVM;
	config->incoming = true;
}

static void native_target(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static void no_p2p(struct vmm_machine_config *config)
{
	for (unsigned i = 0; i < config->device_count; i++)
		((struct fake_pci *)config->devices[i].self)->device.flags &= ~SWO_MIG_P2P;
}

static void no_p2p_target(struct vmm_machine_config *config)
{
	no_p2p(config);
	config->incoming = true;
}

static void no_pre_copy_target(struct vmm_machine_config *config)
{
	((struct fake_pci *)config->devices[0].self)->device.flags &= ~SWO_MIG_PRE_COPY;
	config->incoming = true;
}

struct pair {
	struct box source, target;
	struct talk s, t;
};

static void pair_up(struct pair *pair, box_change *source, struct host source_host,
	box_change *target, struct host target_host)
{
	char text[256];

	host = source_host;
	box_up(&pair->source, source);
	host = target_host;
	box_up(&pair->target, target);
	host = (struct host){0};
	talk_open(&pair->s, pair->source.path, true);
	talk_open(&pair->t, pair->target.path, true);
	json_decref(talk_do(&pair->s,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": "
		"60000}}"));
	box_rings(&pair->source);
	box_uri_command(text, "migrate-incoming", &pair->target);
	json_decref(talk_do(&pair->t, text));
}

static void migrate(struct pair *pair)
{
	char text[256];

	box_uri_command(text, "migrate", &pair->target);
	json_decref(talk_do(&pair->s, text));
}

static void pair_down(struct pair *pair)
{
	talk_close(&pair->s);
	talk_close(&pair->t);
	box_down(&pair->source);
	box_down(&pair->target);
}

/* The source runs on without having stopped, and the target waits for another. */
static void expect_refused(struct pair *pair, const char *const *words)
{
	migrate(pair);
	box_wait_migration(&pair->s, "failed");
	json_t *ret = talk_do(&pair->s, "{\"execute\": \"query-migrate\"}");
	const char *why = json_string_value(json_object_get(ret, "error-desc"));

	assert_non_null(why);
	for (; *words; words++)
		if (!strstr(why, *words))
			fail_msg("'%s' without '%s'", why, *words);
	assert_null(strchr(why, '\n'));
	json_decref(ret);
	for (unsigned i = 0; i < BOX_DEVICES; i++)
		assert_int_equal(pair->source.fake[i].device.state, SWO_DEVICE_RUNNING);
	box_expect_status(&pair->s, "running", true);
	box_rings(&pair->source);
	box_wait_migration(&pair->t, "setup");
}

static void expect_moved(struct pair *pair)
{
	migrate(pair);
	box_wait_migration(&pair->s, "completed");
	box_expect_status(&pair->t, "running", true);
	box_rings(&pair->target);
}

static void need_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		skip();
	close(fd);
}

static const struct host plain = {.plain = true}, slower = {.tsc_percent = 67},
			 near = {.tsc_ppm = 200}, same;

static void a_target_whose_cpu_lacks_features_is_refused_and_they_are_named(void **state)
{
	static const char *const words[] = {
		"CPU features: the source has, and the target lacks: cx16", NULL};
	static struct pair pair;

	(void)state;
	need_kvm();
	hits = 0;
	pair_up(&pair, kvm_source, same, kvm_target, plain);
	assert_true(hits);
	expect_refused(&pair, words);
	pair_down(&pair);
}

static void a_target_whose_cpu_has_more_features_hides_them_from_the_guest(void **state)
{
	static struct pair pair;

	(void)state;
	need_kvm();
	hits = 0;
	/* The target's TSC differs, so that its vCPUs are another host's. */
	pair_up(&pair, kvm_source, plain, kvm_target, near);
	assert_true(hits);
	assert_true(guest_ecx & PLAIN_ECX);
	expect_moved(&pair);
	assert_false(guest_ecx & PLAIN_ECX);
	pair_down(&pair);
}

static void a_target_with_another_tsc_frequency_is_refused_with_both(void **state)
{
	static const char *const words[] = {
		"TSC frequency in kHz is '", "' on the source and '", "(within 250 ppm)", NULL};
	static struct pair pair;

	(void)state;
	need_kvm();
	hits = 0;
	pair_up(&pair, kvm_source, same, kvm_target, slower);
	expect_refused(&pair, words);
	assert_true(hits);
	pair_down(&pair);
}

static void a_tsc_frequency_that_is_near_is_set_to_the_sources(void **state)
{
	static struct pair pair;

	(void)state;
	need_kvm();
	hits = 0;
	set_khz = 0;
	pair_up(&pair, kvm_source, same, kvm_target, near);
	expect_moved(&pair);
	assert_true(hits);
	assert_true(set_khz != 0);
	pair_down(&pair);
}

static void another_accelerator_is_refused_with_both(void **state)
{
	static const char *const words[] = {"line 1 of the machine is 'machine switchover-1, "
					    "accelerator kvm' on the source and 'machine "
					    "switchover-1, accelerator native' on the target",
		NULL};
	static struct pair pair;

	(void)state;
	need_kvm();
	pair_up(&pair, kvm_source, same, native_target, same);
	expect_refused(&pair, words);
	pair_down(&pair);
}

static void several_devices_without_p2p_are_refused_unless_the_override_is_set(void **state)
{
	static const char *const words[] = {"device vf0 has no P2P state", "x-allow-no-p2p", NULL};
	static struct pair pair;

	(void)state;
	pair_up(&pair, no_p2p, same, no_p2p_target, same);
	expect_refused(&pair, words);
	json_decref(talk_do(&pair.s,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"x-allow-no-p2p\": "
		"true}}"));
	expect_moved(&pair);
	pair_down(&pair);
}

static void a_target_with_other_states_of_a_device_is_refused_with_both(void **state)
{
	static const char *const p2p[] = {"device vf0 has no P2P state on the target", NULL},
				 *const pre_copy[] = {
					 "line 3 of the machine", "states 0x7", "states 0x3", NULL};
	static struct pair pair;

	(void)state;
	pair_up(&pair, NULL, same, no_p2p_target, same);
	expect_refused(&pair, p2p);
	pair_down(&pair);
	pair_up(&pair, NULL, same, no_pre_copy_target, same);
	expect_refused(&pair, pre_copy);
	pair_down(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_target_whose_cpu_lacks_features_is_refused_and_they_are_named),
		cmocka_unit_test(a_target_whose_cpu_has_more_features_hides_them_from_the_guest),
		cmocka_unit_test(a_target_with_another_tsc_frequency_is_refused_with_both),
		cmocka_unit_test(a_tsc_frequency_that_is_near_is_set_to_the_sources),
		cmocka_unit_test(another_accelerator_is_refused_with_both),
		cmocka_unit_test(
			several_devices_without_p2p_are_refused_unless_the_override_is_set),
		cmocka_unit_test(a_target_with_other_states_of_a_device_is_refused_with_both),
	};
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
