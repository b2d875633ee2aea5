"""Compares every page of a kdump file, as libkdumpfile reads it, with the memory of the ELF dump it was made from.

usage: pages.py ORIGINAL.elf DUMP BITMAP PAGE_SIZE

BITMAP holds one bit for each frame that DUMP must hold (bit `pfn & 7` of byte `pfn >> 3`). Frames it names must read
as the original's bytes, a frame that the original has only in part with zeros for the rest; frames it does not name
must not be readable. Reads physical addresses (MACHPHYSADDR), because libkdumpfile translates no 4K POWER.

Prints one JSON object: pages compared, and the first few differences.
"""

import json
import mmap
import struct
import sys

import kdumpfile


def loads(elf):
    """(physical address, file offset, bytes in the file) of each PT_LOAD, ascending; ELF64 of either byte order."""
    assert elf[:5] == b"\x7fELF\x02", "not an ELF64 file"
    order = "<" if elf[5] == 1 else ">"
    (phoff,) = struct.unpack_from(order + "Q", elf, 32)
    (phentsize, phnum) = struct.unpack_from(order + "HH", elf, 54)
    found = []
    for index in range(phnum):
        (kind, _, offset, _, paddr, filesz) = struct.unpack_from(order + "IIQQQQ", elf, phoff + index * phentsize)
        if kind == 1:
            found.append((paddr, offset, filesz))
    return sorted(found)


def page_of(elf, segments, address, size):
    """The page at `address`: whole from one segment, or put together over zeros."""
    page = None
    for paddr, offset, filesz in segments:
        first, last = max(paddr, address), min(paddr + filesz, address + size)
        if first >= last:
            continue
        part = elf[offset + first - paddr : offset + last - paddr]
        if len(part) == size:
            return part
        page = page or bytearray(size)
        page[first - address : last - address] = part
    return bytes(page or bytearray(size))


def main():
    original, dump, bitmap, size = sys.argv[1:5]
    size = int(size)
    with open(original, "rb") as file:
        elf = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with open(bitmap, "rb") as file:
        kept = file.read()
    segments = loads(elf)
    context = kdumpfile.kdumpfile(dump)
    if context.attr["arch.page_size"] != size:
        sys.exit(f"{dump}: libkdumpfile sees pages of {context.attr['arch.page_size']} bytes, not {size}")
    if context.attr["max_pfn"] > len(kept) * 8:
        sys.exit(f"{dump}: max_pfn {context.attr['max_pfn']} lies past the bitmap's {len(kept) * 8} frames")
    compared, absent, wrong = 0, 0, []
    for pfn in range(len(kept) * 8):
        wanted = kept[pfn >> 3] >> (pfn & 7) & 1
        if not wanted and pfn >= context.attr["max_pfn"]:
            continue
        try:
            page = context.read(kdumpfile.KDUMP_MACHPHYSADDR, pfn * size, size)
        except kdumpfile.exceptions.NoDataException:
            page = None
        if not wanted:
            absent += 1
            if page is not None:
                wrong.append(f"frame {pfn:#x} is there and should not be")
        elif page is None:
            wrong.append(f"frame {pfn:#x} is missing")
        else:
            compared += 1
            if page != page_of(elf, segments, pfn * size, size):
                wrong.append(f"frame {pfn:#x} has other bytes")
    print(json.dumps({"compared": compared, "absent": absent, "wrong": len(wrong), "first": wrong[:8]}))


main()
