/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers in text: digits, no trailing text, within bounds, and an error that names the option. */
#include "base/number.h"
#include "tests/support/cm.h"

#include <string.h>

static void a_number_is_digits_within_bounds(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"", " 1", "1 ", "+1", "-1", "0x1", "1k", "1.5", "99", "18446744073709551616", "x"};
	uint64_t value = 7;

	assert_int_equal(base_number("--n", "12", 1, 64, &value, NULL), 0);
	assert_int_equal(value, 12);
	assert_int_equal(
		base_number("--n", "18446744073709551615", 0, UINT64_MAX, &value, NULL), 0);
	assert_true(value == UINT64_MAX);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		value = 7;
		assert_int_equal(base_number("--n", bad[i], 1, 64, &value, NULL), -1);
		assert_int_equal(value, 7);
	}
	assert_int_equal(base_number("--n", "0", 1, 64, &value, NULL), -1);
}

static void an_error_names_the_option_the_text_and_the_bounds(void **state)
{
	(void)state;
	struct swo_error err;
	uint64_t value;
	double real;

	base_number("--vcpus", "many", 1, 64, &value, &err);
	assert_string_equal(err.text, "--vcpus: expected a number from 1 to 64, got 'many'");
	assert_int_equal(err.code, SWO_E_INVALID);
	base_size("--ram", "4X", 0, 1 << 20, &value, &err);
	assert_string_equal(err.text,
		"--ram: expected a size such as 256M or 1.5G, from 0 to 1048576 bytes, got '4X'");
	base_real("--timeout", "soon", 0.5, 1e6, &real, &err);
	assert_string_equal(err.text, "--timeout: expected a number from 0.5 to 1e+06, got 'soon'");
}

static void a_size_may_have_a_unit(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"0", 0}, {"4096", 4096}, {"3K", 3 << 10}, {"256M", 256 << 20},
		{"4G", UINT64_C(4) << 30}, {"16777215T", UINT64_C(16777215) << 40},
		{"1.5G", UINT64_C(3) << 29}, {"0.25K", 256}, {"0.0009K", 0}, {"2.000000001K", 2048},
		{"16777215.999999999T", UINT64_MAX - 1099}};
	static const char *const bad[] = {"", "M", "4m", "4MB", "4 M", "-4M", "4.5", ".5G", "4.G",
		"4.5.5G", "4.1234567890G", "16777216T", "18446744073709551616"};
	uint64_t value;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(good); i++) {
		assert_int_equal(base_size("--s", good[i].text, 0, UINT64_MAX, &value, NULL), 0);
		assert_true(value == good[i].value);
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		assert_int_equal(base_size("--s", bad[i], 0, UINT64_MAX, &value, NULL), -1);
	assert_int_equal(base_size("--s", "2K", 0, 2047, &value, NULL), -1);
	assert_int_equal(base_size("--s", "2K", 2049, UINT64_MAX, &value, NULL), -1);
}

static void a_real_number_is_finite(void **state)
{
	(void)state;
	static const char *const bad[] = {"", " 1", "1 ", "nan", "inf", "0x1p3", "1e", ".", "101"};
	double value;

	assert_int_equal(base_real("--r", "2.5", 0, 100, &value, NULL), 0);
	assert_true(value > 2.49 && value < 2.51);
	assert_int_equal(base_real("--r", "1e2", 0, 100, &value, NULL), 0);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		assert_int_equal(base_real("--r", bad[i], 0, 100, &value, NULL), -1);
}

static void digits_are_read_up_to_what_follows(void **state)
{
	(void)state;
	const char *at = "1f.7";
	uint64_t value;

	assert_int_equal(base_digits(&at, 16, &value), 0);
	assert_int_equal(value, 0x1f);
	assert_string_equal(at, ".7");
	assert_int_equal(base_digits(&at, 16, &value), -1);
	assert_string_equal(at, ".7");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_digits_within_bounds),
		cmocka_unit_test(an_error_names_the_option_the_text_and_the_bounds),
		cmocka_unit_test(a_size_may_have_a_unit),
		cmocka_unit_test(a_real_number_is_finite),
		cmocka_unit_test(digits_are_read_up_to_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
