/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * port.h - the guest's access to memory, ports and time: by instructions on bare metal
 * (GUEST_METAL), by functions of the VMM in the native accelerator.
 */
#ifndef GUEST_PORT_H
#define GUEST_PORT_H

#include <stdbool.h>
#include <stdint.h>

struct guest_env;

/*
 * Writes guest memory. A migration reads that memory concurrently and relies on the dirty log,
 * not on an order between threads; ThreadSanitizer would report it.
 */
#ifdef GUEST_METAL
#define GUEST_WRITER
#else
#define GUEST_WRITER __attribute__((no_sanitize("thread")))
#endif

/* Other threads of the VMM read these words while the guest runs. */
#define GUEST_GET(field)	__atomic_load_n(&(field), __ATOMIC_RELAXED)
#define GUEST_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
/* A release store: earlier writes are visible to a reader that finds the field set. */
#define GUEST_PUBLISH(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

#ifdef GUEST_METAL

static inline void *guest_ram(struct guest_env *env, uint64_t gpa, uint64_t len)
{
	(void)env;
	(void)len;
	return (void *)gpa;
}

static inline uint32_t guest_pio_read(struct guest_env *env, uint16_t port)
{
	uint32_t value;

	(void)env;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port));
	return value;
}

static inline void guest_pio_write(struct guest_env *env, uint16_t port, uint32_t value)
{
	(void)env;
	__asm__ volatile("outl %0, %1" : : "a"(value), "d"(port));
}

static inline uint32_t guest_mmio_read(struct guest_env *env, uint64_t gpa)
{
	uint32_t value;

	(void)env;
	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
	return value;
}

static inline void guest_mmio_write(struct guest_env *env, uint64_t gpa, uint32_t value)
{
	(void)env;
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

static inline void guest_mmio_write64(struct guest_env *env, uint64_t gpa, uint64_t value)
{
	(void)env;
	__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

#else

/*
 * Never NULL: an address that is not RAM, or no multiple of 8, returns scratch memory and sets
 * GUEST_E_RAM, since the tables may come from a migration's peer. len is at most
 * GUEST_RAM_SPAN.
 */
#define GUEST_RAM_SPAN 8192
void *guest_ram(struct guest_env *env, uint64_t gpa, uint64_t len);
uint32_t guest_pio_read(struct guest_env *env, uint16_t port);
void guest_pio_write(struct guest_env *env, uint16_t port, uint32_t value);
uint32_t guest_mmio_read(struct guest_env *env, uint64_t gpa);
void guest_mmio_write(struct guest_env *env, uint64_t gpa, uint32_t value);
void guest_mmio_write64(struct guest_env *env, uint64_t gpa, uint64_t value);

#endif

/* True if this tick has time left for work other than doorbells. */
bool guest_may_work(struct guest_env *env, unsigned vcpu);

#endif
