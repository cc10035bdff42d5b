/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.h - the process around one simulated VF: a vfio-user connection, its memory maps and
 * eventfds, a control socket, a report. One thread; no call blocks for long.
 */
#ifndef SIMVF_SERVER_SERVER_H
#define SIMVF_SERVER_SERVER_H

#include "device/vfio_user/message.h"
#include "device/vfio_user/proto.h"
#include "model/model.h"
#include "profiles/named.h"
#include "switchover/base.h"

#include <jansson.h>
#include <signal.h>

/* Limits: the largest body, the largest read of device state, of a dirty bitmap. */
#define SRV_DATA_MAX	(1u << 20)
#define SRV_BODY_MAX	(SRV_DATA_MAX + 4096)
#define SRV_READ_MAX	(4u << 20)
#define SRV_BITMAP_MAX	(16u << 20)
#define SRV_MAPS_MAX	65535
#define SRV_DEFERRED	256
#define SRV_CONTROLS	8
#define SRV_CONTROL_MAX 65536

struct srv_args {
	const char *socket, *control, *report, *name, *pf, *pf_dir;
	struct svf_profile profile;
	struct svf_fault faults[SVF_FAULTS];
	unsigned fault_count;
	unsigned mig_flags;
	uint64_t seed;
	bool have_seed, pf_arcs, late_dma, no_data_size, no_dma_log, no_twin, quiet;
	int ready_fd; /* -1: none */
};

/* One received message; owns body and fds. */
struct srv_message {
	struct srv_message *next;
	struct vfio_user_header header;
	uint8_t *body;
	size_t len;
	struct vfio_user_fds fds;
};

struct srv_conn {
	int fd;	  /* -1: no client */
	int twin; /* for commands to the client; -1: they use fd */
	bool negotiated;
	bool doomed;   /* close after the current reply */
	bool cut;      /* close without sending more */
	bool awaiting; /* the reply to a command to the client */
	struct vfio_user_caps peer;
	uint16_t next_id;
	/* receiving */
	struct srv_message *in;
	size_t header_got, body_got;
	uint64_t skip; /* bytes of a refused body still to come */
	struct srv_message *deferred, **deferred_end;
	unsigned deferred_count;
	/* sending: one reply at a time; `reply` begins with space for its header */
	uint8_t *reply;
	size_t reply_room, out_len, out_pos;
};

struct srv_map {
	uint64_t iova, size, offset;
	dev_t dev; /* with the inode: the file; zeros: none, it is accessed by messages only */
	ino_t ino;
	uint8_t *host; /* NULL: by messages */
	uint32_t prot;
};

/* A command without its reply yet. */
enum srv_op_kind {
	SRV_OP_NONE,
	SRV_OP_ARC,
	SRV_OP_READ,
	SRV_OP_WRITE,
	SRV_OP_LOG, /* a fault holds it up */
	SRV_OP_DELAY
};

struct srv_op {
	enum srv_op_kind kind;
	struct srv_message *message;
	size_t want, got; /* READ */
	uint64_t due;	  /* DELAY */
	size_t payload;	  /* of the reply, DELAY and ARC */
};

struct srv_pf; /* pf.c */

struct srv_control {
	int fd; /* -1: free */
	char *in;
	size_t in_len;
	struct swo_buf out;
	size_t out_pos;
};

struct srv {
	const struct srv_args *args;
	struct svf *dev;
	void *memory;
	int listen_fd, inbox_fd;
	uint64_t *inbox;
	struct srv_conn conn;
	struct srv_op op;
	struct srv_map *maps;
	unsigned map_count, map_room, map_last;
	int irq[SIMVF_MSIX_VECTORS];
	struct srv_pf *pf;
	int control_fd;
	struct srv_control controls[SRV_CONTROLS];
	bool quit;
};

/* args.c: argp; exits on an invalid command line. */
void srv_args_parse(int argc, char **argv, struct srv_args *args);

/* server.c */
int srv_open(struct srv *s, const struct srv_args *args, struct swo_error *err);
void srv_close(struct srv *s);
/* A listening, owner-only UNIX socket; refuses a path on which a process listens. */
int srv_listen(const char *path, int *out, struct swo_error *err);

/* loop.c: until SIGTERM, SIGINT or a "quit". */
void srv_signals(void);
void srv_loop(struct srv *s);

/* conn.c */
void srv_conn_init(struct srv_conn *c);
void srv_conn_accept(struct srv *s);
/* Drops maps, eventfds, the log; an arc in progress continues. */
void srv_conn_drop(struct srv *s);
/* The next complete message: 1 and *out (owned by the caller), 0: incomplete, -1: the end. */
int srv_conn_receive(struct srv *s, struct srv_message **out);
void srv_message_free(struct srv_message *m);
/* Space for a reply's payload of so many bytes, zeroed; NULL: no memory. */
uint8_t *srv_reply_room(struct srv_conn *c, size_t payload);
/*
 * Replies: error 0 with `payload` bytes, or an errno. Honours NO_REPLY. The caller keeps the
 * fds.
 */
void srv_reply(struct srv *s, const struct vfio_user_header *request, size_t payload, int error,
	const int *fds, unsigned fd_count);
void srv_conn_flush(struct srv *s);
static inline bool srv_conn_sending(const struct srv_conn *c)
{
	return c->out_pos < c->out_len;
}

/* commands.c: executes it and replies, or leaves it in s->op. Takes ownership of the message. */
void srv_command(struct srv *s, struct srv_message *m, uint64_t now);
/* Continues s->op. */
void srv_progress(struct srv *s, uint64_t now);

/*
 * Each handler returns >= 0: success with so many bytes of payload in the reply; -errno; or
 * SRV_LATER: it has set s->op (except its message), or has replied.
 */
#define SRV_LATER INT32_MIN
/* regions.c */
int srv_get_info(struct srv *s, const struct srv_message *m);
int srv_get_region_info(struct srv *s, const struct srv_message *m);
int srv_get_region_io_fds(struct srv *s, const struct srv_message *m);
int srv_get_irq_info(struct srv *s, const struct srv_message *m);
int srv_set_irqs(struct srv *s, struct srv_message *m);
int srv_region_read(struct srv *s, const struct srv_message *m);
int srv_region_write(struct srv *s, const struct srv_message *m, uint64_t now);
int srv_region_write_multi(struct srv *s, const struct srv_message *m, uint64_t now);
void srv_irqs_drop(struct srv *s);
bool srv_irq_raise(struct srv *s, unsigned vector);
/* feature.c */
int srv_device_feature(struct srv *s, const struct srv_message *m, uint64_t now);
int srv_mig_data_read(struct srv *s, const struct srv_message *m, uint64_t now);
int srv_mig_data_write(struct srv *s, const struct srv_message *m, uint64_t now);
void srv_mig_data_reply(struct srv *s, const struct vfio_user_header *request);
/* dma.c */
int srv_dma_map(struct srv *s, struct srv_message *m);
int srv_dma_unmap(struct srv *s, const struct srv_message *m);
void srv_dma_drop(struct srv *s);
extern const struct svf_ops srv_device_ops;

/* pf.c: the firmware that siblings share, as a file of reservations. */
int srv_pf_open(const char *dir, const char *name, struct srv_pf **out, struct swo_error *err);
void srv_pf_close(struct srv_pf *pf);
uint64_t srv_pf_reserve(
	struct srv_pf *pf, enum svf_lane lane, uint64_t earliest, uint64_t duration);

/* report.c */
json_t *srv_report(struct srv *s); /* NULL: no memory */
int srv_report_write(struct srv *s, const char *path, struct swo_error *err);
void srv_report_line(struct srv *s);

/* control.c */
void srv_control_accept(struct srv *s);
void srv_control_serve(struct srv *s, struct srv_control *c, short events);
void srv_control_drop(struct srv_control *c);

#endif
