/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.c - measures the wire rate of the lower bound: the throughput of plain sockets in the
 * yardstick (chain), with a row's number of devices and bytes.
 */
#include "base/shell.h"
#include "cmd/common/qmp_client.h"
#include "testbed/bench/row.h"
#include "testbed/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *bench_find_chain(struct swo_error *err)
{
	static const char *const places[] = {
		"testbed/yardstick/chain", "../libexec/switchover/chain"};
	static char path[4200];

	for (size_t i = 0; i < SWO_ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/%s", process_program_dir(), places[i]);
		if (!access(path, X_OK))
			return path;
	}
	swo_error_set(err, SWO_E_IO, 0,
		"cannot find the yardstick (chain) that measures the wire of the lower bound: neither "
		"'%s/%s' nor '%s' exists",
		process_program_dir(), places[0], path);
	return NULL;
}

/* Median bytes that a device sends after the stop, over all runs and devices of the row. */
static double typical_bytes(const struct bench_row *row)
{
	double sum = 0;
	unsigned count = 0;

	for (unsigned i = 0; i < row->count; i++)
		for (unsigned d = 0; row->samples[i].devices && d < row->vfs; d++, count++)
			sum += (double)row->samples[i].devices[d].costs.state_bytes;
	return count && sum >= count ? sum / count : 1;
}

int bench_measure_wire(
	const struct bench_config *config, struct bench_row *row, struct swo_error *err)
{
	const char *chain = bench_find_chain(err);
	char command[4400], program[4200];

	if (!chain)
		return -1;
	if (!base_shell_quote(chain, program, sizeof(program)))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "the path of the yardstick is too long: %s", chain);
	/* Long transfers need few rounds; short ones are noisy and need more. */
	double bytes = typical_bytes(row);
	snprintf(command, sizeof(command),
		"exec %s --devices %u --bytes %.0f --channel %s --channels %u --repeat %u", program,
		row->vfs, bytes, config->pair.channel, config->pair.channels,
		bytes * row->vfs > (32 << 20) ? 5 : 25);
	FILE *out = popen(command, "re");
	if (!out)
		return swo_error_set(err, SWO_E_IO, errno, "run the yardstick (chain)");
	json_t *answer = json_loadf(out, JSON_DISABLE_EOF_CHECK, NULL);
	int status = pclose(out);
	/* A lower bound takes the best rate, not the median. */
	row->wire_rate = json_path_number(answer, "bytes_per_s_best");
	row->rtt_ms = json_path_number(answer, "rtt_ns") / 1e6;
	json_decref(answer);
	row->rtt_ms += config->pair.link_rtt_ms;
	if (config->pair.link_rate && (double)config->pair.link_rate < row->wire_rate)
		row->wire_rate = (double)config->pair.link_rate;
	if (status || row->wire_rate <= 0)
		return swo_error_set(
			err, SWO_E_IO, 0, "the yardstick (chain) failed with status %d", status);
	return 0;
}
