/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sriov.c - machines with VFs of an (emulated) PCIe function, driven by simvf_pci.ko by the rules
 * of real drivers: real configuration space, IOMMU, MSI-X, FLR and VF tokens.
 */
#include "tests/e2e/e2e.h"

#include <unistd.h>

static struct pair_config config;
static struct pair pair;

static const struct pair_config *machine(void)
{
	config = e2e_config();
	config.backend = "pci";
	config.profile = "even";
	config.ram = "16M";
	config.dirty_rate = 50;
	config.dma_pages = 8;
	config.irq_every = 2;
	config.doorbell_period_us = 10000;
	/* Debian's kernels cannot report a log, and behind an IOMMU type1 has none. */
	config.no_dma_log = true;
	return &config;
}

static void put_rules(const char *rules)
{
	for (unsigned i = 0; i < 2 * pair.vfs; i++)
		e2e_must(&pair, pair_kernel_put(&pair, PAIR_SOURCE, i, "rules", rules, err));
}

static void begin(unsigned vfs, const char *rules)
{
	e2e_must(&pair, pair_init(&pair, machine(), vfs, "parallel", err));
	put_rules(rules);
	e2e_must(&pair, pair_start(&pair, err) || pair_boot(&pair, err));
}

/* What the host's interrupt controller has delivered for this function. */
static unsigned long interrupts(enum pair_side side, unsigned i)
{
	char address[PAIR_BDF_MAX], line[512];
	FILE *file = fopen("/proc/interrupts", "re");
	unsigned long sum = 0;

	assert_non_null(file);
	pair_pci_address(&pair, side, i, address);
	while (fgets(line, sizeof(line), file)) {
		char *at = strchr(line, ':'), *end;

		if (!at || !strstr(line, address))
			continue;
		for (at++;; at = end) {
			unsigned long one = strtoul(at, &end, 10);

			if (end == at)
				break;
			sum += one;
		}
	}
	fclose(file);
	return sum;
}

static void interrupts_go_on(enum pair_side side)
{
	for (unsigned i = 0; i < pair.vfs; i++) {
		swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);
		unsigned long before = interrupts(side, i);

		while (interrupts(side, i) < before + 3) {
			if (swo_deadline_passed(guard)) {
				struct swo_error err = {0};

				swo_error_set(&err, SWO_E_TIMEOUT, 0,
					"vf%u: no more than %lu interrupts", i, before);
				e2e_fail(&pair, pair_side_name(side), &err);
			}
			usleep(20000);
		}
	}
}

static json_t *report(enum pair_side side, unsigned i)
{
	struct swo_error err = {0};
	json_t *answer = pair_report(&pair, side, i, &err);

	if (!answer)
		e2e_fail(&pair, "report", &err);
	return answer;
}

static void states_are_equal(bool has_p2p)
{
	for (unsigned i = 0; i < pair.vfs; i++) {
		json_t *from = report(PAIR_SOURCE, i), *to = report(PAIR_TARGET, i);

		assert_string_equal(
			json_path_string(from, "state_hash"), json_path_string(to, "state_hash"));
		/* Without P2P states there is no order to keep. */
		if (has_p2p)
			assert_true(json_path_number(to, "p2p_order_violations") == 0);
		json_decref(from);
		json_decref(to);
	}
}

static void migrate(const char *expected, char *text, size_t room)
{
	struct swo_error failure = {0};
	char status[PAIR_STATUS_MAX];

	e2e_must(&pair, pair_migrate(&pair, err));
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	json_t *info = pair_qmp(&pair, PAIR_SOURCE, "query-migrate", NULL, &failure);

	snprintf(text, room, "%s", json_path_string(info, "error-desc"));
	json_decref(info);
	if (strcmp(status, expected) != 0) {
		swo_error_set(&failure, SWO_E_STATE, 0, "%s: %s", status, text);
		e2e_fail(&pair, "the migration", &failure);
	}
}

static void moves(unsigned vfs, const char *rules, json_t *parameters)
{
	char text[512];

	begin(vfs, rules);
	pair.parameters = parameters;
	interrupts_go_on(PAIR_SOURCE);
	migrate("completed", text, sizeof(text));
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	states_are_equal(!parameters);
	interrupts_go_on(PAIR_TARGET);
	pair_free(&pair, false);
	json_decref(parameters);
}

static void is_refused(const char *rules, json_t *parameters, const char *words)
{
	char text[512];

	begin(2, rules);
	pair.parameters = parameters;
	migrate("failed", text, sizeof(text));
	if (!strstr(text, words))
		fail_msg("'%s' without '%s'", text, words);
	e2e_rings_on(&pair, PAIR_SOURCE, 0);
	interrupts_go_on(PAIR_SOURCE);
	pair_free(&pair, false);
	json_decref(parameters);
}

/* The image ends MSI-X and bus mastering, with which the function sends its interrupts. */
static void by_the_rules_of_mlx5_vfs_move_and_their_interrupts_go_on(void **state)
{
	(void)state;
	moves(2, "mlx5", NULL);
}

static void so_do_four(void **state)
{
	(void)state;
	moves(4, "mlx5", NULL);
}

static void without_p2p_two_are_refused_by_default(void **state)
{
	(void)state;
	is_refused("hisilicon", NULL, "allow-no-p2p");
}

static void without_p2p_they_move_if_that_is_wanted(void **state)
{
	(void)state;
	moves(2, "hisilicon", json_pack("{s:b}", "x-allow-no-p2p", 1));
}

static void ram_that_nothing_tracks_is_refused_by_default(void **state)
{
	(void)state;
	is_refused("mlx5", json_pack("{s:b}", "x-allow-no-dirty-tracking", 0),
		"x-allow-no-dirty-tracking");
}

static void by_the_rules_of_virtio_they_move(void **state)
{
	(void)state;
	moves(2, "virtio", NULL);
}

static void by_the_rules_of_qat_they_move(void **state)
{
	(void)state;
	moves(2, "qat", NULL);
}

static void by_the_rules_of_xe_they_move(void **state)
{
	(void)state;
	moves(2, "xe", NULL);
}

static void resets_that_are_busy_once_are_asked_for_again(void **state)
{
	(void)state;
	moves(2, "mlx5 reset-again", NULL);
}

static void set_flr_ms(unsigned ms)
{
	FILE *file = fopen("/sys/module/simvf_pci/parameters/flr_ms", "we");

	assert_non_null(file);
	assert_true(fprintf(file, "%u", ms) > 0);
	assert_int_equal(fclose(file), 0);
}

/* A machine that starts resets its devices first, and waits for that. */
static void a_reset_that_takes_its_time_is_waited_for(void **state)
{
	(void)state;
	const uint64_t begun = swo_now_ns();

	set_flr_ms(1500);
	moves(2, "mlx5", NULL);
	set_flr_ms(0);
	assert_true(swo_now_ns() - begun >= UINT64_C(1500000000));
}

/* lab-sriov [others] */
int main(int argc, char **argv)
{
	const struct CMUnitTest quick[] = {
		e2e_test(by_the_rules_of_mlx5_vfs_move_and_their_interrupts_go_on),
		e2e_test(so_do_four),
		e2e_test(without_p2p_two_are_refused_by_default),
		e2e_test(without_p2p_they_move_if_that_is_wanted),
	};
	const struct CMUnitTest others[] = {
		e2e_test(ram_that_nothing_tracks_is_refused_by_default),
		e2e_test(by_the_rules_of_virtio_they_move),
		e2e_test(by_the_rules_of_qat_they_move),
		e2e_test(by_the_rules_of_xe_they_move),
		e2e_test(resets_that_are_busy_once_are_asked_for_again),
		e2e_test(a_reset_that_takes_its_time_is_waited_for),
	};

	process_init();
	if (argc > 1 && !strcmp(argv[1], "others"))
		return cmocka_run_group_tests_name("VFs by other rules", others, NULL, NULL);
	return cmocka_run_group_tests_name("VFs of a PCIe function", quick, NULL, NULL);
}
