# life.sh VERSION: what a machine does with the packages of /boots/packages, from the installation to the purge.
version=$1
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
fail() {
    echo "life.sh: $*" >&2
    exit 1
}
apt() {
    apt-get --quiet=2 --yes --no-install-recommends -o Acquire::Check-Valid-Until=false -o Dpkg::Use-Pty=0 "$@" >/tmp/apt.log 2>&1 || {
        cat /tmp/apt.log
        fail "apt-get $*"
    }
}
# Debian's own makedumpfile is there first, as on a machine with kdump-tools.
apt update
apt install makedumpfile
theirs=$(sha256sum </usr/bin/makedumpfile)

apt install /boots/packages/old/hadump_*.deb /boots/packages/old/hadump-makedumpfile_*.deb
echo "installed: $(dpkg-query --show --showformat '${Package} ${Version}; ' hadump hadump-makedumpfile)"
[ -L /usr/bin/makedumpfile ] || fail "makedumpfile is not hadump's"
[ "$(sha256sum </usr/bin/makedumpfile.distrib)" = "$theirs" ] || fail "Debian's makedumpfile is not kept"

hadump convert /boots/vmcore.elf -o /tmp/vmcore
hadump verify /tmp/vmcore
[ "$(hadump info --json /tmp/vmcore | grep -c '"complete": true')" = 1 ] || fail "info does not call the dump complete"
hadump status >/tmp/status.txt || fail "hadump status"
sed 's/^/    /' /tmp/status.txt
makedumpfile -v | grep hadump || fail "makedumpfile -v"
makedumpfile -l -d 31 /boots/vmcore.elf /tmp/vmcore.lzo >/tmp/log 2>&1 || fail "makedumpfile -l"
hadump diff --common /tmp/vmcore /tmp/vmcore.lzo
hadump completions bash | cmp - /usr/share/bash-completion/completions/hadump

# An upgrade leaves the configuration as its owner changed it.
echo HADUMP_TO=/srv/dumps >>/etc/hadump.conf
apt install -o Dpkg::Options::=--force-confdef /boots/packages/hadump_*.deb /boots/packages/hadump-makedumpfile_*.deb /boots/packages/hadump-dbgsym_*.deb
echo "upgraded: $(dpkg-query --show --showformat '${Package} ${Version}; ' hadump hadump-makedumpfile hadump-dbgsym)"
[ "$(dpkg-query --show --showformat '${Version}' hadump)" = "$version" ] || fail "not upgraded to $version"
grep -q HADUMP_TO=/srv/dumps /etc/hadump.conf || fail "the configuration is lost"
makedumpfile -v | grep -q hadump || fail "makedumpfile is not hadump's after the upgrade"
[ "$(dpkg --verify hadump hadump-makedumpfile hadump-dbgsym)" = "$(dpkg --verify hadump | grep hadump.conf)" ] || fail "dpkg --verify"

apt remove hadump-makedumpfile
[ "$(sha256sum </usr/bin/makedumpfile)" = "$theirs" ] || fail "Debian's makedumpfile is not back"
[ -z "$(dpkg-divert --list '*makedumpfile*')" ] || fail "the diversion is left"
echo "back: $(makedumpfile -v 2>&1 | head -1)"
mkdir -p /var/lib/hadump && echo IBM,0212345 >/var/lib/hadump/registered-on
apt remove hadump-dbgsym hadump
[ -e /etc/hadump.conf ] || fail "the configuration is lost by the removal"
# Of hadump-dbgsym nothing is left that apt could purge.
apt purge hadump hadump-makedumpfile
# Not in what is mounted for this script, nor where it writes itself.
left=$(find / \( -path /boots -o -path /hadump -o -path /proc -o -path /sys -o -path /dev -o -path /tmp \) -prune -o -name '*hadump*' -print)
[ -z "$left" ] || fail "left behind: $left"
echo "removed without a trace"
