"""What drgn sees in a dump: release, tasks, stacks and kernel log, as lines that a test compares.

usage: tasks.py VMLINUX DUMP

A stack that drgn cannot walk is printed as its reason: a dump of another format must fail for the same one.
"""

import sys

import drgn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg

vmlinux, dump = sys.argv[1:3]
prog = drgn.Program()
prog.set_core_dump(dump)
prog.load_debug_info([vmlinux])

print("release", prog["init_uts_ns"].name.release.string_().decode())
tasks = sorted(for_each_task(prog), key=lambda task: task.pid.value_())
for task in tasks:
    print("task", task.pid.value_(), task.tgid.value_(), task.comm.string_().decode(), hex(task.value_()))
    try:
        for frame in prog.stack_trace(task):
            print("   ", hex(frame.pc), frame.name)
    except (ValueError, LookupError) as error:
        print("   ", type(error).__name__, error)
print(get_dmesg(prog).decode(errors="backslashreplace"))
