# build.sh PACKAGE OBJECTS: builds Debian's kernel sources inside the tree, with the configuration OBJECTS/wanted.config.
set -e
sources=/boots/$1
objects=$2
if [ ! -d "$sources" ]; then
    mkdir -p "$sources.partial"
    tar --extract --file "/usr/src/$1.tar.xz" --directory "$sources.partial" --strip-components 1
    mv "$sources.partial" "$sources"
fi
build() {
    make --silent --directory "$sources" O="$objects" ARCH=powerpc CROSS_COMPILE=powerpc64le-linux-gnu- "$@"
}
build KCONFIG_ALLCONFIG="$objects/wanted.config" allnoconfig
# What another option rules out would be missing without a word.
grep '^CONFIG_' "$objects/wanted.config" | while read -r line; do
    grep --quiet --fixed-strings --line-regexp "$line" "$objects/.config" || echo "not taken: $line"
done
build --jobs="$(nproc)" vmlinux
