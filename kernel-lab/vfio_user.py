#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Drives switchover-simvf devices behind QEMU's vfio-user client, by QEMU's qtest protocol: a
guest's accesses without a guest. Called by kernel-lab/vfio-user with the path of switchover-simvf
and the command line of QEMU. Prints TAP, and the line of counts that programs read."""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time

SIMVF, QEMU = sys.argv[1], sys.argv[2:]
SECONDS = 20  # for anything that is waited for

# simvf/regs.h
CONTROL, IRQ_EVERY, DMA_ADDR, DMA_PAGES, DMA_RATE, P2P_ADDR, P2P_RATE = 8, 12, 16, 24, 28, 32, 40
DMA_SEQ, P2P_SEQ, DOORBELL = 0x60, 0x68, 0x1000
DMA, P2P, IRQ = 1, 2, 4
ID, MASK = 0x53561234, (1 << 64) - 1

RING, FLAG = 0x1000000, 0x2000000  # addresses in guest RAM


class Failed(Exception):
    pass


def check(got, expected, what):
    if got != expected:
        raise Failed(f'{what}: {got!r}, expected {expected!r}')


def wait_for(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failed(f'{what}: not within {SECONDS} s')
        time.sleep(0.01)


class Simvf:
    """One device's process."""

    def __init__(self, folder, name, *options):
        self.path = os.path.join(folder, name)
        ready, write = os.pipe()
        self.process = subprocess.Popen(
            [SIMVF, '--quiet', '--socket', self.path, '--control', self.path + '.ctl',
             '--name', name, '--ready-fd', str(write), *options], pass_fds=[write])
        os.close(write)
        check(os.read(ready, 1) != b'', True, f'{name} listens')
        os.close(ready)

    def report(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SECONDS)
            sock.connect(self.path + '.ctl')
            sock.sendall(b'{"cmd":"report"}\n')
            return json.loads(sock.makefile().readline())

    def end(self):
        self.process.terminate()
        return self.process.wait(SECONDS)


class Device:
    """A function on bus 0, by way of QEMU."""

    def __init__(self, qemu, slot, base):
        self.qemu, self.slot, self.base = qemu, slot, base
        check(self.config(0), ID, f'vendor and device of slot {slot}')
        for bar, size in ((0, 0x10000), (2, 0x1000), (4, 0x1000)):
            at = 0x10 + 4 * bar
            self.config(at, 0xffffffff)
            check((~(self.config(at) & ~0xf) & 0xffffffff) + 1, size, f'size of BAR {bar}')
            self.config(at, self.bar(bar))
            if self.config(at) & 4:  # 64 bits
                self.config(at + 4, 0)
        self.config(4, 6)  # memory, bus master

    def bar(self, number):
        return self.base + 0x20000 * number

    def config(self, at, value=None):
        self.qemu.ask(f'outl 0xcf8 {0x80000000 | self.slot << 11 | at:#x}')
        if value is None:
            return self.qemu.number('inl 0xcfc')
        return self.qemu.ask(f'outl 0xcfc {value:#x}')

    def set(self, register, value, letter='l'):
        self.qemu.ask(f'write{letter} {self.bar(0) + register:#x} {value:#x}')

    def set64(self, register, value):
        self.set(register, value & 0xffffffff)
        self.set(register + 4, value >> 32)

    def get64(self, register):
        low = self.qemu.number(f'readl {self.bar(0) + register:#x}')
        return low | self.qemu.number(f'readl {self.bar(0) + register + 4:#x}') << 32

    def doorbell(self, number):
        self.set64(DOORBELL, number)

    def start_dma(self, pages, rate):
        self.set64(DMA_ADDR, RING)
        self.set(DMA_PAGES, pages)
        self.set(DMA_RATE, rate)
        self.set(CONTROL, DMA)


class Qemu:
    """A QEMU without a guest, stopped by nothing: its devices live."""

    def __init__(self, folder, devices, ram):
        path = os.path.join(folder, 'qtest')
        self.log = open(os.path.join(folder, 'qemu.log'), 'w+')
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        command = QEMU + ['-machine', 'q35,accel=qtest,memory-backend=ram', '-nodefaults',
                          '-display', 'none', '-m', '128', '-object', ram + ',id=ram,size=128M',
                          '-qtest', f'unix:{path}', '-qtest-log', 'none']
        for number, device in enumerate(devices):
            where = {'path': device.path, 'type': 'unix'}
            command += ['-device', json.dumps({'driver': 'vfio-user-pci', 'socket': where,
                                               'addr': hex(4 + number)})]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        if not select.select([listener], [], [], SECONDS)[0]:
            raise Failed(f'QEMU does not start: {self.said()}')
        self.sock = listener.accept()[0]
        listener.close()
        self.sock.settimeout(SECONDS)
        self.file = self.sock.makefile()
        try:
            self.devices = [Device(self, 4 + i, 0xe0000000 + 0x100000 * i)
                            for i in range(len(devices))]
        except (Failed, OSError) as error:
            raise Failed(f'{error}; QEMU printed: {self.said()}') from error

    def said(self):
        self.log.seek(0)
        return re.sub(r'\s+', ' ', self.log.read())[-400:]

    def ask(self, line):
        self.sock.sendall(line.encode() + b'\n')
        while True:
            answer = self.file.readline()
            if not answer:
                raise Failed(f'QEMU is gone after {line!r}: {self.said()}')
            if not answer.startswith('IRQ'):
                break
        words = answer.split()
        check(words[0], 'OK', f'answer to {line!r}')
        return words[1] if len(words) > 1 else None

    def number(self, line):
        return int(self.ask(line), 16)

    def read(self, address, size):
        return bytes.fromhex(self.ask(f'read {address:#x} {size:#x}')[2:])

    def end(self):
        self.process.kill()
        self.process.wait(SECONDS)
        self.sock.close()
        self.log.close()


MAPPED = 'memory-backend-memfd,share=on'
MESSAGES = 'memory-backend-ram,share=off'


@contextlib.contextmanager
def pair(ram=MAPPED):
    """Two devices in one QEMU."""
    with tempfile.TemporaryDirectory(prefix='vfio-user-') as folder:
        simvfs = [Simvf(folder, name, '--seed', str(7 + n)) for n, name in enumerate('ab')]
        qemu = None
        try:
            qemu = Qemu(folder, simvfs, ram)
            yield folder, simvfs, qemu
        finally:
            if qemu and qemu.process.poll() is None:
                qemu.end()
            for simvf in simvfs:
                if simvf.process.poll() is None:
                    simvf.end()


def two_devices_attach_and_take_doorbells():
    with pair() as (_, simvfs, qemu):
        for device, simvf in zip(qemu.devices, simvfs):
            for number in range(1, 101):
                device.doorbell(number)
            report = simvf.report()
            check((report['doorbells'], report['doorbells_lost'], report['doorbells_repeated']), (100, 0, 0), 'doorbells')


def interrupts_arrive_by_msix():
    with pair() as (_, _, qemu):
        for n, device in enumerate(qemu.devices):
            at = device.config(0x34) & 0xff
            while device.config(at) & 0xff != 0x11:
                at = device.config(at) >> 8 & 0xff
                check(at != 0, True, 'an MSI-X capability')
            entry, target = device.bar(4), FLAG + 64 * n
            for offset, value in ((0, target), (4, 0), (8, 0x5a00 + n), (12, 0)):
                qemu.ask(f'writel {entry + offset:#x} {value:#x}')
            device.config(at, device.config(at) | 1 << 31)  # enabled
            device.set(IRQ_EVERY, 1)
            device.set(CONTROL, IRQ)
            device.doorbell(1)
            wait_for(lambda: qemu.number(f'readl {target:#x}') == 0x5a00 + n, 'the interrupt')
            qemu.ask(f'writel {target:#x} 0')
            device.doorbell(2)
            wait_for(lambda: qemu.number(f'readl {target:#x}') == 0x5a00 + n, 'the second one')


def dma(ram):
    pages = 4
    with pair(ram) as (_, simvfs, qemu):
        for n, (device, simvf) in enumerate(zip(qemu.devices, simvfs)):
            device.start_dma(pages, 500)
            rung = 0
            # A guest accesses a device while it moves data.
            while device.get64(DMA_SEQ) < 40:
                rung += 1
                device.doorbell(rung)
            device.set(CONTROL, 0)
            seq, seed = device.get64(DMA_SEQ), 7 + n
            for number in range(seq - pages, seq):
                page = qemu.read(RING + number % pages * 4096, 4096)
                words = [int.from_bytes(page[i:i + 8], 'little') for i in range(0, 4096, 8)]
                last = ((seed ^ number * 0x9e3779b97f4a7c15 & MASK) + 511 * 0xbf58476d1ce4e5b9) & MASK
                check((words[0], words[1], words[511]), (number + 1, seed, last), f'page {number}')
            report = simvf.report()
            check((report['dma_errors'], report['ram_mismatches'], report['doorbells_lost'],
                   report['doorbells_repeated'], report['doorbells']), (0, 0, 0, 0, rung), 'counters')


def dma_goes_through_mapped_memory():
    dma(MAPPED)


def dma_goes_by_messages():
    dma(MESSAGES)


def p2p_reaches_the_sibling(ram):
    with pair(ram) as (_, simvfs, qemu):
        for n, device in enumerate(qemu.devices):
            device.set64(P2P_ADDR, qemu.devices[1 - n].bar(2) + 64)
            device.set(P2P_RATE, 200)
            device.set(CONTROL, P2P)
        for device in qemu.devices:
            wait_for(lambda: device.get64(P2P_SEQ) >= 20, '20 writes')
        for device in qemu.devices:
            device.set(CONTROL, 0)
        reports = [simvf.report() for simvf in simvfs]
        for n, report in enumerate(reports):
            check(report['dma_errors'], 0, 'failed writes')
            check(report['p2p_received'] > 0, True, 'numbers arrived')
            check(report['p2p_writes'] >= 20, True, 'numbers sent')
            number = qemu.number(f'readl {qemu.devices[n].bar(2) + 64:#x}')
            check(number, reports[1 - n]['p2p_writes'], 'the last number in the inbox')


def p2p_reaches_the_sibling_with_mapped_memory():
    p2p_reaches_the_sibling(MAPPED)


def p2p_reaches_the_sibling_without():
    p2p_reaches_the_sibling(MESSAGES)


def a_killed_qemu_leaves_the_devices_to_the_next():
    with pair() as (folder, simvfs, qemu):
        for device in qemu.devices:
            device.start_dma(4, 1000)
        qemu.end()
        again = Qemu(folder, simvfs, MAPPED)
        try:
            for device in again.devices:
                device.doorbell(1)
                device.start_dma(4, 1000)
                wait_for(lambda: device.get64(DMA_SEQ) > 10, 'DMA')
        finally:
            again.end()


def a_killed_device_leaves_qemu_and_its_sibling_alive():
    with pair() as (folder, simvfs, qemu):
        simvfs[0].process.kill()
        simvfs[0].process.wait(SECONDS)
        qemu.devices[1].doorbell(1)
        check(simvfs[1].report()['doorbells'], 1, "the sibling's doorbell")
        check(qemu.process.poll(), None, "QEMU's exit status")
        qemu.end()
        simvfs[0] = Simvf(folder, 'a', '--seed', '7')  # it takes its socket over
        again = Qemu(folder, simvfs, MAPPED)
        try:
            for device in again.devices:
                device.doorbell(2)
        finally:
            again.end()


def main():
    tests = [two_devices_attach_and_take_doorbells, interrupts_arrive_by_msix,
             dma_goes_through_mapped_memory, dma_goes_by_messages,
             p2p_reaches_the_sibling_with_mapped_memory, p2p_reaches_the_sibling_without,
             a_killed_qemu_leaves_the_devices_to_the_next,
             a_killed_device_leaves_qemu_and_its_sibling_alive]
    version = subprocess.run(QEMU + ['-version'], capture_output=True, text=True, check=True)
    print(f'# {version.stdout.splitlines()[0]}\n1..{len(tests)}', flush=True)
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f'ok {number} - {test.__name__}', flush=True)
        except (Failed, OSError, ValueError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f'not ok {number} - {test.__name__}: {error}', flush=True)
    print(f'{len(tests) - failed} passed, {failed} failed, 0 skipped')
    return failed != 0


sys.exit(main())
