#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_bytes.sh - bench/bytes at a small scale: that what it moves arrives (it compares every byte
# itself), and what it prints. Nothing here is timed.
bytes=$1
out=$(mktemp) json=$(mktemp)
trap 'rm -f "$out" "$json"' EXIT
n=0

case_is() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
		echo "not ok $n - $2"
		sed 's/^/# /' "$out"
	fi
}

echo 1..4
"$bytes" --ram 32 --state 24 --rounds 1 --qemu none --json "$json" >"$out" 2>&1
case_is $? 'RAM and device state arrive over tcp, byte by byte'
[ "$(wc -l <"$json")" -eq 6 ] && [ "$(grep -c '"ratio":.*"cpu_s_per_GB":' "$json")" -eq 6 ] &&
	grep -q '"who":"switchover-prealloc"' "$json"
case_is $? 'each row is an object of the JSON file, RAM allocated at the start and not'
"$bytes" --ram 32 --state 24 --rounds 1 --qemu none --channel unix --channels 3 >"$out" 2>&1
case_is $? 'RAM and device state arrive over a UNIX socket with another number of channels'
"$bytes" --channels 17 >"$out" 2>&1
[ $? -ne 0 ] && grep -q 'from 1 to 16' "$out"
case_is $? 'a number of channels that cannot be is refused with the range'
