#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_tally.sh TALLY: the count at the end of `./run test`, with generated logs of meson. Prints TAP.
tally=$1
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
number=0

# case NAME WANTED_STATUS WANTED_TEXT MESON_STATUS; the log is read from stdin
check() {
	number=$((number + 1))
	cat >"$dir/log"
	output=$("$tally" "$dir/log" "$4")
	status=$?
	case $output in
	*"$3"*) found=yes ;;
	*) found=no ;;
	esac
	if [ "$status" = "$2" ] && [ $found = yes ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		echo "status $status, output: $output" | sed "s/^/# /"
	fi
}

echo 1..6
check "cases are counted, not programs" 0 "3 passed, 0 failed, 0 skipped" 0 <<'END'
{"name": "a", "result": "OK", "stdout": "1..2\nok 1 - one\nok 2 - two\n"}
{"name": "b", "result": "OK", "stdout": "no TAP at all\n"}
END
check "a failed case fails the whole and is named" 1 "failed: a: two" 1 <<'END'
{"name": "a", "result": "FAIL", "stdout": "ok 1 - one\nnot ok 2 - two\n"}
END
check "a skipped case is named and fails nothing" 0 \
	"skipped: a: two
skipped: a: three (no KVM)
1 passed, 0 failed, 2 skipped" 0 <<'END'
{"name": "a", "result": "OK", "stdout": "ok 1 - one\nnot ok 2 # SKIP two\nok 3 - three # SKIP no KVM\n"}
END
check "a program that dies after good cases is a failure" 1 \
	"failed: a: the program ended with TIMEOUT
1 passed, 1 failed, 0 skipped" 1 <<'END'
{"name": "a", "result": "TIMEOUT", "stdout": "1..2\nok 1 - one\n"}
END
check "no test at all is a failure" 1 "0 passed, 0 failed, 0 skipped" 0 <<'END'
END
check "what meson itself calls a failure is one" 1 "1 passed, 0 failed, 0 skipped" 1 <<'END'
{"name": "a", "result": "OK", "stdout": "ok 1 - one\n"}
END
