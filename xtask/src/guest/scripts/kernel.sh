# kernel.sh DIRECTORY SUITE...: finds the newest kernel for amd64 of these suites of Debian, unpacks it below DIRECTORY, with
# the modules that a guest needs in the order in which they are loaded, and prints its version.
#
# Each suite has an apt of its own: the tree is sid, and nothing here is installed into it.
set -e
directory=$1
shift

# apt SUITE TOOL ARGUMENT...
apt() {
    at=$directory/apt-$1
    tool=$2
    shift 2
    "$tool" -q -o Dir::Etc::SourceList="$at/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$at" \
        -o Dir::State::status=/dev/null -o Dir::Cache="$at" "$@"
}

# depends SUITE PACKAGE PATTERN: what it depends on, as far as the pattern goes.
depends() {
    apt "$1" apt-cache depends --important "$2" | sed -n "s/^  Depends: \\($3\\)\$/\\1/p"
}

newest=
for suite in "$@"; do
    at=$directory/apt-$suite
    mkdir -p "$at/lists/partial" "$at/archives/partial"
    echo "deb http://deb.debian.org/debian $suite main" >"$at/sources.list"
    apt "$suite" apt-get update >&2
    image=$(depends "$suite" linux-image-amd64 'linux-image-[0-9].*')
    version=${image#linux-image-}
    if [ -n "$version" ] && [ "$(printf '%s\n' "$newest" "$version" | sort -V | tail -n 1)" = "$version" ]; then
        newest=$version
        of=$suite
    fi
done
if [ -z "$newest" ]; then
    echo "no linux-image-amd64 in $*" >&2
    exit 1
fi

root=$directory/$newest
if [ ! -e "$root/image" ]; then
    # Since 7.0 the package of the image is a small one, beside those of the binary and the modules.
    packages=linux-image-$newest
    for package in $(depends "$of" linux-image-"$newest" 'linux-\(binary\|modules\)-.*'); do
        packages="$packages $package $(depends "$of" "$package" 'linux-\(binary\|modules\)-.*')"
    done
    rm -rf "$root"
    mkdir -p "$root/packages"
    (cd "$root/packages" && apt "$of" apt-get download $(printf '%s\n' $packages | sort -u) >&2)
    for package in "$root"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -r "$root/packages"
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
    depmod -b "$root" "$newest"

    mkdir "$root/load"
    count=100
    for module in crc32c_generic crc32c_intel virtio_pci virtio_blk ext4; do
        modprobe -d "$root" -S "$newest" --quiet --show-depends "$module" || true
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
        name=$(basename "$file")
        case $file in
        *.xz) xz -dc "$file" >"$root/load/$count-${name%.xz}" ;;
        *.zst) zstd -qdc "$file" >"$root/load/$count-${name%.zst}" ;;
        *) cp "$file" "$root/load/$count-$name" ;;
        esac
        count=$((count + 1))
    done
    for image in "$root/boot/vmlinuz-$newest" "$root/lib/modules/$newest/vmlinuz"; do
        [ -e "$image" ] && cp "$image" "$root/image.partial"
    done
    # Of more than 300 MB these are a few.
    rm -rf "$root/usr" "$root/lib" "$root/boot"
    mv "$root/image.partial" "$root/image"
fi
echo "$newest"
