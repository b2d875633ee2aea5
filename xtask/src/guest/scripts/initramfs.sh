#!/bin/busybox sh
# /init of the guests of `cargo xtask boot`: what a distribution's initramfs does. It mounts the root file system
# read-only, runs the boot's part for the initramfs, and hands over to the system, with /run as it is.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /sysroot /etc /var/tmp
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin:/usr/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t debugfs debug /sys/kernel/debug
exec </dev/console >/dev/console 2>&1
# Of the kernel's messages only what is a fault: those of the OOM killer would fill a slow console.
dmesg -n 4

# In the order of their names.
for module in /modules/*; do
    [ -e "$module" ] && { insmod "$module" || echo "@@ cannot load $module"; }
done
# Where the disks' driver is a module, it goes on looking for them when it is loaded.
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] || sleep 1; done
mount -t ext4 /dev/vda /sysroot || echo "@@ cannot mount the root file system"
boot=$(($(cat /sysroot/boots) + 1))
echo $boot >/sysroot/boots
sync
mount -o remount,ro /dev/vda /sysroot
echo "@@ boot $boot"
export boot
# A guest that says nothing is taken for one that hangs.
while sleep 20; do echo "@@ alive"; done &
echo $! >/run/alive

results=/run/results
mkdir -p $results
export results
. /sysroot/scenario/lib.sh
[ -e /sysroot/scenario/$boot-initramfs.sh ] && . /sysroot/scenario/$boot-initramfs.sh

kill "$(cat /run/alive)"
for mounted in /proc /sys /dev /run /tmp; do
    mount -o move $mounted /sysroot$mounted
done
exec switch_root /sysroot /sbin/init
