# After being switched on again the machine is as it was at first.
step vmcore test -e /proc/vmcore
step status hadump status
step inhabit memory inhabit 100
crash
