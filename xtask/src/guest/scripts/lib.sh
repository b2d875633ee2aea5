# What the scenarios' scripts have in common. $boot counts the boots of a scenario from 1, $results is where they write.

# step NAME COMMAND...: runs it, keeps its output and exit code, and shows both on the console.
step() {
    name=$1
    shift
    echo "@@ step $boot.$name: $*"
    begun=$(cut -d' ' -f1 /proc/uptime)
    "$@" >"$results/$name.out" 2>&1
    code=$?
    ended=$(cut -d' ' -f1 /proc/uptime)
    tail -c 4096 "$results/$name.out"
    echo $code >"$results/$name.exit"
    echo "@@ exit $boot.$name $code after $begun..$ended s"
    sync
    return $code
}

# crash: as SysRq-c does; returns never.
crash() {
    echo "@@ crash $boot"
    sync
    echo 1 >/proc/sys/kernel/sysrq
    echo c >/proc/sysrq-trigger
    sleep 600
}

# restart: an ordinary reboot, after which memory is the firmware's to clear.
restart() {
    echo "@@ restart $boot"
    mount -o remount,ro / || sync
    reboot -f
    sleep 600
}

# finish: the scenario is over.
finish() {
    echo "@@ finish $boot"
    mount -o remount,ro / || sync
    poweroff -f
    sleep 600
}

# again: the scenario goes on when the machine, which is about to stop, is switched on again.
again() {
    echo "@@ again $boot"
}

# host WHAT...: asks the host for something that a machine cannot do to itself, and waits until it is done.
host() {
    echo "@@ host $*"
    sleep "${HOST_SECONDS:-5}"
}

# write VALUE FILE: prints the system's answer.
write() {
    if echo "$1" >"$2"; then echo written; else return 1; fi
}

# state NAME: what this kernel shows of its dump, as files below $results/NAME.
state() {
    at=$results/$1
    mkdir -p "$at/fadump"
    echo "@@ state $boot.$1"
    for file in meminfo iomem buddyinfo zoneinfo cmdline version cpuinfo self/auxv sys/kernel/osrelease; do
        cat /proc/$file >"$at/${file##*/}"
    done
    dmesg >"$at/dmesg"
    ls -la /sys/kernel/fadump /sys/kernel/fadump_* /proc/vmcore /proc/device-tree/rtas/ibm,kernel-dump >"$at/listing" 2>&1
    for file in /sys/kernel/fadump/*; do cat "$file" >"$at/fadump/${file##*/}" 2>&1; done
    cat /sys/kernel/debug/powerpc/fadump_region >"$at/fadump_region" 2>&1
    for file in rtas/ibm,kernel-dump rtas/linux,rtas-base rtas/linux,rtas-entry rtas/rtas-size chosen/linux,initrd-start \
        chosen/linux,initrd-end reserved-ranges rtas/ibm,configure-kernel-dump-sizes; do
        [ -e "/proc/device-tree/$file" ] && cp "/proc/device-tree/$file" "$at/$(echo $file | tr / .)"
    done
    for file in /proc/device-tree/memory@*/reg; do
        cp "$file" "$at/$(basename "${file%/reg}").reg"
    done
    cp /sys/firmware/fdt "$at/fdt"
    hadump status >"$at/status" 2>&1
    echo $? >"$at/status.exit"
    hadump status --json >"$at/status.json" 2>/dev/null
    # As the last thing: the answer tells whether a dump is active, and an active one refuses it.
    [ -e /sys/kernel/fadump/release_mem ] && write 0 /sys/kernel/fadump/release_mem >"$at/release_mem-0" 2>&1
    sync
}

# page ADDRESS: the kernel's flags of a page, as /proc/kpageflags has them, and how often it is mapped: eight bytes each,
# lowest first.
page() {
    size=$(($(getconf_pagesize)))
    frame=$(($1 / size))
    for file in kpageflags kpagecount; do
        printf '%s %#x %s\n' "$file" "$1" "$(dd if=/proc/$file bs=8 skip=$frame count=1 2>/dev/null | hexdump -v -e '8/1 "%02x"')"
    done
}

# The page size is the unit in which the kernel counts the address space of a process.
getconf_pagesize() {
    awk '/^KernelPageSize/ { print $2 * 1024; exit }' /proc/self/smaps
}

# How long a scenario's machine works before its next crash.
FILL_SECONDS=45
[ -e /scenario/settings.sh ] && . /scenario/settings.sh
