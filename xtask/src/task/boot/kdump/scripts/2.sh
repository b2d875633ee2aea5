# The capture kernel. Nobody interprets the first copy.
step raw dd if=/proc/vmcore of=/dev/vdb bs=1M
step log hadump dmesg /proc/vmcore
echo 3 >/proc/sys/vm/drop_caches
step save xtask measure --machine -- hadump save --quiet --to /var/crash/
step verify sh -c 'hadump verify /var/crash/*/vmcore'
mkdir /var/level1/dump
echo 3 >/proc/sys/vm/drop_caches
step level1 xtask measure --machine -- hadump convert --quiet -d 1 /proc/vmcore -o /var/level1/dump/vmcore
step peer-31 makedumpfile -z -d 31 --message-level 4 /proc/vmcore /var/peer/31
step peer-1 makedumpfile -z -d 1 --message-level 4 /proc/vmcore /var/peer/1
dmesg >"$results/dmesg"
finish
