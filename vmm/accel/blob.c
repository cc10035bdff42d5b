/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blob.c - the saved state of an accelerator: a header and tagged records. It arrives over a
 * network: every length is checked before use.
 */
#include "internal.h"

#include <string.h>

#define BLOB_VERSION 1u

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they are");

static const char blob_magic[8] = {'S', 'W', 'O', 'V', 'C', 'P', 'U', 'S'};

struct blob_start {
	char magic[8];
	uint32_t version;
	uint32_t kind;
	uint32_t vcpus;
	uint32_t records;
};
static_assert(sizeof(struct blob_start) == 24, "saved state");
static_assert(sizeof(struct blob_record) == 16, "saved state");

int blob_head(
	struct swo_buf *out, uint32_t kind, uint32_t vcpus, uint32_t records, struct swo_error *err)
{
	struct blob_start start = {
		.version = BLOB_VERSION,
		.kind = kind,
		.vcpus = vcpus,
		.records = records,
	};

	memcpy(start.magic, blob_magic, sizeof(blob_magic));
	return swo_buf_append(out, &start, sizeof(start), err);
}

int blob_put(struct swo_buf *out, uint32_t tag, uint32_t index, const void *data, size_t length,
	struct swo_error *err)
{
	struct blob_record record = {.tag = tag, .index = index, .length = (uint32_t)length};

	if (swo_buf_append(out, &record, sizeof(record), err))
		return -1;
	return swo_buf_append(out, data, length, err);
}

static const char *kind_name(uint32_t kind)
{
	return kind == BLOB_KIND_KVM ? "kvm" : kind == BLOB_KIND_NATIVE ? "native" : "an unknown";
}

int blob_open(struct blob_reader *reader, const void *data, size_t len, uint32_t kind,
	uint32_t vcpus, struct swo_error *err)
{
	struct blob_start start;

	if (len < sizeof(start) || len > BLOB_SIZE_MAX ||
		memcmp(data, blob_magic, sizeof(blob_magic)))
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "malformed vCPU state: no header in %zu bytes", len);
	memcpy(&start, data, sizeof(start));
	if (start.version != BLOB_VERSION)
		return swo_error_set(err, SWO_E_CORRUPT, 0, "vCPU state: version %u, expected %u",
			start.version, BLOB_VERSION);
	if (start.kind != kind || start.vcpus != vcpus)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"vCPU state: %u vCPUs of the %s accelerator, expected %u of %s",
			start.vcpus, kind_name(start.kind), vcpus, kind_name(kind));
	reader->at = (const uint8_t *)data + sizeof(start);
	reader->left = len - sizeof(start);
	reader->records = start.records;
	return 0;
}

int blob_next(struct blob_reader *reader, struct blob_record *record, const void **data,
	struct swo_error *err)
{
	if (!reader->records) {
		if (reader->left)
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"malformed vCPU state: %zu bytes after the last record",
				reader->left);
		return 0;
	}
	if (reader->left < sizeof(*record))
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "truncated vCPU state: incomplete record header");
	memcpy(record, reader->at, sizeof(*record));
	if (record->length > reader->left - sizeof(*record))
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"truncated vCPU state: incomplete record %u", record->tag);
	if (record->zero)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"malformed vCPU state: header of record %u", record->tag);
	*data = reader->at + sizeof(*record);
	reader->at += sizeof(*record) + record->length;
	reader->left -= sizeof(*record) + record->length;
	reader->records--;
	return 1;
}
