/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The saved stream: complete and verified after a load, rejected if any part is malformed, for
 * any size of the pieces; what PRE_COPY sends, and at what rate.
 */
#include "model/internal.h"
#include "rig.h"

#define SEED   1
#define TARGET 99 /* another device's seed */
#define BLOCK  (32 + 4096)
#define HEADER 64
#define ENDING (32 + 16)
#define REGS   (32 + sizeof(struct svf_wire_regs))

static uint64_t random_state = 0x1234567;

static uint64_t random_below(uint64_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (random_state >> 33) % n;
}

static struct rig *worked(uint64_t blocks, uint32_t precopy)
{
	struct svf_profile profile = rig_profile(blocks * 4096, precopy);
	struct rig *rig = rig_new(&profile, 7, SEED);

	for (uint64_t n = 1; n <= 50; n++) {
		rig_doorbell(rig, 0, n);
		rig_doorbell(rig, 63, n + n / 10);
	}
	rig->inbox[SIMVF_INBOX_SLOT(5) / 8] = 77;
	return rig;
}

static struct rig *resuming(uint64_t blocks)
{
	struct svf_profile profile = rig_profile(blocks * 4096, 0);
	struct rig *rig = rig_new(&profile, 7, TARGET);

	assert_int_equal(rig_go(rig, SVF_RESUMING), 0);
	return rig;
}

static struct bytes saved(struct rig *rig, size_t chunk)
{
	struct bytes stream = {0};

	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	assert_int_equal(
		svf_stop_copy_length(&rig->dev), HEADER + rig->dev.blocks * BLOCK + REGS + ENDING);
	assert_int_equal(rig_read_all(rig, &stream, chunk), 0);
	assert_int_equal(svf_stop_copy_length(&rig->dev), 0);
	return stream;
}

/* True if a device accepts these bytes as its state. */
static bool accepted(const uint8_t *data, size_t len, size_t chunk, uint64_t blocks)
{
	struct rig *rig = resuming(blocks);
	bool good = !rig_write_all(rig, data, len, chunk);

	good = !rig_go(rig, SVF_STOP) && good;
	assert_int_equal(rig->dev.state, good ? SVF_STOP : SVF_RESUMING);
	rig_free(rig);
	return good;
}

static void what_is_saved_loads_and_saves_the_same_in_pieces_of_any_size(void **state)
{
	(void)state;
	static const size_t chunks[] = {1, 7, 31, 32, 4096, 4127, 4128, 4129, 10000, 1 << 20};

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		size_t back = chunks[sizeof(chunks) / sizeof(chunks[0]) - 1 - i];
		struct rig *source = worked(9, 0), *target = resuming(9);
		struct bytes first = saved(source, chunks[i]), second;

		assert_int_equal(rig_write_all(target, first.data, first.len, back), 0);
		assert_int_equal(rig_go(target, SVF_STOP), 0);
		assert_true(target->dev.stats.state_hash == source->dev.stats.state_hash);
		assert_int_equal(target->inbox[SIMVF_INBOX_SLOT(5) / 8], 77);
		second = saved(target, chunks[i]);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		assert_int_equal(target->dev.stats.state_mismatches, 0);
		assert_int_equal(target->dev.stats.bytes_loaded, first.len);
		assert_int_equal(source->dev.stats.bytes_saved, first.len);
		free(first.data);
		free(second.data);
		rig_free(source);
		rig_free(target);
	}
}

static void the_target_goes_on_counting_where_the_source_stopped(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = saved(source, 4096);

	assert_int_equal(rig_write_all(target, stream.data, stream.len, 4096), 0);
	assert_int_equal(rig_go(target, SVF_RUNNING), 0);
	rig_doorbell(target, 0, 51);
	rig_doorbell(target, 63, 56);
	assert_int_equal(target->dev.stats.lost, 0);
	assert_int_equal(target->dev.stats.repeated, 0);
	rig_doorbell(target, 0, 53);
	rig_doorbell(target, 63, 56);
	assert_int_equal(target->dev.stats.lost, 1);
	assert_int_equal(target->dev.stats.repeated, 1);
	assert_int_equal(rig_get(target, SIMVF_REG_DOORBELLS, 8), 104);
	/* vCPU 63 skipped five numbers at the source; the device's counter includes them */
	assert_int_equal(rig_get(target, SIMVF_REG_LOST, 8), 6);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_truncated_stream_is_refused_wherever_it_is_cut(void **state)
{
	(void)state;
	struct rig *source = worked(5, 0);
	struct bytes stream = saved(source, 4096);

	assert_true(accepted(stream.data, stream.len, 4096, 5));
	for (size_t len = 0; len < stream.len; len += 1 + random_below(97))
		assert_false(accepted(stream.data, len, 1 + random_below(6000), 5));
	assert_false(accepted(stream.data, stream.len - 1, 4096, 5));
	assert_false(accepted(stream.data, stream.len - ENDING, 4096, 5));
	free(stream.data);
	rig_free(source);
}

static void a_truncated_stream_is_not_a_mismatch(void **state)
{
	(void)state;
	struct rig *source = worked(2, 0), *target = resuming(2);
	struct bytes stream = saved(source, 4096);

	assert_int_equal(rig_write_all(target, stream.data, stream.len - ENDING, 4096), 0);
	assert_int_equal(rig_go(target, SVF_STOP), -SVF_EINVAL);
	assert_int_equal(target->dev.stats.state_mismatches, 0);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_flip_in_the_registers_fails_the_write_that_brings_it(void **state)
{
	(void)state;
	struct rig *source = worked(2, 0), *target = resuming(2);
	struct bytes stream = saved(source, 4096);

	stream.data[stream.len - ENDING - 100] ^= 1;
	assert_int_equal(
		rig_write_all(target, stream.data, stream.len - ENDING, 4096), -SVF_EINVAL);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_well_formed_stream_without_one_of_the_blocks_is_refused(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = {0};

	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	assert_true(svf_block_take(&source->dev, 2)); /* marked as sent */
	assert_int_equal(rig_read_all(source, &stream, 4096), 0);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 4096), -SVF_EINVAL);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void an_extended_stream_is_refused(void **state)
{
	(void)state;
	struct rig *source = worked(3, 0);
	struct bytes stream = saved(source, 4096);
	uint8_t *longer = calloc(1, 2 * stream.len);

	memcpy(longer, stream.data, stream.len);
	memcpy(longer + stream.len, stream.data, stream.len);
	assert_false(accepted(longer, stream.len + 1, 4096, 3));
	assert_false(accepted(longer, stream.len + 1, 1, 3));
	assert_false(accepted(longer, 2 * stream.len, 1 << 20, 3));
	free(longer);
	free(stream.data);
	rig_free(source);
}

static void a_flipped_bit_is_found_wherever_it_is(void **state)
{
	(void)state;
	struct rig *source = worked(3, 0);
	struct bytes stream = saved(source, 4096);

	for (size_t at = 0; at < stream.len; at += 1 + random_below(41)) {
		uint8_t bit = (uint8_t)(1 << random_below(8));

		stream.data[at] ^= bit;
		if (accepted(stream.data, stream.len, 1 + random_below(9000), 3))
			fail_msg("a flip of 0x%x at byte %zu was accepted", bit, at);
		stream.data[at] ^= bit;
	}
	assert_true(accepted(stream.data, stream.len, 1000, 3));
	free(stream.data);
	rig_free(source);
}

static void records_left_out_or_out_of_order_are_refused(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0);
	struct bytes stream = saved(source, 4096);
	uint8_t *copy = malloc(stream.len), *record = malloc(BLOCK);

	memcpy(copy, stream.data, HEADER);
	memcpy(copy + HEADER, stream.data + HEADER + BLOCK, stream.len - HEADER - BLOCK);
	assert_false(accepted(copy, stream.len - BLOCK, 4096, 4));
	memcpy(copy, stream.data, stream.len);
	memcpy(record, copy + HEADER, BLOCK);
	memcpy(copy + HEADER, copy + HEADER + BLOCK, BLOCK);
	memcpy(copy + HEADER + BLOCK, record, BLOCK);
	assert_false(accepted(copy, stream.len, 4096, 4));
	free(record);
	free(copy);
	free(stream.data);
	rig_free(source);
}

static void a_foreign_stream_is_refused(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0);
	struct bytes stream = saved(source, 4096);
	uint8_t noise[9000];

	assert_false(accepted(stream.data, stream.len, 4096, 5)); /* another size of device */
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random_below(256);
	assert_false(accepted(noise, sizeof(noise), 4096, 4));
	memset(noise, 0, sizeof(noise));
	assert_false(accepted(noise, sizeof(noise), 100, 4));
	free(stream.data);
	rig_free(source);
}

static void a_refused_load_is_over_until_a_reset(void **state)
{
	(void)state;
	struct rig *source = worked(2, 0), *target = resuming(2);
	struct bytes stream = saved(source, 4096);

	stream.data[100] ^= 1;
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 1 << 20), -SVF_EINVAL);
	assert_int_equal(target->dev.stats.state_mismatches, 1);
	stream.data[100] ^= 1;
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 1 << 20), -SVF_EINVAL);
	assert_int_equal(rig_go(target, SVF_STOP), -SVF_EINVAL);
	svf_reset(&target->dev, target->now);
	assert_int_equal(rig_go(target, SVF_RESUMING), 0);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 1 << 20), 0);
	assert_int_equal(rig_go(target, SVF_RUNNING), 0);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

/* The time until the write of these bytes is accepted. */
static uint64_t time_of_write(struct rig *rig, const uint8_t *data, size_t len)
{
	const uint64_t start = rig->now;
	int ret;

	while ((ret = svf_write(&rig->dev, data, len, rig->now)) == SVF_PENDING)
		rig_wait(rig);
	assert_int_equal(ret, 0);
	return rig->now - start;
}

static void fixed_time_of_a_load_is_in_the_write_that_completes_it(void **state)
{
	(void)state;
	struct rig *source = worked(64, 0);
	struct bytes stream = saved(source, 5000);

	for (int with_rate = 0; with_rate < 2; with_rate++) {
		struct rig *target = resuming(64);
		const uint64_t load = with_rate ? stream.len * UINT64_C(1000000000) / 50000000 : 0;

		target->dev.config.profile.load_fixed_ns = 140 * MS;
		target->dev.config.profile.load_rate = with_rate ? 50000000 : 0;
		assert_int_equal(time_of_write(target, stream.data, stream.len / 2), 0);
		assert_in_range(time_of_write(target, stream.data + stream.len / 2,
					stream.len - stream.len / 2),
			140 * MS + load - load / 100, 140 * MS + load);
		/* Nothing is left for the arc. */
		const uint64_t before = target->now;

		assert_int_equal(rig_go(target, SVF_STOP), 0);
		assert_true(target->now == before);
		assert_true(target->dev.stats.state_hash == source->dev.stats.state_hash);
		rig_free(target);
	}
	/* A caller that gives up leaves it to the arc. */
	struct rig *target = resuming(64);

	target->dev.config.profile.load_fixed_ns = 140 * MS;
	assert_int_equal(
		svf_write(&target->dev, stream.data, stream.len, target->now), SVF_PENDING);
	svf_abandon(&target->dev);
	const uint64_t before = target->now;

	assert_int_equal(rig_go(target, SVF_STOP), 0);
	assert_true(target->now == before + 140 * MS);
	rig_free(target);
	free(stream.data);
	rig_free(source);
}

static void pre_copy_sends_its_part_then_only_what_changed(void **state)
{
	(void)state;
	struct rig *source = worked(64, 50), *target = resuming(64);
	struct bytes stream = {0};
	uint64_t initial, dirty, before;
	size_t at;

	assert_int_equal(rig_go(source, SVF_PRE_COPY), 0);
	assert_int_equal(svf_precopy_info(&source->dev, &initial, &dirty), 0);
	assert_int_equal(initial, 32 * BLOCK);
	assert_int_equal(dirty, HEADER);
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len, HEADER + 32 * BLOCK);
	/* no change, no data */
	rig_pass(source, 5000 * MS);
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len, HEADER + 32 * BLOCK);
	before = source->dev.version_sum;
	for (uint64_t n = 51; n < 60; n++)
		rig_doorbell(source, 0, n);
	assert_true(source->dev.version_sum != before);
	assert_int_equal(svf_precopy_info(&source->dev, &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	at = stream.len;
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len - at, dirty);
	assert_in_range(dirty, BLOCK, 9 * BLOCK);
	/* a block that changes while half of its record is read is sent again */
	rig_doorbell(source, 0, 60);
	assert_int_equal(rig_go(source, SVF_PRE_COPY_P2P), 0);
	at = stream.len;
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_in_range(stream.len - at, 32 * BLOCK + REGS + ENDING, 33 * BLOCK + REGS + ENDING);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 3333), 0);
	assert_int_equal(rig_go(target, SVF_STOP), 0);
	assert_true(target->dev.stats.state_hash == source->dev.stats.state_hash);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void increment_is_saved_only_when_it_is_requested(void **state)
{
	(void)state;
	struct rig *source = worked(64, 100), *target = resuming(64);
	struct bytes stream = {0};
	uint64_t initial, dirty;
	size_t at;

	source->dev.config.increments = true;
	assert_int_equal(rig_go(source, SVF_PRE_COPY), 0);
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len, HEADER + 64 * BLOCK);
	for (uint64_t n = 51; n < 60; n++)
		rig_doorbell(source, 0, n);
	/* There is something, and it cannot be read. */
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len, HEADER + 64 * BLOCK);
	assert_int_equal(svf_precopy_info(&source->dev, &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	assert_in_range(dirty, BLOCK, 9 * BLOCK);
	/* What changes from then on is not in what is read, whether or not it was. */
	rig_doorbell(source, 0, 60);
	rig_doorbell(source, 0, 61);
	at = stream.len;
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len - at, dirty);
	/* No increment is saved in a P2P state. */
	rig_doorbell(source, 0, 62);
	assert_int_equal(rig_go(source, SVF_PRE_COPY_P2P), 0);
	assert_int_equal(svf_precopy_info(&source->dev, &initial, &dirty), 0);
	assert_in_range(dirty, BLOCK, 3 * BLOCK);
	at = stream.len;
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len, at);
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(source, &stream, 5000), 0);
	assert_int_equal(stream.len - at, dirty + REGS + ENDING);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 3333), 0);
	assert_int_equal(rig_go(target, SVF_STOP), 0);
	assert_true(target->dev.stats.state_hash == source->dev.stats.state_hash);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void changes_in_the_middle_of_pre_copy_reads_arrive_whole(void **state)
{
	(void)state;
	struct rig *source = worked(16, 100), *target = resuming(16);
	uint8_t piece[3000];
	struct bytes stream = {0};
	uint64_t number = 51;

	assert_int_equal(rig_go(source, SVF_PRE_COPY), 0);
	for (unsigned i = 0; i < 200; i++) {
		long n = rig_read(source, piece, 1 + random_below(sizeof(piece)));

		assert_true(n >= 0);
		assert_int_equal(rig_write_all(target, piece, (size_t)n, 700), 0);
		if (random_below(3) == 0)
			rig_doorbell(source, 0, number++);
	}
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(source, &stream, 999), 0);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 1001), 0);
	assert_int_equal(rig_go(target, SVF_RUNNING), 0);
	assert_int_equal(target->dev.stats.state_mismatches, 0);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void an_aborted_session_starts_over(void **state)
{
	(void)state;
	struct rig *source = worked(8, 50);
	struct bytes stream = {0};
	uint8_t piece[100];

	assert_int_equal(rig_go(source, SVF_PRE_COPY), 0);
	assert_int_equal(rig_read(source, piece, sizeof(piece)), sizeof(piece));
	assert_int_equal(rig_go(source, SVF_RUNNING), 0);
	assert_int_equal(rig_read(source, piece, sizeof(piece)), -SVF_EINVAL);
	stream = saved(source, 4096);
	assert_true(accepted(stream.data, stream.len, 4096, 8));
	free(stream.data);
	rig_free(source);
}

static void a_stopped_device_does_not_change(void **state)
{
	(void)state;
	struct rig *source = worked(8, 0);
	uint64_t hash;

	assert_int_equal(rig_go(source, SVF_STOP), 0);
	hash = source->dev.version_sum;
	rig_doorbell(source, 0, 51);
	rig_pass(source, 1000 * MS);
	assert_true(source->dev.version_sum == hash);
	assert_int_equal(source->dev.stats.quiesce_violations, 1);
	rig_free(source);
}

/* Rates */

static void saving_and_loading_take_the_time_of_their_rates(void **state)
{
	(void)state;
	struct svf_profile profile = rig_profile(2400 * 4096, 0);
	struct rig *source, *target;
	struct bytes stream = {0};
	uint64_t start, want;

	profile.save_rate = 100000000;
	profile.load_rate = 50000000;
	source = rig_new(&profile, 7, SEED);
	target = rig_new(&profile, 7, TARGET);
	assert_int_equal(rig_go(target, SVF_RESUMING), 0);
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	start = source->now;
	assert_int_equal(rig_read_all(source, &stream, 1 << 20), 0);
	want = stream.len * 10; /* ns a byte */
	assert_in_range(source->now - start, want - 10000, want + 10000);
	start = target->now;
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 32768), 0);
	/* the last two grants are still being loaded; RESUMING->STOP waits for them */
	assert_in_range(
		target->now - start, (stream.len - SVF_AHEAD - 65536) * 20, stream.len * 20);
	assert_int_equal(rig_go(target, SVF_STOP), 0);
	assert_in_range(target->now - start, stream.len * 20 - 20000, stream.len * 20 + 20000);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_device_saves_ahead_of_its_reader_but_not_far(void **state)
{
	(void)state;
	struct svf_profile profile = rig_profile(2400 * 4096, 0);
	uint8_t *buf = malloc(4 << 20);
	struct rig *source;
	size_t got = 0;

	profile.save_rate = 100000000;
	source = rig_new(&profile, 7, SEED);
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	rig_pass(source, 1000 * MS);
	assert_true(svf_next(&source->dev) == SVF_NEVER);
	assert_int_equal(svf_read(&source->dev, buf, 4 << 20, &got, source->now), SVF_PENDING);
	assert_int_equal(got, SVF_AHEAD);
	free(buf);
	rig_free(source);
}

/* Faults in the stream */

static void add_fault(struct rig *rig, const char *spec)
{
	struct svf_fault fault;
	const char *why;

	assert_true(svf_fault_parse(spec, &fault, &why));
	assert_int_equal(svf_add_fault(&rig->dev, &fault), 0);
}

static void faults_break_cut_and_corrupt_the_stream_at_their_offset(void **state)
{
	(void)state;
	struct rig *rig = worked(4, 0);
	struct bytes whole = saved(rig, 4096), cut = {0}, bent = {0}, broken = {0};

	assert_int_equal(rig_go(rig, SVF_STOP), 0);
	add_fault(rig, "save:short@5000");
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(rig, &cut, 4096), 0);
	assert_int_equal(cut.len, 5000);
	assert_memory_equal(cut.data, whole.data, 5000);

	svf_clear_faults(&rig->dev);
	assert_int_equal(rig_go(rig, SVF_STOP), 0);
	add_fault(rig, "save:corrupt@6000");
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(rig, &bent, 4096), 0);
	assert_int_equal(bent.len, whole.len);
	assert_int_not_equal(bent.data[6000], whole.data[6000]);
	bent.data[6000] = whole.data[6000];
	assert_memory_equal(bent.data, whole.data, whole.len);

	svf_clear_faults(&rig->dev);
	assert_int_equal(rig_go(rig, SVF_STOP), 0);
	add_fault(rig, "save:break@7000=ENOSPC");
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	assert_int_equal(rig_read_all(rig, &broken, 4096), -SVF_ENOSPC);
	assert_int_equal(broken.len, 7000);
	free(whole.data);
	free(cut.data);
	free(bent.data);
	free(broken.data);
	rig_free(rig);
}

static void faults_refuse_the_load_at_their_offset(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = saved(source, 4096);

	add_fault(target, "load:fail@5000");
	assert_int_equal(rig_write_all(target, stream.data, 5000, 5000), 0);
	assert_int_equal(rig_write_all(target, stream.data + 5000, 10, 10), -SVF_EIO);
	assert_int_equal(rig_go(target, SVF_STOP), -SVF_EINVAL);
	svf_reset(&target->dev, target->now);
	svf_clear_faults(&target->dev);
	add_fault(target, "load:refuse");
	assert_int_equal(rig_go(target, SVF_RESUMING), 0);
	assert_int_equal(rig_write_all(target, stream.data, stream.len, 4096), 0);
	assert_int_equal(rig_go(target, SVF_STOP), -SVF_EINVAL);
	assert_int_equal(target->dev.state, SVF_RESUMING);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_read_and_a_write_are_held_up_at_their_offset(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = saved(source, 4096);
	size_t got = 0;
	uint64_t start;

	assert_int_equal(rig_go(source, SVF_STOP), 0);
	add_fault(source, "save:hang@5000,x1");
	add_fault(source, "save:slow=70@6000,x1");
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	uint8_t *copy = malloc(stream.len);

	assert_int_equal(svf_read(&source->dev, copy, stream.len, &got, source->now), 0);
	assert_int_equal(got, 5000);
	got = 0;
	assert_int_equal(svf_read(&source->dev, copy, 100, &got, source->now), SVF_PENDING);
	assert_true(svf_next(&source->dev) == SVF_NEVER);
	source->now += 3600 * 1000 * MS;
	assert_int_equal(svf_read(&source->dev, copy, 100, &got, source->now), SVF_PENDING);
	svf_release(&source->dev, source->now);
	assert_int_equal(svf_read(&source->dev, copy, 2000, &got, source->now), 0);
	assert_memory_equal(copy, stream.data + 5000, got);
	start = source->now;
	for (size_t at = 5000 + got; at < stream.len; at += got) {
		got = (size_t)rig_read(source, copy, stream.len);
		assert_true(got > 0);
		assert_memory_equal(copy, stream.data + at, got);
	}
	assert_int_equal(source->now - start, 70 * MS);
	assert_int_equal(source->dev.stats.fault_hits, 2);

	add_fault(target, "load:slow=50@5000,x1");
	add_fault(target, "load:hang@9000,x1");
	start = target->now;
	assert_int_equal(rig_write_all(target, stream.data, 6000, 6000), 0);
	assert_int_equal(target->now - start, 50 * MS);
	assert_int_equal(
		svf_write(&target->dev, stream.data + 6000, 4000, target->now), SVF_PENDING);
	svf_release(&target->dev, target->now);
	assert_int_equal(svf_write(&target->dev, stream.data + 6000, 4000, target->now), 0);
	assert_int_equal(rig_write_all(target, stream.data + 10000, stream.len - 10000, 4096), 0);
	assert_int_equal(rig_go(target, SVF_STOP), 0);
	free(copy);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void a_reset_inside_ends_the_stream_without_a_word(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = saved(source, 4096);
	size_t got = 0;

	assert_int_equal(rig_go(source, SVF_STOP), 0);
	add_fault(source, "reset@save=5000,x1");
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	uint8_t *copy = malloc(stream.len);

	assert_int_equal(svf_read(&source->dev, copy, stream.len, &got, source->now), 0);
	assert_int_equal(source->dev.state, SVF_RUNNING);
	got = 0;
	assert_int_equal(svf_read(&source->dev, copy, 100, &got, source->now), -SVF_EINVAL);
	add_fault(target, "reset@load=5000,x1");
	assert_int_equal(rig_write_all(target, stream.data, 6000, 6000), 0);
	assert_int_equal(target->dev.state, SVF_RUNNING);
	assert_int_equal(
		svf_write(&target->dev, stream.data + 6000, 100, target->now), -SVF_EINVAL);
	free(copy);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

static void events_in_the_stream_end_the_process_once_there(void **state)
{
	(void)state;
	struct rig *source = worked(4, 0), *target = resuming(4);
	struct bytes stream = {0};

	add_fault(source, "die@save=5000");
	add_fault(target, "socket:close@load=5000");
	assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
	stream.data = malloc(stream.room = 20000);
	assert_int_equal(rig_read(source, stream.data, 4999), 4999);
	assert_int_equal(source->dies, 0);
	assert_int_equal(rig_read(source, stream.data + 4999, 1000), 1000);
	assert_int_equal(source->dies, 1);
	assert_int_equal(rig_write_all(target, stream.data, 4999, 999), 0);
	assert_int_equal(target->closes, 0);
	assert_int_equal(rig_write_all(target, stream.data + 4999, 1000, 999), 0);
	assert_int_equal(target->closes, 1);
	free(stream.data);
	rig_free(source);
	rig_free(target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_saved_loads_and_saves_the_same_in_pieces_of_any_size),
		cmocka_unit_test(the_target_goes_on_counting_where_the_source_stopped),
		cmocka_unit_test(a_truncated_stream_is_refused_wherever_it_is_cut),
		cmocka_unit_test(a_truncated_stream_is_not_a_mismatch),
		cmocka_unit_test(a_flip_in_the_registers_fails_the_write_that_brings_it),
		cmocka_unit_test(a_well_formed_stream_without_one_of_the_blocks_is_refused),
		cmocka_unit_test(an_extended_stream_is_refused),
		cmocka_unit_test(a_flipped_bit_is_found_wherever_it_is),
		cmocka_unit_test(records_left_out_or_out_of_order_are_refused),
		cmocka_unit_test(a_foreign_stream_is_refused),
		cmocka_unit_test(a_refused_load_is_over_until_a_reset),
		cmocka_unit_test(fixed_time_of_a_load_is_in_the_write_that_completes_it),
		cmocka_unit_test(pre_copy_sends_its_part_then_only_what_changed),
		cmocka_unit_test(increment_is_saved_only_when_it_is_requested),
		cmocka_unit_test(changes_in_the_middle_of_pre_copy_reads_arrive_whole),
		cmocka_unit_test(an_aborted_session_starts_over),
		cmocka_unit_test(a_stopped_device_does_not_change),
		cmocka_unit_test(saving_and_loading_take_the_time_of_their_rates),
		cmocka_unit_test(a_device_saves_ahead_of_its_reader_but_not_far),
		cmocka_unit_test(faults_break_cut_and_corrupt_the_stream_at_their_offset),
		cmocka_unit_test(faults_refuse_the_load_at_their_offset),
		cmocka_unit_test(a_read_and_a_write_are_held_up_at_their_offset),
		cmocka_unit_test(a_reset_inside_ends_the_stream_without_a_word),
		cmocka_unit_test(events_in_the_stream_end_the_process_once_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
