# SPDX-License-Identifier: BSD-3-Clause
# boot.sh - sourced by kernel-lab/lab and kernel-lab/qemu: boots a kernel under software emulation, and takes home
# what its guest sends.

# boot MODE LABEL KERNEL INITRD TO [MEGABYTES]: runs the plan's lines that begin with LABEL; what
# comes back is in the folder TO
boot() {
	local to=$5 status=0
	mkdir -p "$to"
	boot_once "$@" || status=$?
	# Debian's kernel has died under emulation before it came to anything of ours. That is nobody's
	# failure here, but said, and not taken twice.
	if [ ! -s "$to/results.tar" ] && ! grep -q '^init: ' "$to/console" 2>/dev/null; then
		mv "$to/console" "$to/console.first" 2>/dev/null || true
		echo "lab: $2: the kernel did not come to its first process (status $status; see $to/console.first); once more" >&2
		status=0
		boot_once "$@" || status=$?
	fi
	[ $status -eq 0 ] || echo "lab: the guest did not end by itself (status $status)" >&2
	tar -C "$to" -xf "$to/results.tar" 2>/dev/null || true
	rm -f "$to/results.tar"
}

boot_once() {
	# One host thread for both CPUs: with one each, TCG lets a CPU run into the other's half-patched
	# code now and then, and the kernel dies of an int3 that is nobody's.
	local to=$5 speed=(-accel tcg,thread=single -smp 2)
	[ "$1" = real ] || speed=(-accel tcg,thread=single -smp 1 -icount "shift=0,sleep=off,align=off")
	# (shift=0: a nanosecond an instruction. A slower CPU would be measured instead of the devices.)
	# A panic ends the run at once; a hang ends with the time.
	timeout -k 5 "${LAB_TIMEOUT:-120}" qemu-system-x86_64 "${speed[@]}" -cpu max -m "${6:-768}" \
		-display none -nodefaults -no-reboot -serial "file:$to/console" \
		-device virtio-serial-pci -chardev "file,id=results,path=$to/results.tar" \
		-device virtserialport,chardev=results,name=results \
		-kernel "$3" -initrd "$4" \
		-append "console=ttyS0 quiet oops=panic panic=-1 rdinit=/init lab=$2" </dev/null
}

# find_kernel FULL: sets kernel, headers and modules; FULL is 1 for the kernel of our own
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
