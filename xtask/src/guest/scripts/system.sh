#!/bin/busybox sh
# /sbin/init of the guests' root file system: runs the boot's part of the scenario, then switches the machine off.
exec </dev/console >/dev/console 2>&1
export PATH=/bin:/usr/sbin:/usr/bin HOME=/
/bin/busybox mount -o remount,rw /
/bin/busybox --install -s /bin
while sleep 20; do echo "@@ alive"; done &

boot=$(cat /boots)
results=/results/$boot
mkdir -p $results
cp -a /run/results/. $results/
export boot results
. /scenario/lib.sh
if [ -e /scenario/"$boot".sh ]; then
    (. /scenario/"$boot".sh)
else
    echo "@@ boot $boot is not of this scenario"
fi
finish
