#!/bin/bash
# Saves a dump that firmware kept over the reset from the initramfs, where all of the machine is still idle.
# Without systemd in the initramfs it works as well.

check() {
    require_binaries hadump hadump-boot mount mkdir || return 1
    # Only POWER firmware keeps dumps. Elsewhere the module is there when asked for: dracut --add hadump.
    case ${DRACUT_ARCH:-$(uname -m)} in
        ppc64*) return 0 ;;
    esac
    return 255
}

depends() {
    echo base
    return 0
}

install() {
    inst_multiple hadump hadump-boot mount mkdir sync tr
    inst_multiple -o reboot
    inst_multiple -o /etc/hadump.conf
    # After the root file system is mounted, before anything that needs memory.
    # shellcheck disable=SC2154 # dracut says where the module is
    inst_hook pre-pivot 10 "$moddir/hadump-pre-pivot.sh"
}
