# An ordinary boot with memory set aside for a capture kernel, which the kernel enters by itself when it crashes.
step load kexec --load-panic --kexec-file-syscall --initrd /boot/initramfs \
    --command-line "console=ttyS0 panic=-1 no_timer_check nowatchdog reset_devices $CAPTURE" /boot/kernel
step loaded cat /sys/kernel/kexec_crash_loaded
step inhabit memory inhabit "$INHABITED" /bin/hadump
step fill memory fill "$FILL_SECONDS"
echo "@@ crash $boot"
sync
echo 1 >/proc/sys/kernel/sysrq
# All processors come up in a capture kernel only if the first one crashed.
taskset 1 sh -c 'echo c >/proc/sysrq-trigger'
