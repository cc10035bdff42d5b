/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices, driven in any order by a client that follows no rules: the model's counters stay
 * consistent, and the devices still migrate afterwards.
 */
#include "model/internal.h"
#include "rig.h"

#define STEPS 40000

static uint64_t random_state;

static uint64_t below(uint64_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (random_state >> 33) % n;
}

static void check_counters(const struct rig *rig)
{
	const struct svf *dev = &rig->dev;
	uint32_t early = 0, late = 0;
	uint64_t sum = 0;

	for (uint32_t block = 0; block < dev->blocks; block++) {
		bool dirty = dev->dirty[block / 64] >> (block % 64) & 1;

		early += dirty && block < dev->precopy_blocks;
		late += dirty && block >= dev->precopy_blocks;
		if (dev->version[block])
			sum += svf_mix(((uint64_t)block << 32) | dev->version[block]);
	}
	assert_int_equal(early, dev->dirty_early);
	assert_int_equal(late, dev->dirty_late);
	assert_true(sum == dev->version_sum);
	assert_in_range(dev->state, 0, 7);
}

static void touch_a_register(struct rig *rig)
{
	static const uint64_t regs[] = {SIMVF_REG_CONTROL, SIMVF_REG_IRQ_EVERY, SIMVF_REG_DMA_ADDR,
		SIMVF_REG_DMA_PAGES, SIMVF_REG_DMA_RATE, SIMVF_REG_P2P_ADDR, SIMVF_REG_P2P_RATE};
	uint64_t value = below(4) ? below(32) * 256 : below(UINT32_MAX), done;
	uint8_t buf[300];

	switch (below(5)) {
	case 0:
		rig_set(rig, regs[below(7)], value, below(2) ? 4 : 8);
		break;
	case 1:
		svf_region_write(
			&rig->dev, (unsigned)below(9), below(300), buf, 0, rig->now, &done);
		break;
	case 2:
		memset(buf, (int)below(256), sizeof(buf));
		svf_region_write(
			&rig->dev, SVF_REGION_CONFIG, below(300), buf, below(64), rig->now, &done);
		break;
	case 3:
		svf_region_read(&rig->dev, (unsigned)below(9), below(0x1100), buf, below(300));
		break;
	default:
		rig_doorbell(rig, (unsigned)below(64), 1 + below(1000));
	}
}

static void add_a_fault(struct rig *rig)
{
	static const char *const specs[] = {"arc=*->*:fail,x1", "arc=*->STOP:error,x1",
		"arc=STOP->*:slow=3,x2", "arc=*->RUNNING_P2P:hang,x1", "save:short@3000,x1",
		"save:corrupt@5000,x1", "save:break@100,x1", "load:fail@9000,x1"};
	struct svf_fault fault;
	const char *why;

	assert_true(svf_fault_parse(specs[below(8)], &fault, &why));
	svf_add_fault(&rig->dev, &fault);
}

/* Bytes that the client has read and not yet written. */
struct transfer {
	uint8_t data[20000];
	size_t len;
};

static void step(struct rig *source, struct rig *target, struct transfer *t)
{
	struct rig *one = below(2) ? source : target;
	size_t got = 0;

	switch (below(12)) {
	case 0:
	case 1:
		svf_set_state(&one->dev, (unsigned)below(9), one->now);
		break;
	case 2:
		svf_set_state(&source->dev, below(2) ? SVF_PRE_COPY : SVF_STOP_COPY, source->now);
		svf_set_state(&target->dev, SVF_RESUMING, target->now);
		break;
	case 3:
	case 4:
		if (svf_read(&source->dev, t->data, below(sizeof(t->data)), &got, source->now) >= 0)
			t->len = got;
		break;
	case 5:
	case 6:
		if (svf_write(&target->dev, t->data, t->len, target->now) != SVF_PENDING)
			t->len = 0;
		break;
	case 7:
		one->now += below(5) * MS;
		svf_run(&one->dev, one->now);
		svf_advance(&one->dev, one->now);
		break;
	case 8:
		if (!below(20))
			svf_reset(&one->dev, one->now);
		if (!below(5))
			svf_release(&one->dev, one->now);
		if (!below(50))
			add_a_fault(one);
		break;
	default:
		touch_a_register(one);
	}
}

static void any_order_of_calls_keeps_the_counters_right(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct svf_profile profile = rig_profile(seed * 3 * 4096, (uint32_t)(seed * 15));
		struct transfer t = {.len = 0};
		struct rig *source, *target;

		random_state = seed;
		profile.save_rate = seed % 2 ? 50000000 : 0;
		profile.load_rate = seed % 3 ? 30000000 : 0;
		profile.to_p2p_ns = seed * MS;
		profile.resuming_to_stop_ns = seed % 2 * MS;
		source = rig_new(&profile, 7, seed);
		target = rig_new(&profile, seed % 4 ? 7 : 5, seed + 100);
		for (unsigned i = 0; i < STEPS / 6; i++) {
			step(source, target, &t);
			check_counters(source);
			check_counters(target);
		}
		/* the devices still work afterwards */
		svf_clear_faults(&source->dev);
		svf_clear_faults(&target->dev);
		svf_release(&source->dev, source->now);
		svf_reset(&source->dev, source->now);
		svf_reset(&target->dev, target->now);
		target->dev.stats.state_mismatches = 0;
		assert_int_equal(rig_go(source, SVF_STOP_COPY), 0);
		assert_int_equal(rig_go(target, SVF_RESUMING), 0);
		struct bytes stream = {0};
		assert_int_equal(rig_read_all(source, &stream, 4096), 0);
		assert_int_equal(rig_write_all(target, stream.data, stream.len, 5000), 0);
		assert_int_equal(rig_go(target, SVF_RUNNING), 0);
		assert_true(source->dev.stats.state_hash == target->dev.stats.state_hash);
		assert_int_equal(target->dev.stats.state_mismatches, 0);
		free(stream.data);
		rig_free(source);
		rig_free(target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_of_calls_keeps_the_counters_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
