#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each check of symbols finds what is planted in a small tree, and nothing in a tidy one.
set -u
checks=$(dirname "$(readlink -f "$0")")
cc=${CC:-cc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export PYTHONDONTWRITEBYTECODE=1 CHECKS_BASELINE=$dir/baseline.txt
n=0

# file PATH TEXT
file() {
	mkdir -p "$dir/tree/$(dirname "$1")"
	printf '%s\n' "$2" >"$dir/tree/$1"
}

tidy_tree() {
	rm -rf "$dir/tree" "$dir/baseline.txt"
	file lib/base/ground.c '__attribute__((visibility("default"))) int swo_ground(void) { return base_own(); }
		int base_own(void) { return 1; }'
	file lib/base/ground.h 'int base_own(void);'
	file lib/device/core/device.c 'int device_it(void) { return swo_ground(); }'
	file vmm/machine/machine.c 'int vmm_it(void) { return swo_ground(); }'
	file arrows.txt 'lib/base:
lib/device/core: lib/base
vmm/machine: lib/base
public: vmm'
}

# Compiles the tree as meson would leave it.
build() {
	local source object commands=() objects=()
	mkdir -p "$dir/tree/build/lib"
	for source in $(cd "$dir/tree" && find lib vmm -name '*.c'); do
		object=${source//\//_}.o
		$cc -w -std=gnu89 -fvisibility=hidden -fPIC "-I$dir/tree/lib" -c "$dir/tree/$source" -o "$dir/tree/build/$object" || exit 1
		commands+=("{\"directory\": \"$dir/tree/build\", \"file\": \"../$source\", \"output\": \"$object\"}")
		[[ $source != lib/* ]] || objects+=("$dir/tree/build/$object")
	done
	$cc -shared "${objects[@]}" -o "$dir/tree/build/lib/libswitchover.so" || exit 1
	(IFS=, && printf '[%s]' "${commands[*]}") >"$dir/tree/build/compile_commands.json"
}

# expect NAME STATUS PATTERN CHECK [ARG...]: the check ends so, and prints that.
expect() {
	local name=$1 want=$2 pattern=$3 out status=0
	shift 3
	out=$("$checks/$1" "$dir/tree/build" "${@:2}" 2>&1) || status=$?
	n=$((n + 1))
	if [ $status -eq "$want" ] && grep -qE "$pattern" <<<"${out:-nothing}"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' <<<"status $status: $out"
	fi
}

tidy_tree && build
expect "a tidy tree has no circle" 0 '^nothing$' circles
expect "a tidy tree has no arrow that the table lacks" 0 '^nothing$' arrows --table "$dir/tree/arrows.txt"
expect "a tidy tree has no global without its prefix" 0 '^nothing$' prefixes

tidy_tree
for i in 1 2 3 4; do
	file lib/base/c$i.c "int base_c$i(void) { return base_c$((i % 4 + 1))(); }"
done
build
expect "a circle of 4 files is found" 1 '^circles: 4 files: lib/base/c1.c lib/base/c2.c' circles
expect "a circle names the symbols that make it" 1 'lib/base/c4.c -> lib/base/c1.c: base_c1' circles
echo 'circles lib/base/* because' >"$dir/baseline.txt"
expect "a finding that the baseline names does not count" 0 'excused' circles

tidy_tree
for i in 1 2 3; do
	file lib/base/c$i.c "int base_c$i(void) { return base_c$((i % 3 + 1))(); }"
done
build
expect "a circle of 3 files is allowed" 0 '^nothing$' circles
expect "a circle of 3 files is printed with --all" 0 '3 files: lib/base/c1.c' circles --all

tidy_tree
file lib/base/up.c 'int base_up(void) { return device_it(); }'
build
expect "an arrow that goes up is found" 1 'lib/base/up.c uses lib/device/core: device_it' arrows --table "$dir/tree/arrows.txt"

tidy_tree
file vmm/machine/private.c 'int vmm_private(void) { return base_own(); }'
build
expect "a private symbol in the VMM is found" 1 'vmm/machine/private.c uses base_own of lib/base' arrows --table "$dir/tree/arrows.txt"
echo 'private vmm/machine/private.c base_own' >>"$dir/tree/arrows.txt"
expect "an exception needs a reason" 1 'without a reason' arrows --table "$dir/tree/arrows.txt"
sed -i 's/base_own$/base_own it has one/' "$dir/tree/arrows.txt"
expect "an exception with a reason counts" 0 '^nothing$' arrows --table "$dir/tree/arrows.txt"

tidy_tree
file vmm/machine/private.c '#include "base/ground.h"'
build
expect "a private header in the VMM is found" 1 'vmm/machine/private.c includes lib/base/ground.h' arrows --table "$dir/tree/arrows.txt"

tidy_tree
echo 'private vmm/* base_own was needed once' >>"$dir/tree/arrows.txt"
build
expect "an exception that nothing needs is found" 1 'nothing needs' arrows --table "$dir/tree/arrows.txt"

tidy_tree
sed -i 's|^lib/base:|lib/base: lib/device/core|' "$dir/tree/arrows.txt"
build
expect "a table that allows a circle is found" 1 'a circle among lib/.base,device' arrows --table "$dir/tree/arrows.txt"

tidy_tree
file lib/other/new.c 'int other_new;'
build
expect "a folder that the table does not have is found" 1 'lib/other has no line' arrows --table "$dir/tree/arrows.txt"

tidy_tree
file lib/base/names.c 'int helper(void) { return 1; }
	int swo_hidden;
	__attribute__((visibility("default"))) int base_shown;'
build
expect "a private global without its prefix is found" 1 'names.c: helper begins with none of base_' prefixes
expect "a private global that begins with swo_ is found" 1 'names.c: swo_hidden' prefixes
expect "an exported global without swo_ is found" 1 'names.c: base_shown is exported without swo_' prefixes

# api_tree DECLARATIONS MAP-LINES HEADER: a header, a map, and a library that exports swo_ground.
api_tree() {
	tidy_tree
	file include/switchover/ground.h "#ifdef __cplusplus
extern \"C\" {
#endif
#define SWO_API
$1
#ifdef __cplusplus
}
#endif"
	file lib/libswitchover.map "X {
global:
$2
local: *; };"
	build
}

ground='SWO_API int swo_ground(void);'
api_tree "$ground" 'swo_ground;'
expect "matching headers, map and library are in order" 0 '^nothing$' exports --tree "$dir/tree"
export CHECKS_TREE=$dir/tree
expect "a header that compiles alone is in order" 0 '^nothing$|no C\+\+ compiler' headers
api_tree "$ground
SWO_API int swo_missing(int);" 'swo_ground;'
expect "a declaration that the map lacks is found" 1 'swo_missing is declared but not in' exports --tree "$dir/tree"
api_tree "$ground
extern SWO_API const int swo_more;" 'swo_ground;
swo_more;'
expect "a symbol that the library lacks is found" 1 'swo_more is not exported but in' exports --tree "$dir/tree"
api_tree "$ground" ''
expect "an export that the map lacks is found" 1 'swo_ground is exported but not in' exports --tree "$dir/tree"
api_tree "SWO_API int swo_ground(uint32_t);" 'swo_ground;'
expect "a header that needs another one is found" 1 'ground.h does not compile alone as c11' headers
api_tree "SWO_API int swo_ground(int class);" 'swo_ground;'
if command -v "${CXX:-c++}" >/dev/null; then
	expect "a header that is no C++ is found" 1 'ground.h does not compile alone as c\+\+17' headers
else
	n=$((n + 1))
	echo "ok $n - a header that is no C++ is found # SKIP no C++ compiler"
fi

if command -v abidw >/dev/null && command -v abidiff >/dev/null; then
	api_tree "$ground" 'swo_ground;'
	expect "a release without a recorded ABI is found" 1 'libswitchover.abi is missing' abi
	expect "the ABI is recorded" 0 '^nothing$' abi --update
	expect "the same ABI is no finding" 0 '^nothing$' abi
	file lib/base/ground.c '__attribute__((visibility("default"))) int swo_ground(void) { return base_own(); }
		__attribute__((visibility("default"))) int swo_new(void) { return 1; }
		int base_own(void) { return 1; }'
	build
	expect "a symbol more is no finding" 0 '^nothing$' abi
	file lib/base/ground.c '__attribute__((visibility("default"))) int swo_other(void) { return base_own(); }
		int base_own(void) { return 1; }'
	build
	expect "a symbol that is gone is found" 1 'incompatible with abi/libswitchover.abi' abi
else
	for name in 'a release without a recorded ABI' 'the ABI that is recorded' 'the same ABI' \
		'a symbol more' 'a symbol that is gone'; do
		n=$((n + 1))
		echo "ok $n - $name # SKIP abigail-tools is not installed"
	done
fi

if command -v clang-14 >/dev/null; then
	file lib/base/ground.c 'int swo_ground(int *p) { p = 0; return *p; }'
	echo '[{"command": "cc -c", "file": "../lib/base/ground.c"}]' >"$dir/tree/build/compile_commands.json"
	expect "a null pointer that is read is found" 1 'analyze: .*null pointer' analyze
else
	n=$((n + 1))
	echo "ok $n - a null pointer that is read is found # SKIP clang-14 is not installed"
fi

expect "planted words are found, and data is left alone" 0 '^nothing$' words --self-test

echo "1..$n"
