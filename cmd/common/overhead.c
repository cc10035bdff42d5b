/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overhead.c - see overhead.h. Times in ms and a rate in MB/s, as in the profiles of devices.
 */
#include "cmd/common/overhead.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT	 "switchover-costs"
#define MS_MAX	 60000.0
#define RATE_MIN 0.1
#define RATE_MAX 1e6

static double ms(uint64_t ns)
{
	return rint((double)ns / 1e3) / 1e3;
}

json_t *overhead_json(const struct swo_engine_overhead *overhead)
{
	return json_pack("{s:f, s:f, s:f, s:f}", "fixed_ms", ms(overhead->fixed_ns), "arc_ms",
		ms(overhead->arc_ns), "stream_ms", ms(overhead->stream_ns), "state_rate",
		rint((double)overhead->state_rate / 1e5) / 10);
}

void overhead_text(const struct swo_engine_overhead *overhead, char *text, size_t size)
{
	snprintf(text, size,
		"%.2f ms once, %.3f an arc, %.3f a device's stream, %.0f MB/s of state%s",
		ms(overhead->fixed_ns), ms(overhead->arc_ns), ms(overhead->stream_ns),
		(double)overhead->state_rate / 1e6, overhead->state_rate ? "" : " (no limit)");
}

int overhead_write(const char *path, const struct swo_engine_overhead *overhead,
	const json_t *measured, struct swo_error *err)
{
	json_t *object = json_pack("{s:s, s:i}", "format", FORMAT, "version", 1);
	json_t *figures = overhead_json(overhead);
	int rc = !object || !figures || json_object_update(object, figures) ||
		 (measured && json_object_set(object, "measured", (json_t *)(uintptr_t)measured));

	json_decref(figures);
	if (rc)
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "'%s'", path);
	else if ((rc = json_dump_file(object, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9))))
		swo_error_set(err, SWO_E_IO, errno, "write '%s'", path);
	json_decref(object);
	return rc ? -1 : 0;
}

static int figure(const json_t *root, const char *path, const char *key, double max, double unit,
	uint64_t *out, struct swo_error *err)
{
	const json_t *value = json_object_get(root, key);
	double number = json_number_value(value);

	if (!json_is_number(value) || !(number >= 0 && number <= max))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--costs '%s': %s is not a number from 0 to %.0f", path, key, max);
	*out = (uint64_t)llrint(number * unit);
	return 0;
}

static int read_object(const json_t *root, const char *path, struct swo_engine_overhead *out,
	struct swo_error *err)
{
	const char *format = json_string_value(json_object_get(root, "format"));

	if (!format || strcmp(format, FORMAT) != 0 ||
		json_integer_value(json_object_get(root, "version")) != 1)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--costs '%s': not a file of costs; `switchover-bench calibrate` writes one",
			path);
	if (figure(root, path, "fixed_ms", MS_MAX, 1e6, &out->fixed_ns, err) ||
		figure(root, path, "arc_ms", MS_MAX, 1e6, &out->arc_ns, err) ||
		figure(root, path, "stream_ms", MS_MAX, 1e6, &out->stream_ns, err) ||
		figure(root, path, "state_rate", RATE_MAX, 1e6, &out->state_rate, err))
		return -1;
	if (out->state_rate && (double)out->state_rate < RATE_MIN * 1e6)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--costs '%s': state_rate is below %.1f MB/s; 0 means no limit", path,
			RATE_MIN);
	return 0;
}

int overhead_read(const char *path, struct swo_engine_overhead *out, struct swo_error *err)
{
	FILE *file = fopen(path, "re");
	json_error_t why;

	*out = (struct swo_engine_overhead){0};
	if (!file)
		return swo_error_set(err, SWO_E_IO, errno, "--costs: open '%s'", path);
	json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &why);

	fclose(file);
	if (!root)
		return swo_error_set(err, SWO_E_INVALID, 0, "--costs '%s', line %d: %s", path,
			why.line, why.text);
	int rc = read_object(root, path, out, err);

	json_decref(root);
	return rc;
}
