# The capture kernel. Nobody interprets the first copy.
step raw dd if=/proc/vmcore of=/dev/vdb bs=1M
step log hadump dmesg /proc/vmcore
echo 3 >/proc/sys/vm/drop_caches
step save xtask measure --machine -- hadump save --quiet --to /var/crash/
step verify sh -c 'hadump verify /var/crash/*/vmcore'
step report-beside sh -c 'cat /var/crash/*/vmcore-report.txt && grep -e kind -e signature /var/crash/*/vmcore-report.json'
echo 3 >/proc/sys/vm/drop_caches
step report xtask measure --machine --stdout /var/left/report.txt -- hadump report /proc/vmcore
# Room for the log and the report, and for no page. What is kept for root counts, as root saves.
mkdir /run/small
mount -t ext4 /dev/vdc /run/small
dd if=/dev/zero of=/run/small/full bs=1024 count=$(($(stat -f -c '%f * %S / 1024' /run/small) - 512))
step no-room hadump save --to /run/small/ --json
step no-room-log sh -c 'tail -n 1 /run/small/*/vmcore-dmesg.txt'
step no-room-report sh -c 'cat /run/small/*/vmcore-report.txt && grep -e kind /run/small/*/vmcore-report.json'
umount /run/small
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
