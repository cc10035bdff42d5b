/* SPDX-License-Identifier: BSD-3-Clause */
/* Structures of a program that was compiled with earlier or later headers. */
#include "base/sized.h"
#include "tests/support/cm.h"

#include <string.h>

/* As the library has it, as it was, and as it will be. */
struct now {
	size_t size;
	int a, b;
};
struct earlier {
	size_t size;
	int a;
};
struct later {
	size_t size;
	int a, b;
	void *c;
};

static void a_structure_of_the_same_headers_is_copied(void **state)
{
	(void)state;
	struct now from = {.size = sizeof(from), .a = 1, .b = 2}, to;

	assert_int_equal(base_sized_copy("now", &to, sizeof(to), &from, NULL), 0);
	assert_int_equal(to.a, 1);
	assert_int_equal(to.b, 2);
}

static void a_field_that_an_earlier_program_lacks_is_0(void **state)
{
	(void)state;
	struct {
		struct earlier from;
		int garbage[4];
	} old = {.from = {.size = offsetof(struct now, b), .a = 1}, .garbage = {7, 7, 7, 7}};
	struct now to;

	memset(&to, 0xff, sizeof(to));
	assert_int_equal(base_sized_copy("now", &to, sizeof(to), &old, NULL), 0);
	assert_int_equal(to.a, 1);
	assert_int_equal(to.b, 0);
}

static void a_field_of_a_later_program_is_refused_unless_it_is_0(void **state)
{
	(void)state;
	struct later from = {.size = sizeof(from), .a = 1, .b = 2};
	struct swo_error err;
	struct now to;

	assert_int_equal(base_sized_copy("now", &to, sizeof(to), &from, &err), 0);
	assert_int_equal(to.b, 2);
	from.c = &to;
	assert_int_equal(base_sized_copy("now", &to, sizeof(to), &from, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "struct now of 24 bytes has a field"));
}

static void a_size_that_was_not_set_is_refused(void **state)
{
	(void)state;
	struct now from = {.a = 1}, to;
	struct swo_error err;

	assert_int_equal(base_sized_copy("now", &to, sizeof(to), &from, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_string_equal(
		err.text, "the size of a struct now is 0; set it to sizeof(struct now)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_structure_of_the_same_headers_is_copied),
		cmocka_unit_test(a_field_that_an_earlier_program_lacks_is_0),
		cmocka_unit_test(a_field_of_a_later_program_is_refused_unless_it_is_0),
		cmocka_unit_test(a_size_that_was_not_set_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
