# SPDX-License-Identifier: BSD-3-Clause
# packages.sh - sourced by kernel-lab/lab: a Debian kernel and its headers, downloaded and unpacked into the
# build folder; nothing of it is installed.

# Exit status 77 is a skip.
skip() {
	echo "lab: SKIPPED: $*" >&2
	exit 77
}

# depends PACKAGE PREFIX: the package that PACKAGE depends on and whose name begins with PREFIX
depends() {
	apt-cache depends --important "$1" 2>/dev/null | sed -n "s/^ *|*Depends: \($2[^ ]*\).*/\1/p" | head -n 1
}

# The ABI, such as 6.12.117+deb12-cloud-amd64, of the newest kernel with all of migration v2, from the
# metapackages: the names in the archive change with each security update.
find_abi() {
	local meta image
	for meta in linux-image-6.12-cloud-amd64 linux-image-cloud-amd64; do
		image=$(depends "$meta" 'linux-image-[0-9]')
		[ -n "$image" ] || continue
		echo "${image#linux-image-}"
		return 0
	done
	return 1
}

# fetch ROOT: unpacks image, headers and kbuild into ROOT; prints the ABI
fetch() {
	local root=$1 abi base version
	command -v apt-get >/dev/null || skip "this is not a Debian: there is no apt-get to fetch a kernel with"
	[ "$(dpkg --print-architecture)" = amd64 ] || skip "only amd64 so far"
	abi=$(find_abi) || {
		as_root apt-get update -qq >&2 || skip "no network for packages: apt-get update failed"
		abi=$(find_abi) || skip "no linux-image-6.12-cloud-amd64 here: add bookworm-security, or run on Debian 13"
	}
	if [ -e "$root/$abi.done" ]; then
		echo "$abi"
		return
	fi
	base=${abi%-cloud-amd64}
	version=${base%%[+-]*}
	rm -rf "$root"
	mkdir -p "$root/debs"
	echo "lab: fetching Linux $abi" >&2
	download "$root/debs" "linux-image-$abi" "linux-headers-$abi" "linux-headers-$base-common" \
		"$(depends "linux-headers-$abi" linux-kbuild-)" || {
		as_root apt-get update -qq >&2 || skip "no network for packages: apt-get update failed"
		download "$root/debs" "linux-image-$abi" "linux-headers-$abi" "linux-headers-$base-common" \
			"$(depends "linux-headers-$abi" linux-kbuild-)" ||
			skip "no network for packages: apt-get download of Linux $version failed"
	}
	local deb
	for deb in "$root"/debs/*.deb; do
		dpkg-deb -x "$deb" "$root" || die "cannot unpack $deb"
	done
	rm -r "$root/debs"
	fix_headers "$root" "$abi"
	touch "$root/$abi.done"
	echo "$abi"
}

download() {
	local to=$1
	shift
	(cd "$to" && apt-get -qq -o APT::Sandbox::User=root download "$@" >&2)
}

# Headers that are not installed: makes paths point into ROOT, and removes vmlinux, so that no BTF is built.
fix_headers() {
	local headers=$1/usr/src/linux-headers-$2
	sed -i "s#/usr/src/#$1/usr/src/#" "$headers/Makefile"
	rm -f "$headers/vmlinux"
}
