"""Where drgn finds a text and a word in a dump, an address of the direct map a line.

usage: search.py VMLINUX DUMP TEXT WORD
"""

import sys

import drgn

vmlinux, dump, text, word = sys.argv[1:5]
prog = drgn.Program()
prog.set_core_dump(dump)
prog.load_debug_info([vmlinux])
if not hasattr(prog, "search_memory"):
    sys.exit("this drgn does not search")
for address in prog.search_memory(text.encode()):
    print("text", hex(address))
for address, _ in prog.search_memory_word(int(word, 0)):
    print("word", hex(address))
