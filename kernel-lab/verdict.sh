# SPDX-License-Identifier: BSD-3-Clause
# verdict.sh - sourced by kernel-lab/lab: evaluates the results of the guests, and the logs of their
# kernels.

trouble='WARNING:|BUG:|Oops|INFO: (possible|task|rcu)|possible (circular|recursive)|inconsistent lock|held lock freed'
trouble+='|bad unlock|KASAN|general protection|Call Trace|Kernel panic'

# tally PATTERN: lines of all steps' TAP
tally() {
	cat "$results"/*/*.out 2>/dev/null | grep -cE "$1" || true
}

# The rows in the output of the steps rows..., without other lines.
rows() {
	cat "$results"/*/rows*.out 2>/dev/null | grep '^{' || true
}

# kernel-lab/qemu has a table instead
show_rows() {
	rows
}

# judge MODE: one boot
judge() {
	local at=$results/$1 bad=0 name status start end
	if [ -e "$at/skipped" ]; then
		printf '%-24s skipped: %s\n' "$1" "$(cat "$at/skipped")"
		return 0
	fi
	if [ ! -s "$at/status" ]; then
		tail -n 40 "$at/console" >&2
		echo "lab: FAILED: no results from the guest; its console is ${at#"$top"/}/console" >&2
		return 1
	fi
	[ -e "$at/steps" ] || return 0 # --only selected no step for this boot
	while read -r name status start end; do
		printf '%-24s %-20s %s %6.2f s\n' "$1" "$name" "$(outcome "$status")" \
			"$(echo "$end $start" | awk '{print $1 - $2}')"
		if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
			bad=1
			grep -vE '^(ok|1\.\.)' "$at/$name.out" | tail -n 40 || true
			tail -n 40 "$at/$name.err"
		fi
	done <"$at/steps"
	if grep -nE "$trouble" "$at/console" "$at/dmesg" >&2; then
		echo "lab: FAILED: the kernel logged a warning; see ${at#"$top"/}/dmesg" >&2
		bad=1
	fi
	[ "$(cat "$at/status")" = 0 ] || bad=1
	return $bad
}

outcome() {
	case $1 in
	0) printf passed ;;
	77) printf skipped ;;
	*) printf 'FAILED (status %d)' "$1" ;;
	esac
}

# verdict JSON: prints, copies rows, returns the status
verdict() {
	local bad=0 mode
	for mode in $modes; do
		judge "$mode" || bad=1
	done
	[ -z "$1" ] || rows >"$1"
	show_rows
	# The last line is read by programs: see tests/support/tally.
	printf '%d passed, %d failed, %d skipped\n' "$(($(tally '^ok ') - $(tally '^ok .*# SKIP')))" \
		"$(tally '^not ok ')" "$(tally '^ok .*# SKIP')"
	return $bad
}
