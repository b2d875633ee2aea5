# enter.sh TREE REPOSITORY WORK PROGRAM [ARGUMENT...]: runs a program inside a Debian tree, where the repository is
# /hadump (read-only) and the directory of boots /boots.
#
# It is started in a mount namespace of its own, so that the mounts go with it: whoever removes target/ removes no more.
set -e
tree=$1
repository=$2
work=$3
shift 3
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount --rbind /sys "$tree/sys"
mkdir -p "$tree/hadump" "$tree/boots"
mount --bind "$repository" "$tree/hadump"
mount -o remount,bind,ro "$tree/hadump"
mount --bind "$work" "$tree/boots"
if [ -n "${HADUMP_CORPUS-}" ]; then
    mkdir -p "$tree/corpus"
    mount --bind "$HADUMP_CORPUS" "$tree/corpus"
    export HADUMP_CORPUS=/corpus
fi
exec chroot "$tree" "$@"
