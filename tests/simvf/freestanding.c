/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * freestanding.c - links the model with only these four functions, which gcc and the kernel
 * provide. The link is the test; it runs, too. No libc here.
 */
#include "model/model.h"

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void _start(void);

void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	size_t i;

	if (to < from)
		return memcpy(to, from, n);
	for (i = n; i > 0; i--)
		((volatile char *)to)[i - 1] = ((const char *)from)[i - 1];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((const char *)a)[i] != ((const char *)b)[i])
			return ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
	return 0;
}

static struct svf source, target;
static uint64_t memory[2][64], inbox[2][SVF_INBOX_WORDS];
static uint8_t stream[65536];

static int dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	(void)opaque;
	(void)addr;
	(void)buf;
	(void)len;
	return -SVF_EINVAL;
}

static int dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	(void)opaque;
	(void)addr;
	(void)buf;
	(void)len;
	return -SVF_EINVAL;
}

static int p2p_write(void *opaque, uint64_t addr, uint64_t value)
{
	(void)opaque;
	(void)addr;
	(void)value;
	return 0;
}

static bool irq(void *opaque, unsigned vector)
{
	(void)opaque;
	(void)vector;
	return false;
}

static void event(void *opaque, enum svf_event what)
{
	(void)opaque;
	(void)what;
}

static const struct svf_ops ops = {dma_read, dma_write, p2p_write, irq, event, 0};

static int make(struct svf *dev, unsigned which)
{
	struct svf_config config = {.mig_flags = 7,
		.seed = which,
		.ops = &ops,
		.inbox = inbox[which],
		.memory = memory[which]};

	svf_profile_init(&config.profile);
	config.profile.state_bytes = 4 * SVF_BLOCK;
	return svf_memory_size(config.profile.state_bytes) <= sizeof(memory[0])
		       ? svf_init(dev, &config, 1)
		       : -1;
}

static int migrate(void)
{
	uint64_t number = 1, done;
	size_t got = 0;

	if (make(&source, 0) || make(&target, 1))
		return 1;
	if (svf_region_write(&source, SIMVF_BAR_REGS, SIMVF_DOORBELL(0), &number, 8, 2, &done) ||
		svf_set_state(&source, SVF_STOP_COPY, 3) ||
		svf_read(&source, stream, sizeof(stream), &got, 4))
		return 2;
	if (svf_set_state(&target, SVF_RESUMING, 5) || svf_write(&target, stream, got, 6) ||
		svf_set_state(&target, SVF_RUNNING, 7))
		return 3;
	return source.stats.state_hash == target.stats.state_hash ? 0 : 4;
}

void _start(void)
{
	long status = migrate();

	__asm__ volatile("and $-16, %%rsp\n\tsyscall"
			 :
			 : "a"(231L), "D"(status)
			 : "rcx", "r11", "memory"); /* exit_group */
	for (;;)
		;
}
