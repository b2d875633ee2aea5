# Disks that fill, vanish and are cut off while the dump waits; it must still be there each time.
mkdir -p /run/small /run/pulled
mount -t ext4 /dev/vdc /run/small
step full hadump save --to /run/small/ -d 31 -c none --release after
step waits-after-full test -e /proc/vmcore
umount /run/small
mount -t ext4 /dev/vdd /run/pulled
(sleep 4 && host unplug vdd) &
step pulled hadump save --to /run/pulled/ -d 0 -c none --limit-rate 40M --release after
step waits-after-pulled test -e /proc/vmcore
hadump save --to /var/crash -d 0 --limit-rate 8M &
saving=$!
# Not before a part of the dump is safe.
for _ in $(seq 120); do
    sleep 1
    [ "$(cat /var/crash/*/vmcore.journal 2>/dev/null | wc -l)" -ge 2 ] && break
done
kill -9 $saving
step interrupted sh -c 'ls /var/crash/*/vmcore-incomplete'
step resumed hadump save --to /var/crash -d 0 --resume
step verify sh -c 'hadump verify /var/crash/*/vmcore'
finish
