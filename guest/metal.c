/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metal.c - the bare-metal guest: the entry point of each vCPU, interrupts, the tick.
 *
 * The VMM starts every vCPU here in 64-bit mode with paging on, interrupts off, its own stack,
 * its number as the first argument, and GS based at its struct guest_vcpu. The tick is the
 * local APIC's timer; between ticks the vCPU halts.
 */
#include "work.h"

#define APIC		0xfee00000u
#define APIC_TASK	(APIC + 0x080)
#define APIC_EOI	(APIC + 0x0b0)
#define APIC_SPURIOUS	(APIC + 0x0f0)
#define APIC_TIMER	(APIC + 0x320)
#define APIC_TIMER_INIT (APIC + 0x380)
#define APIC_TIMER_NOW	(APIC + 0x390)
#define APIC_TIMER_DIV	(APIC + 0x3e0)

#define VECTOR_TIMER	0x30
#define VECTOR_MSI	0x40
#define VECTOR_SPURIOUS 0xff
#define TIMER_PERIODIC	(1u << 17)
#define TIMER_DIV_1	0xbu
#define APIC_ENABLE	0x100u

/* KVM's APIC timer counts nanoseconds. */
#define TIMER_PER_US 1000u

#define SELECTOR_CODE 0x08

struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint16_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t zero;
};
static_assert(sizeof(struct gate) == 16, "AMD64 volume 2, 4.8.4");

struct table_register {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

static struct gate idt[256];
static uint32_t idt_ready;
static const uint64_t gdt[] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};

_Noreturn void guest_entry(uint64_t vcpu) __attribute__((section(".text.entry")));

/* A macro: an interrupt handler may only call functions that save all registers. */
#define END_OF_INTERRUPT()                                                                         \
	__asm__ volatile("movl $0, %0" : "=m"(*(volatile uint32_t *)(uintptr_t)APIC_EOI))

__attribute__((interrupt)) static void on_timer(struct frame *frame)
{
	(void)frame;
	__asm__ volatile("incq %%gs:%c0" : : "i"(GUEST_VCPU_PENDING) : "memory");
	END_OF_INTERRUPT();
}

__attribute__((interrupt)) static void on_msi(struct frame *frame)
{
	(void)frame;
	__asm__ volatile("incq %%gs:%c0" : : "i"(GUEST_VCPU_IRQS) : "memory");
	END_OF_INTERRUPT();
}

__attribute__((interrupt)) static void on_spurious(struct frame *frame)
{
	(void)frame;
}

__attribute__((no_caller_saved_registers)) static _Noreturn void die(uint64_t rip)
{
	struct guest_status *status = guest_ram(0, GUEST_STATUS_GPA, sizeof(*status));

	if (!status->error) {
		status->address = rip;
		GUEST_PUBLISH(status->error, GUEST_E_EXCEPTION);
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

__attribute__((interrupt)) static void on_fault(struct frame *frame)
{
	die(frame->rip);
}

__attribute__((interrupt)) static void on_fault_with_code(struct frame *frame, uint64_t code)
{
	(void)code;
	die(frame->rip);
}

static void set_gate(unsigned vector, const void *handler)
{
	uint64_t address = (uint64_t)handler;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)address,
		.selector = SELECTOR_CODE,
		.type = 0x8e00, /* present, interrupt gate */
		.offset_middle = (uint16_t)(address >> 16),
		.offset_high = (uint32_t)(address >> 32),
	};
}

static void fill_idt(void)
{
	const uint32_t with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 |
				   1u << 17 | 1u << 21 | 1u << 29 | 1u << 30;

	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(vector,
			with_code >> vector & 1 ? (void *)on_fault_with_code : (void *)on_fault);
	set_gate(VECTOR_TIMER, on_timer);
	set_gate(VECTOR_MSI, on_msi);
	set_gate(VECTOR_SPURIOUS, on_spurious);
	GUEST_PUBLISH(idt_ready, 1);
}

static void load_tables(void)
{
	struct table_register gdtr = {sizeof(gdt) - 1, (uint64_t)gdt};
	struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr) : "memory");
}

static void start_timer(uint32_t period_us)
{
	guest_mmio_write(0, APIC_SPURIOUS, APIC_ENABLE | VECTOR_SPURIOUS);
	guest_mmio_write(0, APIC_TASK, 0);
	guest_mmio_write(0, APIC_TIMER_DIV, TIMER_DIV_1);
	guest_mmio_write(0, APIC_TIMER, TIMER_PERIODIC | VECTOR_TIMER);
	guest_mmio_write(0, APIC_TIMER_INIT, period_us * TIMER_PER_US);
}

bool guest_may_work(struct guest_env *env, unsigned vcpu)
{
	const struct guest_boot *boot = guest_ram(env, GUEST_BOOT_GPA, sizeof(*boot));
	const struct guest_vcpu *me =
		guest_ram(env, GUEST_VCPU_GPA + vcpu * sizeof(*me), sizeof(*me));

	return !GUEST_GET(me->pending) &&
	       guest_mmio_read(env, APIC_TIMER_NOW) > boot->period_us * (TIMER_PER_US / 2);
}

_Noreturn void guest_entry(uint64_t vcpu)
{
	const struct guest_boot *boot = guest_ram(0, GUEST_BOOT_GPA, sizeof(*boot));
	struct guest_vcpu *me = guest_ram(0, GUEST_VCPU_GPA + vcpu * sizeof(*me), sizeof(*me));

	if (vcpu == 0)
		fill_idt();
	while (!__atomic_load_n(&idt_ready, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	load_tables();
	if (vcpu == 0)
		guest_configure(0);
	start_timer(boot->period_us);
	for (;;) {
		/* sti takes effect after one more instruction: no tick can occur before the hlt. */
		__asm__ volatile("cli" : : : "memory");
		while (!GUEST_GET(me->pending))
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		me->pending = 0;
		__asm__ volatile("sti" : : : "memory");
		guest_tick(0, (unsigned)vcpu);
	}
}
