# An ordinary boot: the kernel has registered by itself.
step status hadump status
state registered
step inhabit memory inhabit 160
crash
