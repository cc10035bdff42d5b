# SPDX-License-Identifier: BSD-3-Clause
"""Writes a file's bytes as a C array: embed.py INPUT OUTPUT NAME."""
import sys

source, target, name = sys.argv[1:]
with open(source, 'rb') as f:
    data = f.read()
with open(target, 'w', encoding='ascii') as f:
    f.write(f'/* Generated from the guest image. */\nstatic const unsigned char {name}[{len(data)}] = {{\n')
    for at in range(0, len(data), 16):
        f.write('\t' + ''.join(f'{byte},' for byte in data[at:at + 16]) + '\n')
    f.write('};\n')
