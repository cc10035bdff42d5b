/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chain.c - measures the throughput of plain sockets over the hops of device state: device, source,
 * target, device. Minimal framing and no checks: the rate to compare with.
 */
#include "number.h"
#include "switchover/base.h"

#include <argp.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICES_MAX  256
#define CHANNELS_MAX 16
#define REPEAT_MAX   99
#define CHUNK	     (1u << 20) /* bytes that a device sends at a time */
#define GUARD_S	     60
#define PINGS	     101

struct setting {
	unsigned devices, channels, repeat;
	uint64_t bytes; /* of each device */
	bool tcp;
};

/* The ends of all hops; every process inherits all of them. */
struct hops {
	int up[DEVICES_MAX][2];	   /* device to source */
	int link[CHANNELS_MAX][2]; /* source to target */
	int down[DEVICES_MAX][2];  /* target to device */
	int go[2];		   /* one byte for each saving device: start a round */
	int done[2];		   /* one byte from each loading device: all received */
};

struct head {
	uint32_t device;
	uint32_t len;
};

static void fail(const char *what)
{
	fprintf(stderr, "chain: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void put(int fd, const void *data, size_t len)
{
	for (const char *at = data; len;) {
		ssize_t n = write(fd, at, len);

		if (n <= 0)
			fail("write");
		at += n;
		len -= (size_t)n;
	}
}

static void get(int fd, void *data, size_t len)
{
	for (char *at = data; len;) {
		ssize_t n = read(fd, at, len);

		if (n <= 0)
			fail("read");
		at += n;
		len -= (size_t)n;
	}
}

static size_t chunk_of(uint64_t left)
{
	return left < CHUNK ? (size_t)left : CHUNK;
}

static void *buffer(void)
{
	void *memory = malloc(CHUNK);

	if (!memory)
		fail("malloc");
	memset(memory, 1, CHUNK);
	return memory;
}

/* The four kinds of process */

/* Every process runs one round more than is measured: the first is a warm-up. */
static unsigned rounds_of(const struct setting *s)
{
	return s->repeat + 1;
}

static void saving_device(const struct setting *s, const struct hops *hops, unsigned i)
{
	char *data = buffer(), byte;

	for (unsigned round = 0; round < rounds_of(s); round++) {
		get(hops->go[0], &byte, 1);
		for (uint64_t left = s->bytes; left; left -= chunk_of(left))
			put(hops->up[i][0], data, chunk_of(left));
	}
	free(data);
}

static void loading_device(const struct setting *s, const struct hops *hops, unsigned i)
{
	char *data = buffer();

	for (unsigned round = 0; round < rounds_of(s); round++) {
		for (uint64_t left = s->bytes; left; left -= chunk_of(left))
			get(hops->down[i][1], data, chunk_of(left));
		put(hops->done[1], data, 1);
	}
	free(data);
}

struct relay {
	const struct setting *setting;
	const struct hops *hops;
	unsigned number; /* of the device (source) or the channel (target) */
	pthread_mutex_t *locks;
};

static void *relay_source(void *opaque)
{
	const struct relay *relay = opaque;
	unsigned channel = relay->number % relay->setting->channels;
	struct head head = {.device = relay->number};
	char *data = buffer();

	/* A chunk never spans two rounds, like a read of device state. */
	for (uint64_t left = 0, rounds = rounds_of(relay->setting); left || rounds;
		left -= head.len) {
		if (!left) {
			left = relay->setting->bytes;
			rounds--;
		}
		head.len = (uint32_t)chunk_of(left);
		get(relay->hops->up[relay->number][1], data, head.len);
		pthread_mutex_lock(&relay->locks[channel]);
		put(relay->hops->link[channel][0], &head, sizeof(head));
		put(relay->hops->link[channel][0], data, head.len);
		pthread_mutex_unlock(&relay->locks[channel]);
	}
	free(data);
	return NULL;
}

static void *relay_target(void *opaque)
{
	const struct relay *relay = opaque;
	const struct setting *s = relay->setting;
	uint64_t left = 0;
	struct head head;
	char *data = buffer();

	for (unsigned i = relay->number; i < s->devices; i += s->channels)
		left += s->bytes * rounds_of(s);
	for (; left; left -= head.len) {
		get(relay->hops->link[relay->number][1], &head, sizeof(head));
		get(relay->hops->link[relay->number][1], data, head.len);
		put(relay->hops->down[head.device][0], data, head.len);
	}
	free(data);
	return NULL;
}

static void run_relays(const struct setting *s, const struct hops *hops, bool source)
{
	static struct relay relays[DEVICES_MAX];
	static pthread_t threads[DEVICES_MAX];
	static pthread_mutex_t locks[CHANNELS_MAX];
	unsigned count = source ? s->devices : s->channels;

	for (unsigned i = 0; i < s->channels; i++)
		pthread_mutex_init(&locks[i], NULL);
	for (unsigned i = 0; i < count; i++) {
		relays[i] = (struct relay){s, hops, i, locks};
		errno = pthread_create(
			&threads[i], NULL, source ? relay_source : relay_target, &relays[i]);
		if (errno)
			fail("thread");
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* One chain */

static void tcp_pair(int fds[2])
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	/*
	 * The same settings as in lib/channel/tune.c: the yardstick must not be slower due to its
	 * sockets.
	 */
	int one = 1, size = 512 << 10, listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 1) ||
		getsockname(listener, (struct sockaddr *)&addr, &len))
		fail("listen");
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&addr, len))
		fail("connect");
	fds[1] = accept(listener, NULL, NULL);
	if (fds[1] < 0)
		fail("accept");
	close(listener);
	for (int i = 0; i < 2; i++) {
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fds[i], IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
}

static void open_hops(const struct setting *s, struct hops *hops)
{
	if (pipe(hops->go) || pipe(hops->done))
		fail("pipe");
	for (unsigned i = 0; i < s->devices; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, hops->up[i]) ||
			socketpair(AF_UNIX, SOCK_STREAM, 0, hops->down[i]))
			fail("socketpair");
	for (unsigned i = 0; i < s->channels; i++)
		if (s->tcp)
			tcp_pair(hops->link[i]);
		else if (socketpair(AF_UNIX, SOCK_STREAM, 0, hops->link[i]))
			fail("socketpair");
}

/* Into an ascending array. */
static void insert(double *values, unsigned count, double value)
{
	for (; count && values[count - 1] > value; count--)
		values[count] = values[count - 1];
	values[count] = value;
}

/* Returns 0 in the child, which dies with its parent. */
static pid_t spawn(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		alarm(GUARD_S);
	}
	return pid;
}

static double one_round(const struct setting *s, const struct hops *hops)
{
	char bytes[DEVICES_MAX] = {0};
	uint64_t start = swo_now_ns();

	put(hops->go[1], bytes, s->devices);
	get(hops->done[0], bytes, s->devices);
	return (double)s->bytes * s->devices / ((double)(swo_now_ns() - start) / 1e9);
}

/* Fills rates[0..repeat), ascending. */
static void run_rounds(const struct setting *s, double *rates)
{
	static struct hops hops;
	unsigned children = 2 * s->devices + 2;

	open_hops(s, &hops);
	for (unsigned i = 0; i < children; i++) {
		if (spawn())
			continue;
		if (i < s->devices)
			saving_device(s, &hops, i);
		else if (i < 2 * s->devices)
			loading_device(s, &hops, i - s->devices);
		else
			run_relays(s, &hops, i == 2 * s->devices);
		_exit(0);
	}
	alarm(GUARD_S);
	one_round(s, &hops);
	for (unsigned i = 0; i < s->repeat; i++)
		insert(rates, i, one_round(s, &hops));
	for (unsigned i = 0; i < children; i++) {
		int status;

		if (wait(&status) < 0 || status)
			fail("a part of the chain failed");
	}
}

/* The round trip of one byte over the link, with another process. */
static double round_trip_ns(const struct setting *s)
{
	static double rounds[PINGS];
	int link[2];
	char byte = 0;

	if (s->tcp)
		tcp_pair(link);
	else if (socketpair(AF_UNIX, SOCK_STREAM, 0, link))
		fail("socketpair");
	if (!spawn()) {
		for (unsigned i = 0; i < PINGS; i++) {
			get(link[1], &byte, 1);
			put(link[1], &byte, 1);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < PINGS; i++) {
		uint64_t start = swo_now_ns();

		put(link[0], &byte, 1);
		get(link[0], &byte, 1);
		insert(rounds, i, (double)(swo_now_ns() - start));
	}
	wait(NULL);
	close(link[0]);
	close(link[1]);
	return rounds[PINGS / 2];
}

/* The command line */

static const struct argp_option options[] = {
	{"devices", 'd', "N", 0, "Devices on each side (1)", 0},
	{"bytes", 'b', "N", 0, "Bytes of each (1 MiB)", 0},
	{"channel", 'c', "KIND", 0, "unix or tcp (unix)", 0},
	{"channels", 'n', "N", 0, "Connections from source to target (2)", 0},
	{"repeat", 'r', "N", 0, "Median and best of so many are printed (5)", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct setting *s = state->input;

	switch (key) {
	case 'd':
		s->devices = (unsigned)number(state, arg, 1, DEVICES_MAX);
		break;
	case 'b':
		s->bytes = number(state, arg, 1, 1ull << 40);
		break;
	case 'c':
		s->tcp = !strcmp(arg, "tcp");
		if (!s->tcp && strcmp(arg, "unix"))
			argp_error(state, "--channel: expected unix or tcp, got '%s'", arg);
		break;
	case 'n':
		s->channels = (unsigned)number(state, arg, 1, CHANNELS_MAX);
		break;
	case 'r':
		s->repeat = (unsigned)number(state, arg, 1, REPEAT_MAX);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct argp argp = {.options = options,
		.parser = parse_option,
		.doc = "Measure the throughput of plain sockets over the hops of device state: device to "
		       "source, source to target, target to device. Prints one JSON object."};
	struct setting s = {.devices = 1, .channels = 2, .repeat = 5, .bytes = 1 << 20};
	double rates[REPEAT_MAX];

	argp_parse(&argp, argc, argv, 0, NULL, &s);
	if (s.channels > s.devices)
		s.channels = s.devices;
	signal(SIGPIPE, SIG_IGN);
	double rtt = round_trip_ns(&s);
	run_rounds(&s, rates);
	printf("{\"devices\":%u,\"bytes\":%llu,\"channels\":%u,\"bytes_per_s\":%.0f,"
	       "\"bytes_per_s_best\":%.0f,\"rtt_ns\":%.0f}\n",
		s.devices, (unsigned long long)s.bytes, s.channels, rates[s.repeat / 2],
		rates[s.repeat - 1], rtt);
	return 0;
}
