/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * out.c - what a probe found, for people.
 */
#include "cmd/probe/probe.h"

#define STATES SWO_DEVICE_STATES

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / 1048576.0;
}

/* The description */

static void write_regions(FILE *to, const struct swo_probe_info *info)
{
	static const char *const names[SWO_PROBE_REGIONS] = {
		"BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5", "ROM", "config", "VGA"};

	fputs("  regions      ", to);
	for (unsigned i = 0, n = 0; i < SWO_PROBE_REGIONS; i++) {
		const struct swo_region_info *r = &info->regions[i];

		if (r->size)
			fprintf(to, "%s%s %llu bytes%s", n++ ? ", " : "", names[i],
				(unsigned long long)r->size,
				r->flags & 4 ? " (can be mapped)" : "");
	}
	fputc('\n', to);
}

static void write_irqs(FILE *to, const struct swo_probe_info *info)
{
	static const char *const names[SWO_PROBE_IRQS] = {
		"INTx", "MSI", "MSI-X", "error", "request"};
	unsigned n = 0;

	fputs("  interrupts   ", to);
	for (unsigned i = 0; i < SWO_PROBE_IRQS; i++)
		if (info->irqs[i].count)
			fprintf(to, "%s%u %s", n++ ? ", " : "", info->irqs[i].count, names[i]);
	fputs(n ? "\n" : "none\n", to);
}

void probe_write_info(FILE *to, const struct probe_device *device)
{
	const struct swo_probe_info *info = &device->info;

	fprintf(to, "%s  %s\n", device->name, device->spec);
	if (!device->described) {
		fprintf(to, "  %s\n", device->err.text);
		return;
	}
	fprintf(to, "  backend      %s\n", device->ops->name);
	fprintf(to, "  migration   %s%s%s\n",
		info->mig_flags & SWO_MIG_STOP_COPY ? " STOP_COPY" : "",
		info->mig_flags & SWO_MIG_P2P ? " P2P" : "",
		info->mig_flags & SWO_MIG_PRE_COPY ? " PRE_COPY" : "");
	fprintf(to, "  state        %s\n", swo_device_state_name(info->state));
	if (info->has_data_size)
		fprintf(to, "  data size    %llu bytes\n", (unsigned long long)info->data_size);
	fprintf(to, "  offers      %s%s%s%s%s\n",
		info->features & SWO_FEATURE_DATA_SIZE ? " MIG_DATA_SIZE" : "",
		info->features & SWO_FEATURE_PRECOPY_INFO ? " PRECOPY_INFO" : "",
		info->features & SWO_FEATURE_PRECOPY_INFO_V2 ? " PRECOPY_INFOv2" : "",
		info->features & SWO_FEATURE_DMA_LOG ? " DMA_LOGGING" : "",
		info->features & SWO_FEATURE_RESET ? " reset" : "");
	write_regions(to, info);
	write_irqs(to, info);
}

/* The report:
 */

static void write_results(FILE *to, const struct swo_probe_device *device, bool verbose)
{
	static const char *const heads[] = {"pass", "skip", "RISK", "FAIL"};
	unsigned counts[4] = {0};

	for (unsigned i = 0; i < device->result_count; i++)
		counts[device->results[i].verdict]++;
	fprintf(to, "%s: %u checks: %u passed, %u failed, %u risks, %u skipped%s%s\n", device->name,
		device->result_count, counts[SWO_VERDICT_PASS], counts[SWO_VERDICT_FAIL],
		counts[SWO_VERDICT_RISK], counts[SWO_VERDICT_SKIP],
		counts[SWO_VERDICT_SKIP] && !verbose ? " (--verbose lists them)" : "",
		device->lost ? "; it hung or went away, the rest was not tried" : "");
	for (int verdict = SWO_VERDICT_FAIL; verdict >= 0; verdict--)
		for (unsigned i = 0; i < device->result_count; i++) {
			const struct swo_probe_result *r = &device->results[i];

			if ((int)r->verdict != verdict || (verdict < SWO_VERDICT_RISK && !verbose))
				continue;
			fprintf(to, "  %s  %-36s %s\n", heads[verdict], r->name, r->text);
			if (verdict >= SWO_VERDICT_RISK)
				fprintf(to, "        %s\n", swo_probe_rule(r->name));
		}
}

static void write_costs(FILE *to, const struct swo_probe_device *device)
{
	bool any = false;

	for (unsigned from = 0; from < STATES; from++)
		for (unsigned at = 0; at < STATES; at++) {
			const struct swo_probe_cost *cost = &device->arcs[from][at];

			if (!cost->count)
				continue;
			if (!any)
				fprintf(to, "  %-32s %10s %10s  (ms)\n", "arc", "median", "max");
			any = true;
			fprintf(to, "  %-14s -> %-14s %10.3f %10.3f\n",
				swo_device_state_name((enum swo_device_state)from),
				swo_device_state_name((enum swo_device_state)at), ms(cost->median),
				ms(cost->max));
		}
	if (device->reset.count)
		fprintf(to, "  %-32s %10.3f %10.3f\n", "reset", ms(device->reset.median),
			ms(device->reset.max));
	if (!device->state_bytes || !device->save.median || !device->load.median)
		return;
	fprintf(to,
		"  state of %llu bytes (%llu of them before the stop): save %.3f ms (%.2f ms a "
		"MiB), load %.3f ms (%.2f ms a "
		"MiB)\n",
		(unsigned long long)device->state_bytes, (unsigned long long)device->precopy_bytes,
		ms(device->save.median), ms(device->save.median) / mib(device->state_bytes),
		ms(device->load.median), ms(device->load.median) / mib(device->state_bytes));
}

static void write_sibling(FILE *to, const char *what, const struct swo_probe_siblings *sib)
{
	if (!sib->parallel)
		return;
	fprintf(to, "  %-8s %s: slowest alone %.3f ms, one by one %.3f ms, at once %.3f ms\n", what,
		sib->sharing == SWO_SHARING_UNKNOWN ? "too short to measure"
						    : swo_sharing_name(sib->sharing),
		ms(sib->alone_max), ms(sib->alone_sum), ms(sib->parallel));
}

void probe_write_report(FILE *to, const struct probe_device *devices,
	const struct swo_probe_report *report, bool verbose)
{
	(void)devices;
	for (unsigned i = 0; i < report->device_count; i++) {
		fputc('\n', to);
		write_results(to, &report->devices[i], verbose);
		write_costs(to, &report->devices[i]);
	}
	if (report->quiesce.parallel)
		fputs("\nsiblings\n", to);
	write_sibling(to, "quiesce", &report->quiesce);
	write_sibling(to, "save", &report->save);
	write_sibling(to, "load", &report->load);
}
