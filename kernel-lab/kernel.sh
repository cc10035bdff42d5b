# SPDX-License-Identifier: BSD-3-Clause
# kernel.sh - sourced by kernel-lab/lab for --full: a small kernel, built from Debian's
# linux-source, with iommufd, cdev, DMA logging and lockdep. Built once for a version and a fragment.

# source_package: the newest source with all of migration v2
source_package() {
	local name
	for name in linux-source-6.12 linux-source; do
		apt-cache show "$name" >/dev/null 2>&1 && echo "$name" && return
	done
	return 1
}

unpack_source() {
	local to=$1 package=$2 archive
	rm -rf "$to"
	mkdir -p "$to/deb"
	echo "lab: fetching $package (150 MB)" >&2
	download "$to/deb" "$package" || skip "no network for packages: apt-get download $package failed"
	dpkg-deb -x "$to"/deb/*.deb "$to/deb"
	archive=$(find "$to/deb" -name 'linux-source-*.tar.xz' | head -n 1)
	[ -n "$archive" ] || die "$package: no linux-source-*.tar.xz in it"
	mkdir -p "$to/linux"
	tar -C "$to/linux" --strip-components=1 -xf "$archive" || die "cannot unpack $archive"
	rm -r "$to/deb"
}

# Reports each line of the fragment that the configuration lost.
configure() {
	local line option
	make -s -C "$1" tinyconfig >/dev/null || die "make tinyconfig failed"
	"$1/scripts/kconfig/merge_config.sh" -m -O "$1" "$1/.config" "$top/kernel-lab/kernel.config" >/dev/null ||
		die "kernel-lab/kernel.config cannot be merged"
	make -s -C "$1" olddefconfig >/dev/null || die "make olddefconfig failed"
	grep -E '^CONFIG_[A-Z0-9_]+=[ym]$' "$top/kernel-lab/kernel.config" | while read -r line; do
		option=${line%%=*}
		grep -q "^$option=" "$1/.config" || echo "lab: the kernel has no $option" >&2
	done
}

# build_kernel FOLDER: leaves FOLDER/bzImage, and FOLDER/linux for building modules
build_kernel() {
	local to=$1 package version key
	package=$(source_package) || {
		as_root apt-get update -qq >&2 || skip "no network for packages: apt-get update failed"
		package=$(source_package) || skip "there is no linux-source package here"
	}
	version=$(apt-cache show "$package" | sed -n 's/^Version: //p' | head -n 1)
	key="$package $version $(sha256sum <"$top/kernel-lab/kernel.config")"
	[ "$(cat "$to/built" 2>/dev/null)" != "$key" ] || return 0
	[ "$(cat "$to/unpacked" 2>/dev/null)" = "$package $version" ] || {
		unpack_source "$to" "$package"
		echo "$package $version" >"$to/unpacked"
	}
	configure "$to/linux"
	echo "lab: building $package $version; this takes ten minutes or more, once" >&2
	nice -n 19 make -s -j"${JOBS:-$(nproc)}" -C "$to/linux" bzImage modules >"$to/log" 2>&1 || {
		tail -n 30 "$to/log" >&2
		die "building the kernel failed; see $to/log"
	}
	cp "$to/linux/arch/x86/boot/bzImage" "$to/bzImage"
	echo "$key" >"$to/built"
}
