# The second boot: what the distribution's initramfs does, after a copy that nobody interprets.
state waits
step raw dd if=/proc/vmcore of=/dev/vdb bs=1M
step hadump-boot hadump-boot /sysroot
