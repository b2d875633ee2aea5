"""Words of a dump's memory as drgn reads them, in hexadecimal, a line each.

usage: words.py DUMP ADDRESS COUNT [physical]
"""

import sys

import drgn

dump, addr, count = sys.argv[1], int(sys.argv[2], 16), int(sys.argv[3])
prog = drgn.Program()
prog.set_core_dump(dump)
little = drgn.PlatformFlags.IS_LITTLE_ENDIAN in prog.platform.flags
memory = prog.read(addr, 8 * count, physical=len(sys.argv) > 4)
for at in range(0, len(memory), 8):
    print(f"{int.from_bytes(memory[at:at + 8], 'little' if little else 'big'):#018x}")
