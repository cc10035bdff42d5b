// SPDX-License-Identifier: GPL-2.0-only
/*
 * stream.c - a data session: the data_fd by which the state is read or written. It may outlive
 * the session and the opening of its device; calls then fail with ENODEV.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "simvf.h"

#define PIECE (256 * 1024)

struct simvf_stream {
	struct simvf *dev; /* holds a reference */
	struct mutex io_mutex;
	bool live; /* under dev->lock */
	u8 *piece; /* under io_mutex */
};

/* Reads and writes, a piece at a time */

/* -EAGAIN: no data yet; continue after a sleep until *until. lock is held. */
static int try_read(struct simvf_stream *stream, size_t len, size_t *got, u64 *until)
{
	struct svf *model = stream->dev->model;
	int ret;

	*until = SVF_NEVER;
	*got = 0;
	if (!stream->live)
		return -ENODEV;
	if (svf_walking(model))
		return -EAGAIN;
	ret = svf_read(model, stream->piece, len, got, ktime_get_ns());
	if (ret != SVF_PENDING)
		return ret;
	if (*got)
		return 0;
	if (model->save.engine.grant_bytes)
		*until = model->save.engine.grant_end;
	if (model->hold.on)
		*until = min(*until, model->hold.due);
	return -EAGAIN;
}

static int try_write(struct simvf_stream *stream, size_t len, u64 *until)
{
	struct svf *model = stream->dev->model;
	int ret;

	*until = SVF_NEVER;
	if (!stream->live)
		return -ENODEV;
	if (svf_walking(model))
		return -EAGAIN;
	ret = svf_write(model, stream->piece, len, ktime_get_ns());
	if (ret != SVF_PENDING)
		return ret;
	if (model->load.engine.grant_bytes)
		*until = model->load.engine.grant_end;
	if (model->hold.on)
		*until = min(*until, model->hold.due);
	return -EAGAIN;
}

static ssize_t end_of_data(struct simvf *dev)
{
#ifdef VFIO_MIGRATION_PRE_COPY
	unsigned int state = READ_ONCE(dev->model->state);

	if (state != SVF_STOP_COPY && !dev->precopy_zero)
		return -ENOMSG;
#endif
	return 0;
}

static ssize_t read_some(
	struct simvf_stream *stream, struct file *file, char __user *buf, size_t len)
{
	struct simvf *dev = stream->dev;

	for (;;) {
		unsigned int changes;
		ssize_t at_end;
		size_t got;
		u64 until;
		int ret;

		mutex_lock(&dev->lock);
		ret = try_read(stream, min_t(size_t, len, PIECE), &got, &until);
		at_end = end_of_data(dev);
		changes = dev->changes;
		simvf_kick(dev);
		mutex_unlock(&dev->lock);
		if (!ret && !got)
			return at_end;
		if (!ret)
			return copy_to_user(buf, stream->piece, got) ? -EFAULT : (ssize_t)got;
		if (ret != -EAGAIN || (file->f_flags & O_NONBLOCK))
			return ret;
		ret = simvf_sleep(dev, until, changes, TASK_INTERRUPTIBLE);
		if (ret)
			return ret;
	}
}

static ssize_t write_some(
	struct simvf_stream *stream, struct file *file, const char __user *buf, size_t len)
{
	struct simvf *dev = stream->dev;

	len = min_t(size_t, len, PIECE);
	if (copy_from_user(stream->piece, buf, len))
		return -EFAULT;
	for (;;) {
		unsigned int changes;
		u64 until;
		int ret;

		mutex_lock(&dev->lock);
		ret = try_write(stream, len, &until);
		changes = dev->changes;
		simvf_kick(dev);
		mutex_unlock(&dev->lock);
		if (!ret)
			return len;
		if (ret != -EAGAIN || (file->f_flags & O_NONBLOCK))
			return ret;
		ret = simvf_sleep(dev, until, changes, TASK_INTERRUPTIBLE);
		if (ret)
			return ret;
	}
}

/* An error in the first piece is returned; a later one is returned by the next call. */
static ssize_t stream_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct simvf_stream *stream = file->private_data;
	ssize_t done = 0, n = 0;

	if (pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&stream->io_mutex))
		return -EINTR;
	while ((size_t)done < len) {
		n = read_some(stream, file, buf + done, len - done);
		if (n <= 0)
			break;
		done += n;
		if (n < PIECE)
			break;
	}
	mutex_unlock(&stream->io_mutex);
	return done ? done : n;
}

static ssize_t stream_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct simvf_stream *stream = file->private_data;
	struct simvf *dev = stream->dev;
	ssize_t done = 0, n = 0;
	bool was_complete;

	if (pos)
		return -ESPIPE;
	if (mutex_lock_interruptible(&stream->io_mutex))
		return -EINTR;
	was_complete = READ_ONCE(dev->model->load.end);
	while ((size_t)done < len) {
		n = write_some(stream, file, buf + done, len - done);
		if (n <= 0)
			break;
		done += n;
	}
	if (dev->loaded && done && !was_complete && READ_ONCE(dev->model->load.end))
		dev->loaded(dev);
	mutex_unlock(&stream->io_mutex);
	return done ? done : n;
}

/* GET_PRECOPY_INFO */

#ifdef VFIO_MIGRATION_PRE_COPY
static long precopy_info(struct simvf_stream *stream, void __user *arg)
{
	const size_t size = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct simvf *dev = stream->dev;
	struct vfio_precopy_info info;
	uint64_t initial = 0, dirty = 0;
	int ret;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	if (mutex_lock_killable(&dev->state_mutex))
		return -EINTR;
	mutex_lock(&dev->lock);
	ret = stream->live ? svf_precopy_info(dev->model, &initial, &dirty) : -ENODEV;
#ifdef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
	if (dev->vdev.precopy_info_v2)
		info.flags = 0;
#endif
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	if (ret)
		return ret;
	info.initial_bytes = initial;
	info.dirty_bytes = dirty;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}
#endif

static long stream_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
#ifdef VFIO_MIGRATION_PRE_COPY
	if (cmd == VFIO_MIG_GET_PRECOPY_INFO && (file->f_mode & FMODE_READ))
		return precopy_info(file->private_data, (void __user *)arg);
#endif
	return -ENOTTY;
}

/* Life */

static void stream_free(struct simvf_stream *stream)
{
	put_device(&stream->dev->vdev.device);
	kvfree(stream->piece);
	kfree(stream);
}

static int stream_release(struct inode *inode, struct file *file)
{
	struct simvf_stream *stream = file->private_data;
	struct simvf *dev = stream->dev;

	mutex_lock(&dev->lock);
	if (dev->stream == stream)
		dev->stream = NULL;
	mutex_unlock(&dev->lock);
	stream_free(stream);
	return 0;
}

static const struct file_operations save_fops = {
	.owner = THIS_MODULE,
	.read = stream_read,
	.unlocked_ioctl = stream_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = stream_release,
};

static const struct file_operations load_fops = {
	.owner = THIS_MODULE,
	.write = stream_write,
	.release = stream_release,
};

struct file *simvf_stream_open(struct simvf *dev, bool saving)
{
	struct simvf_stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL);
	struct file *file;

	if (!stream)
		return ERR_PTR(-ENOMEM);
	stream->piece = kvmalloc(PIECE, GFP_KERNEL);
	if (!stream->piece) {
		kfree(stream);
		return ERR_PTR(-ENOMEM);
	}
	mutex_init(&stream->io_mutex);
	stream->dev = dev;
	get_device(&dev->vdev.device);
	file = anon_inode_getfile(saving ? "simvf-save" : "simvf-load",
		saving ? &save_fops : &load_fops, stream, saving ? O_RDONLY : O_WRONLY);
	if (IS_ERR(file)) {
		stream_free(stream);
		return file;
	}
	stream_open(file_inode(file), file);
	return file;
}

void simvf_stream_attach(struct simvf *dev, struct file *file)
{
	struct simvf_stream *stream = file->private_data;

	simvf_stream_end(dev);
	stream->live = true;
	dev->stream = stream;
}

void simvf_stream_end(struct simvf *dev)
{
	lockdep_assert_held(&dev->lock);
	if (dev->stream)
		dev->stream->live = false;
	dev->stream = NULL;
}
