# judges.sh VERSION: lintian reads the .debs and rpmlint the .rpms, which rpm installs into the tree /boots/rpm-root and removes.
version=$1
export LC_ALL=C
fail() {
    echo "judges.sh: $*" >&2
    exit 1
}
cd /boots/packages
lintian --allow-root --fail-on error --display-info ./*.deb || fail "lintian"
echo "lintian: no errors"

root=/boots/rpm-root
# Debian's rpm has no database of Debian's packages, so it cannot know that there is a shell.
in_root() {
    rpm --root "$root" --nodeps "$@"
}
rpm --root "$root" --initdb
for package in ./hadump-[0-9]*.rpm ./hadump-makedumpfile-*.rpm ./hadump-debuginfo-*.rpm; do
    rpm --checksig --nosignature "$package"
    in_root --install "$package"
done
rpm --root "$root" --query --all
rpm --root "$root" --query --queryformat '%{NAME} %{VERSION}-%{RELEASE} %{ARCH}: %{LICENSE}, %{SIZE} bytes\n' --all
rpm --root "$root" --query --configfiles hadump
rpm --root "$root" --query --provides hadump-makedumpfile | grep '^makedumpfile = ' || fail "makedumpfile is not provided"
in_root --verify hadump hadump-makedumpfile hadump-debuginfo || fail "rpm --verify"
chroot "$root" makedumpfile -v | grep hadump || fail "makedumpfile is not hadump's"
chroot "$root" hadump --version
in_root --erase hadump-debuginfo hadump-makedumpfile hadump
left=$(find "$root" -xdev -name '*hadump*' ! -path "$root/hadump*" ! -path "$root/var/*")
[ -z "$left" ] || fail "left behind: $left"
echo "rpm: $version installed, verified, removed"
rpmlint --config /hadump/dist/packages/rpmlint.toml ./*.rpm || fail "rpmlint"
echo "rpmlint: no errors"
