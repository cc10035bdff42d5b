# SPDX-License-Identifier: BSD-3-Clause
# qemu-packages.sh - sourced by kernel-lab/lab and others: stock QEMU of another Debian release, in a separate
# root folder with its libraries, and an archive of the files that the guest needs. Nothing is installed.

# qemu_apt FOLDER COMMAND...: apt-get with separate lists, cache and status; Debian's signatures are checked.
qemu_apt() {
	local at=$1
	shift
	APT_CONFIG=$at/apt.conf apt-get -qq "$@" >&2
}

# fetch_qemu SUITE FOLDER: unpacks QEMU and all it depends on into FOLDER/root; fails without network
fetch_qemu() {
	local suite=$1 at=$2 deb
	[ ! -e "$at/done" ] || return 0
	command -v apt-get >/dev/null || skip "this is not a Debian: there is no apt-get to fetch QEMU with"
	rm -rf "$at"
	mkdir -p "$at/root" "$at/state/lists/partial" "$at/cache/archives/partial" "$at/preferences.d"
	: >"$at/status" # nothing is installed there, so that everything needed is fetched
	cat >"$at/sources.list" <<-END
		deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${LAB_MIRROR:-http://deb.debian.org/debian} $suite main
	END
	cat >"$at/apt.conf" <<-END
		Dir::State "$at/state";
		Dir::State::status "$at/status";
		Dir::Cache "$at/cache";
		Dir::Etc::sourcelist "$at/sources.list";
		Dir::Etc::sourceparts "$at/preferences.d";
		Dir::Etc::preferences "$at/preferences";
		Dir::Etc::preferencesparts "$at/preferences.d";
		APT::Sandbox::User "root";
		APT::Install-Recommends "false";
	END
	echo "lab: fetching QEMU of Debian $suite" >&2
	qemu_apt "$at" update || return 1
	# The last two are libraries that `switchover` needs and QEMU does not.
	qemu_apt "$at" --yes --download-only install qemu-system-x86 seabios libjansson4 libxxhash0 || return 1
	for deb in "$at"/cache/archives/*.deb; do
		dpkg-deb -x "$deb" "$at/root" || die "cannot unpack $deb"
	done
	rm -r "$at/cache"
	touch "$at/done"
}

# find_qemu DEVICE SUITE...: the first of these releases whose QEMU has that device; sets qemu_root, and
# qemu_now, the command that runs it here
find_qemu() {
	local device=$1 suite root
	shift
	mkdir -p "$lab/qemu"
	for suite in "$@"; do
		fetch_qemu "$suite" "$lab/qemu/$suite" || continue
		root=$lab/qemu/$suite/root
		export QEMU_MODULE_DIR=$root/usr/lib/x86_64-linux-gnu/qemu # and not an installed QEMU's
		qemu_now=("$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu"
			"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios")
		# shellcheck disable=SC2034
		qemu_root=$root
		"${qemu_now[@]}" -machine none -device "$device,help" >/dev/null 2>&1 || continue
		return 0
	done
	return 1
}

# qemu_program ROOT TREE PROGRAM: copies its libraries, and the program itself if it is QEMU's
qemu_program() {
	local root=$1 tree=$2 libraries=$1/usr/lib/x86_64-linux-gnu library name
	"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$3" |
		sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' |
		while read -r library; do
			name=$(basename "$library")
			[ -e "$libraries/$name" ] || die "$3 needs $name, which Debian's QEMU packages do not have"
			cp -L "$libraries/$name" "$tree/usr/lib/x86_64-linux-gnu/"
		done
}

# pack_qemu ROOT ARCHIVE: /qemu of the guest
pack_qemu() {
	local root=$1 all=$lab/qemu/tree tree=$lab/qemu/tree/qemu
	rm -rf "$all"
	mkdir -p "$tree"/usr/{bin,lib64,lib/x86_64-linux-gnu,share/seabios,share/qemu}
	ln -s usr/lib usr/lib64 usr/bin "$tree/"
	cp -L "$root/usr/lib64/ld-linux-x86-64.so.2" "$tree/usr/lib64/"
	cp "$root/usr/bin/qemu-system-x86_64" "$tree/usr/bin/"
	cp -L "$root/usr/share/seabios/bios-256k.bin" "$tree/usr/share/seabios/"
	cp "$root"/usr/share/qemu/{kvmvapic,linuxboot_dma}.bin "$tree/usr/share/qemu/"
	qemu_program "$root" "$tree" "$root/usr/bin/qemu-system-x86_64"
	qemu_program "$root" "$tree" "$top/build/switchover"
	# Fast compression: under emulation, unpacking takes longer than reading.
	(cd "$all" && find . -print0 | cpio --quiet -0 -o -H newc) >"$2"
}
