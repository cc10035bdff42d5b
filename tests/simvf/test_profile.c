/* SPDX-License-Identifier: BSD-3-Clause */
/* Profiles: the built-in ones have the figures of the design, and text is parsed strictly. */
#include "rig.h"
#include "simvf/profiles/named.h"

#include <stdio.h>
#include <unistd.h>

static void built_in_profiles_have_their_figures(void **state)
{
	(void)state;
	struct svf_profile p;
	struct swo_error err;

	assert_int_equal(svf_profile_load("even", &p, &err), 0);
	assert_string_equal(p.name, "even");
	assert_int_equal(p.to_p2p_ns + p.to_stop_copy_ns + p.resuming_to_stop_ns +
				 p.to_running_p2p_ns + p.to_running_ns,
		125 * MS);
	assert_int_equal(p.state_bytes, 65536);
	assert_int_equal(p.precopy_percent, 50);
	assert_int_equal(svf_profile_load("cx7", &p, &err), 0);
	assert_int_equal(p.state_bytes, 20 << 20);
	assert_int_equal(p.save_rate, 400000000);
	assert_int_equal(p.load_rate, 420000000);
	assert_int_equal(p.config_load_ns, 70 * MS);
	assert_true(p.guesses && p.shared_pf);
	for (unsigned own = 0; own < 2; own++)
		for (unsigned large = 0; large < 2; large++) {
			char name[64];

			snprintf(name, sizeof(name), "cx7-measured%s%s", large ? "-102m" : "",
				own ? "-own" : "");
			assert_int_equal(svf_profile_load(name, &p, &err), 0);
			assert_string_equal(p.name, name);
			assert_int_equal(p.state_bytes, (large ? 102 : 20) << 20);
			assert_int_equal(p.save_rate, 600000000);
			assert_int_equal(p.load_rate, 1200000000);
			assert_int_equal(p.load_fixed_ns, 140 * MS);
			assert_int_equal(p.config_load_ns, 70 * MS);
			assert_true(p.shared_pf == !own && svf_profile_shares_pf(name) == !own);
		}
	assert_int_equal(svf_profile_load("vf-small", &p, &err), 0);
	assert_false(p.shared_pf || svf_profile_shares_pf("mixed"));
	assert_int_equal(p.load_fixed_ns, 140 * MS);
	assert_int_equal(svf_profile_load("instant", &p, &err), 0);
	assert_int_equal(p.to_p2p_ns + p.save_rate + p.precopy_percent, 0);
	assert_int_equal(p.state_bytes, 1 << 20);
	assert_false(p.guesses);
	assert_int_equal(svf_profile_load("mixed-big", &p, &err), 0);
	assert_int_equal(p.state_bytes, 64 << 20);
	assert_int_equal(p.save_rate, 300000000);
	assert_int_equal(svf_profile_load("mixed-mlx5", &p, &err), 0);
	assert_int_equal(svf_profile_load("mixed-qat", &p, &err), 0);
	assert_int_equal(svf_profile_load("mixed-instant", &p, &err), 0);
}

static void an_unknown_profile_names_those_that_exist(void **state)
{
	(void)state;
	struct svf_profile p;
	struct swo_error err;

	assert_int_equal(svf_profile_load("evn", &p, &err), -1);
	assert_non_null(strstr(err.text, "even"));
	assert_int_equal(svf_profile_load("/does/not/exist.ini", &p, &err), -1);
	assert_int_equal(svf_profile_load("/", &p, &err), -1);
}

static void a_profile_may_be_a_file(void **state)
{
	(void)state;
	char path[] = "/tmp/simvf-profile-XXXXXX";
	int fd = mkstemp(path);
	struct svf_profile p;
	struct swo_error err;
	const char text[] = "to_p2p_ms = 1.5\nstate_bytes=3M\n";

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	assert_int_equal(svf_profile_load(path, &p, &err), 0);
	assert_int_equal(p.to_p2p_ns, 1500000);
	assert_int_equal(p.state_bytes, 3 << 20);
	unlink(path);
}

static bool understood(const char *text)
{
	struct svf_profile p;
	const char *why = NULL;
	unsigned line;

	svf_profile_init(&p);
	if (svf_profile_parse(&p, text, strlen(text), &line, &why))
		return true;
	assert_non_null(why);
	return false;
}

static void text_is_read_strictly(void **state)
{
	(void)state;
	static const char *const good[] = {"", "\n\n", "# nothing\n", "to_p2p_ms=0",
		"  to_p2p_ms  =  25.25   # why\r\n", "state_bytes = 16G", "state_bytes = 0",
		"save_rate = 0.5", "guesses = to_p2p_ms", "precopy_percent = 100"};
	static const char *const bad[] = {"to_p2p_ms", "to_p2p_ms =", "= 5", "to_p2p = 5",
		"to_p2p_ms = -1", "to_p2p_ms = 5x", "to_p2p_ms = 1 2", "to_p2p_ms = 3600001",
		"state_bytes = 17G", "state_bytes = 1T", "state_bytes = 99999999999999999999",
		"precopy_percent = 101", "precopy_percent = 1.5", "save_rate = 1000001",
		"save_rate = 99999999999999999999", "[section]"};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(good); i++)
		if (!understood(good[i]))
			fail_msg("'%s' was rejected", good[i]);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		if (understood(bad[i]))
			fail_msg("'%s' was accepted", bad[i]);
}

static void an_error_names_its_line(void **state)
{
	(void)state;
	static const char text[] = "to_p2p_ms = 5\n# fine\nto_running_ms = soon\n";
	struct svf_profile p;
	const char *why;
	unsigned line;

	svf_profile_init(&p);
	assert_false(svf_profile_parse(&p, text, sizeof(text) - 1, &line, &why));
	assert_int_equal(line, 3);
	assert_int_equal(p.to_p2p_ns, 5 * MS);
}

static void sizes_are_rounded_up_to_whole_blocks(void **state)
{
	(void)state;
	struct svf_profile p;
	const char *why;

	svf_profile_init(&p);
	assert_true(svf_profile_set(&p, "state_bytes", "4097", &why));
	assert_int_equal(p.state_bytes, 8192);
	assert_true(svf_profile_set(&p, "state_bytes", "64k", &why));
	assert_int_equal(p.state_bytes, 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(built_in_profiles_have_their_figures),
		cmocka_unit_test(an_unknown_profile_names_those_that_exist),
		cmocka_unit_test(a_profile_may_be_a_file),
		cmocka_unit_test(text_is_read_strictly),
		cmocka_unit_test(an_error_names_its_line),
		cmocka_unit_test(sizes_are_rounded_up_to_whole_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
