# SPDX-License-Identifier: BSD-3-Clause
# initrd.sh - sourced by kernel-lab/lab: builds simvf.ko, and packs it, the VFIO modules and the
# project's programs with their libraries into an initial RAM disk.

# build_module HEADERS; the objects are built in a copy, so that the source folders stay clean
build_module() {
	make -s -C "$top/simvf/kmod" stage TO="$lab/module.new" || die "cannot copy simvf/"
	# Unchanged files keep their time, and are not compiled again.
	mkdir -p "$lab/module"
	(cd "$lab/module.new" && find . -type f -print0 | while IFS= read -r -d '' file; do
		mkdir -p "$lab/module/$(dirname "$file")"
		cmp -s "$file" "$lab/module/$file" || cp "$file" "$lab/module/$file"
	done)
	rm -r "$lab/module.new"
	if [ "$(cat "$lab/module/for" 2>/dev/null)" != "$1" ]; then
		make -s -C "$lab/module/kmod" KDIR="$1" clean >/dev/null 2>&1 || true
		echo "$1" >"$lab/module/for"
	fi
	make -s -j"${JOBS:-$(nproc)}" -C "$lab/module/kmod" KDIR="$1" modules >"$lab/module.log" 2>&1 || {
		cat "$lab/module.log" >&2
		die "simvf.ko does not build"
	}
	if grep -q 'warning:' "$lab/module.log"; then
		cat "$lab/module.log" >&2
		die "simvf.ko builds with warnings"
	fi
}

# add_program PROGRAM [FOLDER]: into /lab/bin or a folder of it, with its libraries at the same paths as here
add_program() {
	local library
	cp "$1" "$tree/lab/bin/${2:-}"
	ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' |
		while read -r library; do
			[ -e "$tree$library" ] || install -D "$(readlink -f "$library")" "$tree$library"
		done
}

# add_modules FOLDER: the modules of VFIO and KVM from a kernel's folder that are not built in
add_modules() {
	local name file
	: >"$tree/lab/modules/order"
	for name in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci kvm kvm-amd mdev; do
		file=$(find "$1" -name "$name.ko*" | head -n 1)
		case $file in
		*.xz) xz -dc "$file" >"$tree/lab/modules/$name.ko" ;;
		*.ko) cp "$file" "$tree/lab/modules/" ;;
		*) continue ;;
		esac
		[ "$name" != vfio-pci ] || name+=" enable_sriov=1"
		echo "$name" >>"$tree/lab/modules/order"
	done
	cp "$lab/module/kmod/simvf.ko" "$tree/lab/modules/"
	echo "simvf devices=16" >>"$tree/lab/modules/order"
	# The sample device of the lab's own kernel; not loaded before its step.
	[ ! -e "$lab/own/linux/samples/vfio-mdev/mtty.ko" ] || [ "$1" != "$lab/own/linux/drivers/vfio" ] ||
		cp "$lab/own/linux/samples/vfio-mdev/mtty.ko" "$tree/lab/modules/"
	# Modules of another kernel may still be there.
	if grep -q '^vfio-pci-core$' "$tree/lab/modules/order"; then
		cp "$lab/module/kmod/simvf_pci.ko" "$tree/lab/modules/"
		echo simvf_pci >>"$tree/lab/modules/order"
	fi
	if grep -q '^mdev$' "$tree/lab/modules/order"; then
		cp "$lab/module/kmod/simvf_mdev.ko" "$tree/lab/modules/"
		echo simvf_mdev >>"$tree/lab/modules/order"
	fi
}

make_initrd() {
	local program
	tree=$lab/tree
	rm -rf "$tree"
	mkdir -p "$tree/bin" "$tree/lab/bin" "$tree/lab/modules" "$tree/tmp"
	cp "$(command -v busybox)" "$tree/bin/busybox"
	cp "$top/kernel-lab/init" "$tree/init"
	cp "$top"/kernel-lab/{sriov-rows,sriov-probe,mtty} "$tree/lab/bin/"
	add_modules "$1"
	for program in "$top"/build/tests/kernel-lab/lab-* "$top/build/switchover" "$top/build/switchover-bench" \
		"$top/build/switchover-simvf" "$top/build/libswitchover-preload.so"; do
		[ -f "$program" ] && [ -x "$program" ] || continue
		add_program "$program"
	done
	mkdir -p "$tree/lab/bin/testbed/yardstick"
	add_program "$top/build/testbed/yardstick/chain" testbed/yardstick/
	grep -E "^[a-z0-9-]+ $only" "$plan" >"$tree/lab/plan" ||
		die "--only '$only': no step's name begins with it"
	(cd "$tree" && find . -print0 | cpio --quiet -0 -o -H newc | gzip -1) >"$lab/initrd.gz"
}
