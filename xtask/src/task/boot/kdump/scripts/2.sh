# The capture kernel. Nobody interprets the first copy.
step raw dd if=/proc/vmcore of=/dev/vdb bs=1M
step log hadump dmesg /proc/vmcore
echo 3 >/proc/sys/vm/drop_caches
step save xtask measure --machine -- hadump save --quiet --to /var/crash/
step verify sh -c 'hadump verify /var/crash/*/vmcore'
mkdir /var/level1/dump
echo 3 >/proc/sys/vm/drop_caches
step level1 xtask measure --machine -- hadump convert --quiet -d 1 /proc/vmcore -o /var/level1/dump/vmcore
# Of these files only which pages they have is of interest, which is at their beginning.
for level in 31 1; do
    step peer-$level makedumpfile -z -d $level --message-level 4 /proc/vmcore /var/tmp/peer
    head -c 4194304 /var/tmp/peer >/var/peer/$level
    rm /var/tmp/peer
done
dmesg >"$results/dmesg"
finish
