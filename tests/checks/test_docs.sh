#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each check of the documentation finds what is planted in a small tree, and nothing in a tidy one.
set -u
checks=$(dirname "$(readlink -f "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0

# file PATH TEXT
file() {
	mkdir -p "$dir/$(dirname "$1")"
	printf '%s\n' "$2" >"$dir/$1"
}

tidy_tree() {
	rm -rf "${dir:?}"/*
	mkdir -p "$dir/tests/checks"
	cp "$checks"/{links,lines,man,options} "$dir/tests/checks"
	git -C "$dir" init -q
	file VERSION 1.2.3
	file README.md 'See [there](docs/there.md#a-heading-of-it) and `lib/base/log.c`, `lib/*/log.c`.'
	file docs/there.md '# There
## A heading, of `it`
A test: `a_sentence_states_what_holds`.'
	file lib/base/log.c '/* docs/there.md */'
	file tests/base/test_log.c 'static void a_sentence_states_what_holds(void)'
	file meson.build "install_man('docs/man/switchover-vm.1')"
	file docs/man/switchover-vm.1 '.TH SWITCHOVER\-VM 1 2026-01-02 "switchover 1.2.3" "User Commands"
.SH NAME
switchover\-vm \- a page
.SH OPTIONS
.TP
.BI \-\-name= NAME
A name.'
	# Programs whose help has one option and that of argp, and the pages of the others.
	for verb in cancel exec migrate observe plan probe report resolve status bench simvf; do
		sed "s/-vm/-$verb/; s/VM/${verb^^}/" "$dir/docs/man/switchover-vm.1" >"$dir/docs/man/switchover-$verb.1"
		echo "install_man('docs/man/switchover-$verb.1')" >>"$dir/meson.build"
	done
	for program in switchover switchover-bench switchover-simvf; do
		file "build/$program" '#!/bin/sh
printf "%s\n" "      --name=NAME            A name" "  -?, --help                 Give this"'
		chmod +x "$dir/build/$program"
	done
	git -C "$dir" add . # names what is tracked
}

# expect NAME STATUS PATTERN CHECK: the check ends so, and prints that.
expect() {
	local name=$1 want=$2 pattern=$3 out status=0
	out=$("$dir/tests/checks/$4" "$dir/build" 2>&1) || status=$?
	n=$((n + 1))
	if [ $status -eq 77 ]; then
		echo "ok $n - $name # SKIP ${out#*SKIPPED: }"
	elif [ $status -eq "$want" ] && grep -qE "$pattern" <<<"${out:-nothing}"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' <<<"status $status: $out"
	fi
}

long=$(printf 'word %.0s' {1..21})

tidy_tree
for check in links lines man options; do
	expect "a tidy tree has no finding of $check" 0 '^nothing$' $check
done

tidy_tree
file docs/bad.md 'A [link](nowhere.md).'
expect "a link to a file that is not there is found" 1 'bad.md:1: link to nowhere.md: no such file' links
file docs/bad.md 'A [link](there.md#no-heading).'
expect "a link to a heading that is not there is found" 1 'has no heading #no-heading' links
file docs/bad.md 'A path `lib/base/gone.c`.'
expect "a path that is not there is found" 1 '`lib/base/gone.c`: no such path' links
file docs/bad.md 'Errors (`gone.c`).'
expect "a file named without its folder that is not there is found" 1 '`gone.c`: no file of this name' links
file docs/bad.md 'A path `lib/{base,gone}/log.c`.'
expect "a path in braces that is not there is found" 1 'no such path lib/gone/log.c' links
file docs/bad.md 'A path `src/base/log.c`.'
expect "a path of the old tree is found" 1 'no such path src/base/log.c' links
file docs/bad.md 'A test `a_sentence_that_was_renamed_since`.'
expect "a test case that is not there is found" 1 'no such test case' links
rm "$dir/docs/bad.md"
file lib/base/log.c '/* see docs/gone.md */'
expect "a page that a source names and that is not there is found" 1 'lib/base/log.c:1: docs/gone.md: no such file' links

tidy_tree
file docs/bad.md "$long"
expect "a line that is too long is found" 1 'bad.md:1: 105 columns, at most 100' lines
file docs/bad.md "| $long |
    $long
\`\`\`
$long
\`\`\`"
expect "a table and code may be wider" 0 '^nothing$' lines

tidy_tree
sed -i 's/2026-01-02/""/' "$dir/docs/man/switchover-vm.1"
expect "a man page without a date is found" 1 'switchover-vm.1: .TH needs a date' man
tidy_tree
sed -i 's/1.2.3/1.2.2/' "$dir/docs/man/switchover-vm.1"
expect "a man page of another version is found" 1 'switchover-vm.1: .TH needs a date and "switchover 1.2.3"' man
tidy_tree
echo '.BX wrong' >>"$dir/docs/man/switchover-vm.1"
echo '.TP' >>"$dir/docs/man/switchover-vm.1"
expect "a man page with a warning is found" 1 'switchover-vm.1:.*(WARNING|ERROR)' man
tidy_tree
file meson.build ''
expect "a man page that is not installed is found" 1 'switchover-vm.1: no meson.build installs it' man

tidy_tree
echo 'echo "      --quiet                Print less"' >>"$dir/build/switchover"
expect "an option that its man page lacks is found" 1 'switchover-vm.1: --quiet of switchover vm --help is missing' options
tidy_tree
printf '.TP\n.B \\-\\-gone\nAn option.\n' >>"$dir/docs/man/switchover-vm.1"
expect "an option that its program lacks is found" 1 'switchover-vm.1: --gone is no option of switchover vm' options

echo "1..$n"
