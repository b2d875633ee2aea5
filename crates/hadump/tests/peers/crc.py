"""Prints a line 'page PFN CRC32' for every page of an ELF64 dump, in frame order: Python's reading, zlib's CRC.

usage: crc.py DUMP.elf PAGE_SIZE

A page that the dump has only in part is taken with zeros for the rest, as is memory beyond a segment's bytes in the file.
"""

import struct
import sys
import zlib


def main():
    path, size = sys.argv[1], int(sys.argv[2])
    with open(path, "rb") as file:
        elf = file.read()
    order = "<" if elf[5] == 1 else ">"
    (phoff,) = struct.unpack_from(order + "Q", elf, 32)
    (phentsize, phnum) = struct.unpack_from(order + "HH", elf, 54)
    pages, aliases = {}, set()
    for index in range(phnum):
        header = struct.unpack_from(order + "IIQQQQQ", elf, phoff + index * phentsize)
        (kind, _, offset, _, paddr, filesz, memsz) = header
        if kind != 1 or (offset, paddr) in aliases:
            continue
        aliases.add((offset, paddr))
        at = paddr
        while at < paddr + memsz:
            end = min((at // size + 1) * size, paddr + memsz)
            piece = elf[offset + at - paddr : offset + min(end - paddr, filesz)] if at - paddr < filesz else b""
            page = pages.get(at // size)
            if len(piece) == size:
                pages[at // size] = piece
            else:
                page = bytearray(page or bytes(size))
                page[at % size : at % size + len(piece)] = piece
                pages[at // size] = bytes(page)
            at = end
    for pfn in sorted(pages):
        print(f"page {pfn} {zlib.crc32(pages[pfn]):08x}")


main()
