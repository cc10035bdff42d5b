# SPDX-License-Identifier: BSD-3-Clause
# tap.sh, sourced: a directory of the test's own, $dir, that goes with it and in which all that the
# commands make lies; and results in TAP, with what $dir/out says where one is bad.
unset SWITCHOVER
dir=$(mktemp -d /tmp/swt.XXXXXX) || exit 99
trap 'rm -rf "$dir"' EXIT
export TMPDIR="$dir"
number=0

# STATUS SENTENCE
result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then echo "ok $number - $2"; else
		sed 's/^/# /' "$dir/out"
		echo "not ok $number - $2"
	fi
}
