# SPDX-License-Identifier: BSD-3-Clause
# tap.sh, sourced: a temporary directory $dir for the test, in which all files of the
# commands are created; and results in TAP, with $dir/out for a failed one.
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
