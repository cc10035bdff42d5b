// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmalog.c - DMA logging: the model's log, handed to the core's bitmap. All of memory is
 * logged, whatever the ranges.
 */
#include <linux/slab.h>

#include "compat.h"
#include "simvf.h"

#define PIECE_PAGES 65536UL

static int log_start(
	struct vfio_device *vdev, struct rb_root_cached *ranges, u32 nnodes, u64 *page_size)
{
	struct simvf *dev = to_simvf(vdev);
	int ret = -EINVAL;

	mutex_lock(&dev->lock);
	if (!dev->model->log.on) {
		svf_log_start(dev->model);
		*page_size = SVF_BLOCK;
		ret = 0;
	}
	mutex_unlock(&dev->lock);
	return ret;
}

static int log_stop(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);

	mutex_lock(&dev->lock);
	svf_log_stop(dev->model);
	mutex_unlock(&dev->lock);
	return 0;
}

static void hand_over(struct iova_bitmap *dirty, unsigned long iova, unsigned long pages,
	const unsigned long *bits)
{
	unsigned long from, to;

	for (from = find_first_bit(bits, pages); from < pages;
		from = find_next_bit(bits, pages, to)) {
		to = find_next_zero_bit(bits, pages, from);
		iova_bitmap_set(dirty, iova + from * SVF_BLOCK, (to - from) * SVF_BLOCK);
	}
}

static int log_read_and_clear(struct vfio_device *vdev, unsigned long iova, unsigned long length,
	struct iova_bitmap *dirty)
{
	struct simvf *dev = to_simvf(vdev);
	unsigned long *bits = kvmalloc(PIECE_PAGES / 8, GFP_KERNEL);
	int ret = 0;

	if (!bits)
		return -ENOMEM;
	while (length && !ret) {
		unsigned long piece = min(length, PIECE_PAGES * SVF_BLOCK);
		unsigned long pages = DIV_ROUND_UP(piece, SVF_BLOCK);

		memset(bits, 0, PIECE_PAGES / 8);
		mutex_lock(&dev->lock);
		ret = svf_log_report(dev->model, iova, piece, SVF_BLOCK, (uint64_t *)bits);
		mutex_unlock(&dev->lock);
		if (!ret)
			hand_over(dirty, iova, pages, bits);
		iova += piece;
		length -= piece;
	}
	kvfree(bits);
	return ret;
}

const struct vfio_log_ops simvf_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};
