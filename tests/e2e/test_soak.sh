#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_soak.sh BENCH HOPS [OPTION...]: one VM goes back and forth, and nothing is lost on the way,
# with faults or without. TAP.
dir=$(mktemp -d /tmp/swt.XXXXXX) || exit 99
trap 'rm -rf "$dir"' EXIT
bench=$1
hops=$2
shift 2
echo 1..2
"$bench" soak --hops "$hops" --json "$dir/row" "$@" >"$dir/out" 2>&1
status=$?
sed 's/^/# /' "$dir/out"
[ $status = 0 ] && grep -q "\"hops\":$hops,.*\"whole\":true" "$dir/row" && echo "ok 1 - every hop is whole" ||
	echo "not ok 1 - every hop passes its checks"
# Open files neither of the machine nor of the devices may become more.
grep -q '"vm_fds":{"first":\([0-9.]*\),"last":\1,.*"device_fds":{"first":\([0-9.]*\),"last":\2,' "$dir/row" &&
	echo "ok 2 - no open file is left behind" || echo "not ok 2 - no open file is left behind"
