/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must match on both sides before anything stops: the first difference is reported with both
 * values to a peer that was authenticated, and a HELLO that is rejected changes nothing.
 */
#include "migration/internal.h"
#include "stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const id = "00000000-0000-4000-8000-000000000001";
static struct swo_agreement_entry own[4];
static struct fake_vm target;
static char uri[128], text[WIRE_HELLO_MAX + 1];

static int agree(void *opaque, struct swo_agreement *out, struct swo_error *err)
{
	int rc = 0;

	(void)opaque;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(own) && own[i].name && !rc; i++)
		rc = swo_agreement_add(out, &own[i], err);
	return rc;
}

static struct swo_vm_ops agreeing_ops(const struct fake_vm *vm)
{
	struct swo_vm_ops ops = *vm->vm.ops;

	ops.agree = agree;
	return ops;
}

static struct swo_agreement_entry entry(
	const char *name, enum swo_agreement_rule rule, const char *words, uint64_t value)
{
	return (struct swo_agreement_entry){.size = sizeof(struct swo_agreement_entry),
		.name = name,
		.rule = rule,
		.text = words,
		.value = value};
}

static struct swo_vm_ops target_ops;

static void open_target(
	const char *at, const char *identity, const struct swo_journal_config *journal)
{
	struct swo_migration_params params = fake_params();

	fake_vm_open(&target, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	target_ops = agreeing_ops(&target);
	target.vm.ops = &target_ops;
	target.vm.journal = journal;
	target.vm.identity = identity;
	snprintf(uri, sizeof(uri), "%s", at);
	assert_int_equal(swo_migration_receive(
				 &target.vm, uri, &params, NULL, NULL, &target.migration, NULL),
		0);
}

/* As the right source would send it. */
static void describe(struct hello *out)
{
	assert_int_equal(migration_hello_describe(&target.vm, out, NULL), 0);
	strcpy(out->id, id);
	out->channels = 1;
	out->running = true;
	out->devices[0].window = out->devices[1].window = 65536;
}

static int send_text(const char *hello, size_t len)
{
	struct channel channel = dial(uri);
	struct channel_frame_header header;
	static char reply[65536];

	send_frame(&channel, (struct channel_frame_header){.type = WIRE_HELLO}, hello, len);
	const int type = next_frame(&channel, &header, reply);

	channel_close(&channel);
	snprintf(text, sizeof(text), "%s", type < 0 ? "" : reply);
	return type;
}

/* The reply is in `text`. */
static int greet(const struct hello *hello)
{
	struct swo_buf json = SWO_BUF_INIT(WIRE_HELLO_MAX);

	assert_int_equal(migration_hello_format(hello, &json, NULL), 0);
	const int type = send_text((const char *)json.data, json.len);

	swo_buf_free(&json);
	return type;
}

/* Rejected with this text, and the target waits for the next one. */
static void expect_rejected(const struct hello *hello, const char *words)
{
	struct swo_migration_info info;

	assert_int_equal(greet(hello), WIRE_ABORT);
	if (!strstr(text, words))
		fail_msg("'%s' without '%s'", text, words);
	swo_migration_info(target.migration, &info);
	assert_int_equal(info.status, SWO_MIGRATION_SETUP);
	assert_string_equal(info.id, "");
}

static void expect_accepted(void)
{
	struct hello hello;

	describe(&hello);
	assert_int_equal(greet(&hello), WIRE_HELLO_OK);
	migration_hello_free(&hello);
}

static void close_target(void)
{
	memset(own, 0, sizeof(own));
	fake_vm_close(&target);
}

/* IDs */

static void an_id_that_is_no_uuid_or_is_taken_is_rejected_and_the_target_waits(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "short", "../../../../../../../../../etc/passwd",
		"------------------------------------", "000000000000-4000-8000-0000000000010-0",
		"00000000-0000-4000-8000-00000000000A", "{0000000-0000-4000-8000-000000000001}",
		"00000000-0000-4000-8000-0000000000011", "00000000 0000 4000 8000 000000000001"};
	char dir[] = "/tmp/swo-test-XXXXXX", path[128];
	struct hello hello;

	assert_non_null(mkdtemp(dir));
	const struct swo_journal_config journal = {.dir = dir, .vm = "vm"};

	open_target(fake_uri(), NULL, &journal);
	describe(&hello);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		snprintf(hello.id, sizeof(hello.id), "%s", bad[i]);
		expect_rejected(&hello, "malformed HELLO of the source");
	}
	/* One that already has a journal here, which is kept. */
	strcpy(hello.id, "00000000-0000-4000-8000-00000000000a");
	snprintf(path, sizeof(path), "%s/%s.target", dir, hello.id);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	expect_rejected(&hello, "already has a journal here");
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(fake_entries(dir), 3);
	migration_hello_free(&hello);
	expect_accepted();
	close_target();
	unlink(path);
	snprintf(path, sizeof(path), "%s/%s.target", dir, id);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

/* Devices */

static void what_does_not_fit_in_a_hello_never_consumes_the_target(void **state)
{
	(void)state;
	struct hello hello;

	open_target(fake_uri(), NULL, NULL);
	describe(&hello);
	hello.devices[1].window = SWO_DEFAULT_DEVICE_WINDOW + 1;
	expect_rejected(&hello,
		"device vf1: the source requests 4194305 bytes in flight, at most 4194304 on the "
		"target");
	hello.devices[1].window = 65536;
	hello.devices[1].mig_flags &= ~SWO_MIG_P2P;
	expect_rejected(&hello, "device vf1 has no P2P state on the source");
	hello.devices[1].mig_flags |= SWO_MIG_P2P;
	strcpy(hello.devices[0].name, "other");
	expect_rejected(&hello, "a device's id is 'other' on the source and 'vf0' on the target");
	strcpy(hello.devices[0].name, "vf0");
	hello.ram[0].size <<= 1;
	expect_rejected(&hello,
		"a RAM region is 'ram at 0, 12582912 bytes' on the source and 'ram at 0, 6291456 "
		"bytes' on the target");
	hello.ram[0].size >>= 1;
	hello.handover = SWO_HANDOVER_FD;
	expect_rejected(&hello, "descriptors");
	hello.handover = SWO_HANDOVER_COPY;
	hello.device_count = 1;
	expect_rejected(&hello,
		"the number of RAM regions and devices is '1 and 1' on the source and '1 and 2'");
	migration_hello_free(&hello);
	/* PRE_COPY of one side only does not matter. */
	describe(&hello);
	hello.devices[0].mig_flags &= ~SWO_MIG_PRE_COPY;
	assert_int_equal(greet(&hello), WIRE_HELLO_OK);
	migration_hello_free(&hello);
	close_target();
}

static void several_devices_need_p2p_on_both_sides_unless_the_source_overrides_it(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	struct refusal why;
	struct hello hello;

	swo_migration_params_init(&params);
	fake_vm_flags = FAKE_FLAGS_ALL & ~SWO_MIG_P2P;
	fake_vm_open(&target, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_flags = FAKE_FLAGS_ALL;
	describe(&hello);
	for (unsigned i = 0; i < 2; i++)
		hello.devices[i].mig_flags |= SWO_MIG_P2P;
	assert_int_equal(migration_hello_check(&hello, &target.vm, &params, &why), -1);
	assert_int_equal(why.full.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(why.full.text, "device vf0 has no P2P state on the target"));
	hello.allow_no_p2p = true;
	assert_int_equal(migration_hello_check(&hello, &target.vm, &params, &why), 0);
	/* A single device writes into no other. */
	hello.allow_no_p2p = false;
	hello.device_count = target.vm.device_count = 1;
	assert_int_equal(migration_hello_check(&hello, &target.vm, &params, &why), 0);
	target.vm.device_count = 2;
	migration_hello_free(&hello);
	fake_vm_close(&target);
}

static void a_source_with_devices_without_p2p_is_refused_before_it_connects(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct fake_vm source;

	fake_vm_flags = FAKE_FLAGS_ALL & ~SWO_MIG_P2P;
	fake_vm_open(&source, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_flags = FAKE_FLAGS_ALL;
	for (int allow = 0; allow < 2; allow++) {
		params.allow_no_p2p = allow;
		assert_int_equal(swo_migration_send(&source.vm, "unix:/nonexistent/socket", &params,
					 NULL, NULL, &source.migration, NULL),
			0);
		struct swo_migration_info info = fake_end(&source);

		assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		assert_int_equal(
			strstr(info.error.text, "device vf0 has no P2P state") != NULL, !allow);
		assert_true(fake_vm_runs(&source));
		swo_migration_free(source.migration);
		source.migration = NULL;
	}
	fake_vm_close(&source);
}

/* Agreement */

/* Empty: no difference. */
static const char *compare(
	const struct swo_agreement_entry *source, const struct swo_agreement_entry *with)
{
	static struct swo_agreement one, other;
	static struct refusal why;

	memset(&one, 0, sizeof(one));
	memset(&other, 0, sizeof(other));
	memset(&why, 0, sizeof(why));
	if (source)
		assert_int_equal(swo_agreement_add(&one, source, NULL), 0);
	if (with)
		assert_int_equal(swo_agreement_add(&other, with, NULL), 0);
	const int rc = migration_agreement_check(&one, &other, &why);

	assert_int_equal(rc, why.full.text[0] ? -1 : 0);
	migration_agreement_free(&one);
	migration_agreement_free(&other);
	return why.full.text;
}

static void each_rule_names_the_difference_with_both_values(void **state)
{
	(void)state;
	static const struct {
		enum swo_agreement_rule rule;
		const char *a, *b, *words;
	} texts[] = {
		{SWO_AGREE_EQUAL, "GenuineIntel", "GenuineIntel", ""},
		{SWO_AGREE_EQUAL, "GenuineIntel", "AuthenticAMD",
			"x is 'GenuineIntel' on the source and 'AuthenticAMD' on the target"},
		{SWO_AGREE_SUBSET, "", "", ""},
		{SWO_AGREE_SUBSET, "sse avx", "avx  sse aes", ""},
		{SWO_AGREE_SUBSET, "avx", "avx2 av", "the target lacks: avx"},
		{SWO_AGREE_SUBSET, "aes  sse avx", "sse", "the target lacks: aes avx"},
	};
	static const struct {
		enum swo_agreement_rule rule;
		uint64_t a, b;
		uint32_t ppm;
		const char *words;
	} numbers[] = {
		{SWO_AGREE_AT_LEAST, 4, 4, 0, ""},
		{SWO_AGREE_AT_LEAST, 4, 5, 0, ""},
		{SWO_AGREE_AT_LEAST, 5, 4, 0, "x is '5' on the source and '4' on the target"},
		{SWO_AGREE_WITHIN, 2000000, 2000500, 250, ""},
		{SWO_AGREE_WITHIN, 2000000, 1999500, 250, ""},
		{SWO_AGREE_WITHIN, 2000000, 2000501, 250,
			"x is '2000000' on the source and '2000501 (within 250 ppm)' on the target"},
		{SWO_AGREE_WITHIN, 2000000, 1999499, 250, "'1999499 (within 250 ppm)'"},
		{SWO_AGREE_WITHIN, 2000000, 1, SWO_AGREE_ANY, ""},
		{SWO_AGREE_WITHIN, 0, INT64_MAX, 250, ""},
		{SWO_AGREE_WITHIN, 1, 0, 250, ""},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(texts); i++) {
		const struct swo_agreement_entry a = entry("x", texts[i].rule, texts[i].a, 0);
		const struct swo_agreement_entry b = entry("x", texts[i].rule, texts[i].b, 0);
		const char *why = compare(&a, &b);

		if (texts[i].words[0] ? !strstr(why, texts[i].words) : why[0] != 0)
			fail_msg("text %u: '%s'", i, why);
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(numbers); i++) {
		const struct swo_agreement_entry a =
			entry("x", numbers[i].rule, NULL, numbers[i].a);
		struct swo_agreement_entry b = entry("x", numbers[i].rule, NULL, numbers[i].b);
		b.ppm = numbers[i].ppm;
		const char *why = compare(&a, &b);

		if (numbers[i].words[0] ? !strstr(why, numbers[i].words) : why[0] != 0)
			fail_msg("number %u: '%s'", i, why);
	}
	const struct swo_agreement_entry equal = entry("x", SWO_AGREE_EQUAL, "1", 0);
	const struct swo_agreement_entry number = entry("x", SWO_AGREE_AT_LEAST, NULL, 1);

	assert_non_null(strstr(compare(&equal, NULL), "x is 'reported' on the source and 'not"));
	assert_non_null(
		strstr(compare(NULL, &equal), "x is 'not reported' on the source and 'rep"));
	assert_non_null(
		strstr(compare(&equal, &number), "x is 'equal' on the source and 'at-least'"));
}

static void a_long_list_of_missing_words_is_counted_in_one_line(void **state)
{
	(void)state;
	static char many[4000];

	for (unsigned i = 0, used = 0; i < 100; i++)
		used += (unsigned)snprintf(many + used, sizeof(many) - used, "feature%u ", i);
	const struct swo_agreement_entry a = entry("CPU features", SWO_AGREE_SUBSET, many, 0);
	const struct swo_agreement_entry b = entry("CPU features", SWO_AGREE_SUBSET, "feature1", 0);
	const char *why = compare(&a, &b);

	assert_non_null(
		strstr(why, "CPU features: the source has, and the target lacks: feature0 "));
	assert_non_null(strstr(why, " more"));
	assert_null(strstr(why, "feature1 "));
	assert_null(strchr(why, '\n'));
}

static void malformed_entries_are_refused(void **state)
{
	(void)state;
	static struct swo_agreement list;
	static char large[SWO_AGREEMENT_TEXT_MAX + 2], name[SWO_AGREEMENT_NAME_MAX + 1];
	struct swo_agreement_entry bad[] = {entry("x", SWO_AGREE_EQUAL, "1", 0),
		entry("", SWO_AGREE_EQUAL, "1", 0), entry(NULL, SWO_AGREE_EQUAL, "1", 0),
		entry("y", SWO_AGREE_EQUAL, NULL, 0), entry("y", SWO_AGREE_SUBSET, large, 0),
		entry(name, SWO_AGREE_EQUAL, "1", 0),
		entry("y", (enum swo_agreement_rule)9, "1", 1),
		entry("y", SWO_AGREE_WITHIN, NULL, UINT64_MAX)};
	char some[16];

	memset(large, 'x', sizeof(large) - 1);
	memset(name, 'x', sizeof(name) - 1);
	assert_int_equal(swo_agreement_add(&list, &bad[0], NULL), 0);
	/* The first has a name that is in use now. */
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		assert_int_equal(swo_agreement_add(&list, &bad[i], NULL), -1);
	for (unsigned i = 1; i <= SWO_AGREEMENT_MAX; i++) {
		snprintf(some, sizeof(some), "%u", i);
		const struct swo_agreement_entry e = entry(some, SWO_AGREE_EQUAL, "1", 0);

		assert_int_equal(
			swo_agreement_add(&list, &e, NULL), i == SWO_AGREEMENT_MAX ? -1 : 0);
	}
	migration_agreement_free(&list);
}

static void entries_go_with_hello_and_come_back_alike(void **state)
{
	(void)state;
	struct hello hello;
	static char large[SWO_AGREEMENT_TEXT_MAX + 1];

	memset(large, 'x', sizeof(large) - 1);
	own[0] = entry("CPU vendor", SWO_AGREE_EQUAL, large, 0);
	own[1] = entry("CPU features", SWO_AGREE_SUBSET, "fpu sse", 0);
	own[2] = entry("TSC frequency in kHz", SWO_AGREE_WITHIN, NULL, 2000000);
	own[2].ppm = 250;
	open_target(fake_uri(), NULL, NULL);
	describe(&hello);
	/* The source's CPU has one more feature, and another frequency. */
	free(hello.agreement.entries[1].text);
	hello.agreement.entries[1].text = strdup("fpu avx sse");
	expect_rejected(&hello, "CPU features: the source has, and the target lacks: avx");
	strcpy(hello.agreement.entries[1].text, "sse");
	hello.agreement.entries[2].value = 2001000;
	expect_rejected(&hello,
		"TSC frequency in kHz is '2001000' on the source and '2000000 (within 250 ppm)' on "
		"the target");
	hello.agreement.entries[2].value = 2000100;
	hello.agreement.count = 2;
	expect_rejected(&hello, "'not reported' on the source");
	hello.agreement.count = 3;
	assert_int_equal(greet(&hello), WIRE_HELLO_OK);
	migration_hello_free(&hello);
	close_target();
}

static atomic_int holds; /* comparisons that wait until it is 0; the first one sets it to 2 */

static int hold(void *opaque, struct swo_agreement *out, struct swo_error *err)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	int free = 1;

	(void)opaque;
	(void)out;
	(void)err;
	atomic_compare_exchange_strong(&holds, &free, 2);
	while (atomic_load(&holds) && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + 1000000);
	return 0;
}

/* The connection stays open: its reply is to come. */
static struct channel send_hello(const struct hello *hello)
{
	struct swo_buf json = SWO_BUF_INIT(WIRE_HELLO_MAX);
	struct channel channel = dial(uri);

	assert_int_equal(migration_hello_format(hello, &json, NULL), 0);
	send_frame(
		&channel, (struct channel_frame_header){.type = WIRE_HELLO}, json.data, json.len);
	swo_buf_free(&json);
	return channel;
}

static void a_source_waits_while_another_hello_is_compared(void **state)
{
	(void)state;
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct channel_frame_header header;
	struct hello wrong, right;
	static char reply[65536];

	open_target(fake_uri(), NULL, NULL);
	describe(&wrong);
	describe(&right);
	wrong.layout[0] = 'F';
	atomic_store(&holds, 1);
	target_ops.agree = hold;
	struct channel first = send_hello(&wrong);

	while (atomic_load(&holds) != 2 && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_int_equal(atomic_load(&holds), 2);
	struct channel second = send_hello(&right);

	/* Not rejected meanwhile. */
	assert_false(channel_conn_readable(second.conn, swo_deadline_ms(300)));
	atomic_store(&holds, 0);
	assert_int_equal(next_frame(&first, &header, reply), WIRE_ABORT);
	assert_int_equal(next_frame(&second, &header, reply), WIRE_HELLO_OK);
	channel_close(&first);
	channel_close(&second);
	migration_hello_free(&wrong);
	migration_hello_free(&right);
	close_target();
}

/* Layouts */

static const char *compare_lines(const char *source, const char *with)
{
	static struct refusal why;

	memset(&why, 0, sizeof(why));
	const int rc = migration_agreement_check_lines(source, with, &why);

	assert_int_equal(rc, why.full.text[0] ? -1 : 0);
	return why.full.text;
}

static void what_differs_in_a_long_layout_is_shown_and_not_cut(void **state)
{
	(void)state;
	static char source[20000], with[20000];
	size_t used = 0;

	for (unsigned i = 0; i < 100; i++)
		used += (size_t)snprintf(source + used, sizeof(source) - used,
			"device net%u at 00:%02x.0: 1af4:1041, 8 vectors, regions 4000 0 4000w 0 0 0\n",
			i, i);
	strcpy(with, source);
	assert_string_equal(compare_lines(source, with), "");
	/* In the last line, */
	*strstr(strstr(with, "net99"), "4000w") = '8';
	const char *why = compare_lines(source, with);

	assert_non_null(strstr(why, "line 100 of the machine"));
	assert_non_null(strstr(why, "device net99 at 00:63.0"));
	assert_non_null(strstr(why, "regions 4000 0 4000w"));
	assert_non_null(strstr(why, "regions 4000 0 8000w"));
	/* at the end of a line of 5000 bytes, */
	memset(source, 'x', 5000);
	strcpy(source + 5000, "end\n");
	strcpy(with, source);
	with[5001] = 'a';
	why = compare_lines(source, with);
	assert_non_null(strstr(why, "xxend' on the source"));
	assert_non_null(strstr(why, "xxead' on the target"));
	/* and where one side has no more lines. */
	assert_non_null(strstr(compare_lines("a\nb\n", "a\n"),
		"line 2 of the machine is 'b' on the source and '' on the target"));
	assert_non_null(strstr(compare_lines("a", "a\nb"), "line 2"));
}

/* Strangers */

/* A free port. */
static void tcp_uri(char out[64])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(out, 64, "tcp:127.0.0.1:%u", ntohs(address.sin_port));
	close(fd);
}

static void a_peer_that_is_not_authenticated_gets_what_differs_and_no_values(void **state)
{
	(void)state;
	static const char *const values[] = {
		"secret", "00000bb", "6291456", "vf0", "vf1", "4194304", "fake", "(", "/tmp"};
	static const char *const kinds[] = {"this target accepts another VM",
		"the number of RAM regions and devices", "a RAM region", "a device's id",
		"device-window", "no P2P state", "line 1 of the machine", "CPU features",
		"the reason is in its log"};
	char at[64];

	own[0] = entry("CPU features", SWO_AGREE_SUBSET, "secret", 0);
	tcp_uri(at);
	open_target(at, "00000000-0000-4000-8000-0000000000bb", NULL);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(kinds); i++) {
		struct hello hello;

		describe(&hello);
		if (i == 0)
			hello.identity[0] = '1';
		if (i == 1)
			hello.device_count = 1;
		if (i == 2)
			hello.ram[0].gpa = 4096;
		if (i == 3)
			strcpy(hello.devices[1].name, "x");
		if (i == 4)
			hello.devices[1].window = 1 << 30;
		if (i == 5)
			hello.devices[1].mig_flags &= ~SWO_MIG_P2P;
		if (i == 6)
			hello.layout[0] = 'F';
		if (i == 7)
			strcpy(hello.agreement.entries[0].text, "avx");
		if (i == 8)
			hello.handover = SWO_HANDOVER_FD;
		expect_rejected(&hello, kinds[i]);
		for (unsigned k = 0; k < SWO_ARRAY_SIZE(values); k++)
			assert_null(strstr(text, values[k]));
		migration_hello_free(&hello);
	}
	expect_accepted();
	close_target();
}

/* Bounds */

static long peak_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

#define MOST_KIB (16 << 10)

/* Any client can send one; each value of JSON takes many times its bytes. */
static void a_hello_of_any_size_takes_little_memory(void **state)
{
	(void)state;
	static char large[WIRE_HELLO_MAX + 2];
	static const char *const values[] = {"[],", "{},", "0,", "\"\","};

	open_target(fake_uri(), NULL, NULL);
	memset(large, ' ', sizeof(large));
	const long before = peak_kib();

	/* As many as fit, and as many as are accepted, with blanks between. */
	for (unsigned i = 0; i < 2 * SWO_ARRAY_SIZE(values); i++) {
		const char *value = values[i / 2];
		const size_t step = i % 2 ? 60 : strlen(value);
		size_t used = (size_t)sprintf(large, "{\"ram\":[");

		memset(large + used, ' ', sizeof(large) - used);
		for (; used + step + 3 < WIRE_HELLO_MAX; used += step)
			memcpy(large + used, value, strlen(value));
		memcpy(large + used, "0]}", 3);
		assert_int_equal(send_text(large, used + 3), WIRE_ABORT);
		assert_non_null(strstr(
			text, i % 2 ? "no version of the migration protocol" : "too many values"));
	}
	/* A longer one is not even received. */
	assert_int_equal(send_text(large, WIRE_HELLO_MAX + 1), -1);
	if (getenv("SWITCHOVER_TEST_SHOW"))
		print_message("# %ld KiB more\n", peak_kib() - before);
#ifndef __SANITIZE_ADDRESS__
	assert_true(peak_kib() - before < MOST_KIB);
#endif
	expect_accepted();
	close_target();
}

/* With as many devices as a VM may have, all of them described. */
static void the_hello_of_the_largest_vm_is_within_the_bounds(void **state)
{
	(void)state;
	struct swo_buf json = SWO_BUF_INIT(WIRE_HELLO_MAX),
		       layout = SWO_BUF_INIT(WIRE_HELLO_MAX / 2);
	struct swo_device_costs *costs = calloc(SWO_DEVICES_MAX, sizeof(*costs));
	struct migration_hello_ok ok = {.ticket = UINT64_MAX};
	static char features[SWO_AGREEMENT_TEXT_MAX + 1];
	struct hello hello, back;
	char line[200];

	assert_non_null(costs);
	open_target(fake_uri(), NULL, NULL);
	describe(&hello);
	free(hello.layout);
	free(hello.devices);
	hello.device_count = SWO_DEVICES_MAX;
	hello.devices = calloc(SWO_DEVICES_MAX, sizeof(*hello.devices));
	assert_non_null(hello.devices);
	for (unsigned i = 0; i < SWO_DEVICES_MAX; i++) {
		struct migration_hello_device *device = &hello.devices[i];

		snprintf(device->name, sizeof(device->name), "name-of-thirty-one-chars-x-%04u", i);
		device->mig_flags = FAKE_FLAGS_ALL;
		device->window = SWO_DEFAULT_DEVICE_WINDOW;
		device->spread = true;
		costs[i] = (struct swo_device_costs){.resuming_to_stop_ns = INT64_MAX,
			.stop_to_p2p_ns = INT64_MAX,
			.p2p_to_running_ns = INT64_MAX};
		snprintf(line, sizeof(line),
			"device %s at ff:1f.7: 1af4:1041, 2048 vectors, regions 100000000w 0 4000w 0 "
			"4000 0, states 0x7\n",
			device->name);
		assert_int_equal(swo_buf_append(&layout, line, strlen(line), NULL), 0);
	}
	assert_int_equal(swo_buf_append(&layout, "", 1, NULL), 0);
	hello.layout = (char *)layout.data;
	memset(features, 'x', sizeof(features) - 1);
	const struct swo_agreement_entry e = entry("CPU features", SWO_AGREE_SUBSET, features, 0);

	assert_int_equal(swo_agreement_add(&hello.agreement, &e, NULL), 0);
	assert_int_equal(migration_hello_format(&hello, &json, NULL), 0);
	assert_int_equal(migration_hello_parse(json.data, json.len, &back, NULL), 0);
	assert_int_equal(back.device_count, SWO_DEVICES_MAX);
	assert_string_equal(back.layout, hello.layout);
	json.len = 0;
	assert_int_equal(migration_hello_ok_format(costs, SWO_DEVICES_MAX, &ok, &json, NULL), 0);
	assert_int_equal(
		migration_hello_ok_parse(json.data, json.len, costs, SWO_DEVICES_MAX, &ok, NULL),
		0);
	migration_hello_free(&back);
	migration_hello_free(&hello);
	swo_buf_free(&json);
	free(costs);
	close_target();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hello_of_any_size_takes_little_memory), /* first: a peak */
		cmocka_unit_test(
			an_id_that_is_no_uuid_or_is_taken_is_rejected_and_the_target_waits),
		cmocka_unit_test(what_does_not_fit_in_a_hello_never_consumes_the_target),
		cmocka_unit_test(
			several_devices_need_p2p_on_both_sides_unless_the_source_overrides_it),
		cmocka_unit_test(a_source_with_devices_without_p2p_is_refused_before_it_connects),
		cmocka_unit_test(each_rule_names_the_difference_with_both_values),
		cmocka_unit_test(a_long_list_of_missing_words_is_counted_in_one_line),
		cmocka_unit_test(malformed_entries_are_refused),
		cmocka_unit_test(entries_go_with_hello_and_come_back_alike),
		cmocka_unit_test(a_source_waits_while_another_hello_is_compared),
		cmocka_unit_test(what_differs_in_a_long_layout_is_shown_and_not_cut),
		cmocka_unit_test(the_hello_of_the_largest_vm_is_within_the_bounds),
		cmocka_unit_test(a_peer_that_is_not_authenticated_gets_what_differs_and_no_values),
	};
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
