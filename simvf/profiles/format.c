/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * format.c - the costs of a device's arcs, of saving and of loading, parsed from "key = value"
 * text: the files in simvf/profiles, or command-line options.
 */
#include "text.h"

enum unit { MILLISECONDS, BYTES, MEGABYTES_PER_SECOND, PERCENT };

static const struct figure {
	const char *key;
	enum unit unit;
	size_t at;
} figures[] = {
	{"to_p2p_ms", MILLISECONDS, offsetof(struct svf_profile, to_p2p_ns)},
	{"to_stop_copy_ms", MILLISECONDS, offsetof(struct svf_profile, to_stop_copy_ns)},
	{"resuming_to_stop_ms", MILLISECONDS, offsetof(struct svf_profile, resuming_to_stop_ns)},
	{"to_running_p2p_ms", MILLISECONDS, offsetof(struct svf_profile, to_running_p2p_ns)},
	{"to_running_ms", MILLISECONDS, offsetof(struct svf_profile, to_running_ns)},
	{"config_load_ms", MILLISECONDS, offsetof(struct svf_profile, config_load_ns)},
	{"state_bytes", BYTES, offsetof(struct svf_profile, state_bytes)},
	{"save_rate", MEGABYTES_PER_SECOND, offsetof(struct svf_profile, save_rate)},
	{"load_rate", MEGABYTES_PER_SECOND, offsetof(struct svf_profile, load_rate)},
	{"load_fixed_ms", MILLISECONDS, offsetof(struct svf_profile, load_fixed_ns)},
	{"precopy_percent", PERCENT, offsetof(struct svf_profile, precopy_percent)},
};

#define HOUR_MS	 UINT64_C(3600000)
#define RATE_MAX UINT64_C(1000000) /* a terabyte a second */

void svf_profile_init(struct svf_profile *profile)
{
	__builtin_memset(profile, 0, sizeof(*profile));
	__builtin_memcpy(profile->name, "custom", 7);
	profile->state_bytes = SVF_GRANT;
}

static bool refuse(const char **why, const char *text)
{
	*why = text;
	return false;
}

/* A number with up to six decimals, in millionths. */
static bool decimal(const char **p, uint64_t *out)
{
	uint64_t whole, scale = 1000000;

	if (!svf_text_number(p, &whole) || whole > UINT64_MAX / 2000000)
		return false;
	*out = whole * scale;
	if (**p != '.')
		return true;
	for (++*p; **p >= '0' && **p <= '9'; ++*p) {
		scale /= 10;
		*out += (uint64_t)(**p - '0') * scale;
	}
	return true;
}

static bool bytes(const char **p, uint64_t *out)
{
	unsigned shift = 0;

	if (!svf_text_number(p, out))
		return false;
	if (**p == 'K' || **p == 'k')
		shift = 10;
	else if (**p == 'M' || **p == 'm')
		shift = 20;
	else if (**p == 'G' || **p == 'g')
		shift = 30;
	if (shift)
		++*p;
	if (*out > SVF_STATE_MAX >> shift)
		return false;
	*out = ((*out << shift) + SVF_BLOCK - 1) & ~(uint64_t)(SVF_BLOCK - 1);
	return true;
}

bool svf_profile_set(
	struct svf_profile *profile, const char *key, const char *value, const char **why)
{
	const struct figure *f = figures;
	const struct figure *end = f + sizeof(figures) / sizeof(figures[0]);
	uint64_t number;

	if (svf_text_equal("guesses", key)) {
		profile->guesses = *value != 0;
		return true;
	}
	if (svf_text_equal("shared_pf", key)) {
		profile->shared_pf = svf_text_equal("yes", value);
		if (!profile->shared_pf && !svf_text_equal("no", value))
			return refuse(why, "expected yes or no");
		return true;
	}
	while (f < end && !svf_text_equal(f->key, key))
		f++;
	if (f == end)
		return refuse(why, "unknown key");
	switch (f->unit) {
	case MILLISECONDS: /* a millionth of a millisecond is a nanosecond */
		if (!decimal(&value, &number) || number > HOUR_MS * 1000000)
			return refuse(why, "expected milliseconds, 0 to 3600000");
		break;
	case MEGABYTES_PER_SECOND:
		if (!decimal(&value, &number) || number > RATE_MAX * 1000000)
			return refuse(why, "expected a rate in MB/s, 0 (no limit) to 1000000");
		break;
	case BYTES:
		if (!bytes(&value, &number))
			return refuse(why, "expected a size of at most 16G, such as 20M or 65536");
		break;
	default:
		if (!svf_text_number(&value, &number) || number > 100)
			return refuse(why, "expected a percentage, 0 to 100");
	}
	if (*value)
		return refuse(why, "unexpected text after the number");
	if (f->unit == PERCENT)
		*(uint32_t *)((char *)profile + f->at) = (uint32_t)number;
	else
		*(uint64_t *)((char *)profile + f->at) = number;
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* One line without its newline: splits it at '=' into two trimmed, bounded strings. */
static bool line_of(const char *line, size_t len, char *key, char *value, size_t room)
{
	size_t equals = 0, from, to;

	while (equals < len && line[equals] != '=')
		equals++;
	if (equals == len)
		return false;
	for (unsigned part = 0; part < 2; part++) {
		char *out = part ? value : key;

		from = part ? equals + 1 : 0;
		to = part ? len : equals;
		while (from < to && blank(line[from]))
			from++;
		while (to > from && blank(line[to - 1]))
			to--;
		if (to - from >= room)
			return false;
		__builtin_memcpy(out, line + from, to - from);
		out[to - from] = 0;
	}
	return true;
}

bool svf_profile_parse(
	struct svf_profile *profile, const char *text, size_t len, unsigned *line, const char **why)
{
	char key[128], value[128];
	size_t at = 0;

	for (*line = 1; at < len; ++*line) {
		size_t end = at, stop;

		while (end < len && text[end] != '\n')
			end++;
		for (stop = at; stop < end && text[stop] != '#'; stop++)
			;
		while (at < stop && blank(text[at]))
			at++;
		if (at < stop) {
			if (!line_of(text + at, stop - at, key, value, sizeof(key)))
				return refuse(why, "expected: key = value");
			if (!svf_profile_set(profile, key, value, why))
				return false;
		}
		at = end + 1;
	}
	return true;
}
