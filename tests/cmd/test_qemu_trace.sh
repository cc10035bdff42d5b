#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test_qemu_trace.sh SWITCHOVER - QEMU's own trace of a migration with two VFs. The figures of the
# fixture are those published of ConnectX VFs on qemu-devel, 26 July 2024.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")/qemu-trace
switchover=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0 failed=0

is() { # NAME: the last command was right
	local rc=$?
	number=$((number + 1))
	[ $rc -eq 0 ] && echo "ok $number - $1" || { echo "not ok $number - $1"; failed=1; }
}
observe() { "$switchover" observe --qemu-trace "$@" 2>"$work/err"; }
has() { grep -qF -- "$1" "$work/json"; }

observe --json --timeline="$work/t.json" "$here/source.log" "$here/target.log" >"$work/json"
is "the traces of both sides are read"
has '"outage_ms":1090.028,' && has '"from":"src-downtime-start","to":"src-vm-stopped","from_ms":0.0,"ms":128.208'
is "the outage has its phases, on the clocks of both line formats"
has '"name":"0000:00:02.0","device":true,"save_ms":125.188,"save_config_ms":0.09,"load_ms":239.586,"load_config_ms":112.113' &&
	has '"load_ms":214.462,"load_config_ms":111.545' && has '"save_ms":138.005,"save_config_ms":null,"load_ms":117.294'
is "each device and RAM have their times; what is unknown is null"
has '"save_config_ms":0.095'
is "a duration without a time counts"
has '"line":18,' && has '"line":19,' && has '"line":20,"record":"VFIO_MIGRATION stop"' && has '"other_lines":2'
is "each record without a place is named"
has '"source_arcs_ms":127.99'
is "two lines of a device are an arc"
grep -q '"vfio_load_device_config_state","device":"0000:d8:00.2","start_ns":1721976658550000000,"end_ns":1721976658662113000' "$work/t.json"
is "start and end are one span"
"$switchover" report --output="$work/report.html" "$work/t.json" && grep -q '0000:00:03.0' "$work/report.html"
is "its timeline makes a report"

sed 's/2024-07-26T06/2024-07-26T09/' "$here/target.log" >"$work/far.log"
observe --json "$here/source.log" "$work/far.log" >"$work/json" && has '"outage_ms":null' && has '"load_ms":239.586'
is "with clocks that differ the outage is unknown, and each side has its times"
observe "$here/target.log" "$here/source.log" >/dev/null
[ $? -eq 1 ] && grep -q "line 8 has the checkpoint 'dst-precopy-loadvm-completed' of the other side" "$work/err"
is "files in the wrong order are refused"
grep -v checkpoint "$here/source.log" >"$work/none.log"
observe "$work/none.log" "$here/target.log" >/dev/null
[ $? -eq 1 ] && grep -q 'no switchover in the source' "$work/err"
is "a trace without a switchover is refused"
printf '1@9999999999999.5:vmstate_downtime_save type=iterable idstr=%0300d instance_id=0 downtime=-1\n(' 0 |
	cat "$here/source.log" - >"$work/odd.log"
observe --json "$work/odd.log" "$here/target.log" >"$work/json" && has '"line":23,'
is "a malformed line is named and the rest is read"
observe "$here/source.log" >/dev/null
[ $? -ne 0 ] && grep -q 'expected 2 files' "$work/err"
is "one file is refused"
echo "1..$number"
exit $failed
