# SPDX-License-Identifier: BSD-3-Clause
# boot.sh - sourced by kernel-lab/lab and kernel-lab/qemu: boots a kernel under software emulation, and
# stores the results that its guest sends.

# boot MODE LABEL KERNEL INITRD TO [MEGABYTES]: runs the plan's lines that begin with LABEL; the
# results are in the folder TO
boot() {
	local to=$5 status=0
	mkdir -p "$to"
	boot_once "$@" || status=$?
	# Debian's kernel occasionally crashes under emulation before /init runs. This is no failure of the
	# tests: it is reported, and the boot is repeated once.
	if [ ! -s "$to/results.tar" ] && ! grep -q '^init: ' "$to/console" 2>/dev/null; then
		mv "$to/console" "$to/console.first" 2>/dev/null || true
		echo "lab: $2: the kernel crashed before /init ran (status $status; see $to/console.first); booting again" >&2
		status=0
		boot_once "$@" || status=$?
	fi
	[ $status -eq 0 ] || echo "lab: the guest did not power off (QEMU's status $status)" >&2
	tar -C "$to" -xf "$to/results.tar" 2>/dev/null || true
	rm -f "$to/results.tar"
}

boot_once() {
	# One host thread for both CPUs: with one each, TCG occasionally lets a CPU execute code
	# that the other is patching, and the kernel dies of an unexpected int3.
	local to=$5 speed=(-accel tcg,thread=single -smp 2) program=(qemu-system-x86_64) options=
	case $1 in
	virtual) speed=(-accel tcg,thread=single -smp 1 -icount "shift=0,sleep=off,align=off") ;;
	sriov)
		# A PCIe function with VFs, behind an IOMMU; bookworm's QEMU has no such function.
		program=("${qemu_now[@]}")
		speed+=(-M q35 -device "intel-iommu,intremap=on" -device "pcie-root-port,id=rp0"
			-device "igb,bus=rp0")
		options=intel_iommu=on
		;;
	esac
	# shift=0: one nanosecond per instruction. With a slower CPU the figures would not be the devices'.
	# A panic ends the run at once; a hang ends at the timeout.
	timeout -k 5 "${LAB_TIMEOUT:-120}" "${program[@]}" "${speed[@]}" -cpu max -m "${6:-768}" \
		-display none -nodefaults -no-reboot -serial "file:$to/console" \
		-device virtio-serial-pci -chardev "file,id=results,path=$to/results.tar" \
		-device virtserialport,chardev=results,name=results \
		-kernel "$3" -initrd "$4" \
		-append "console=ttyS0 quiet oops=panic panic=-1 rdinit=/init lab=$2 $options" </dev/null
}

# find_kernel FULL: sets kernel, headers and modules; FULL is 1 for the lab's own kernel
find_kernel() {
	local root=$lab/root abi
	if [ "$1" -eq 1 ]; then
		build_kernel "$lab/own"
		kernel=$lab/own/bzImage
		headers=$lab/own/linux
		modules=$lab/own/linux/drivers/vfio # most are built in
		return
	fi
	abi=$(fetch "$root")
	kernel=$root/boot/vmlinuz-$abi
	headers=$root/usr/src/linux-headers-$abi
	modules=$root/lib/modules/$abi/kernel
}
