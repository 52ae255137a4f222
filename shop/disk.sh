#!/bin/sh
# The disk that the orders are on: ext4 of 256 MiB on a loop device.
#
#   volume shop-disk ── orders.img ──▶ /dev/loopN ◀── /dev/shop-orders ◀── volume shop_orders (compose.yaml)
#
#   disk.sh up     makes what is missing of it; never touches data that is there
#   disk.sh down   removes all of it; call it when the containers and their volumes are gone
#   disk.sh show   the loop device, its file, and what holds it
#
# A container does it, so that neither root on this host nor a host that is the engine's own is needed. It gets what
# loop devices need and no more: --privileged is refused where the engine itself lacks a capability.
# The name in /dev goes with a reboot, as the loop device does: PostgreSQL then fails to start until the next
# shop-up, where a plain /dev/loop0 might by then be somebody else's file system.
set -eu

volume=shop-disk
image=shop-postgres # has losetup and mkfs.ext4

helper() {
    docker run --rm --network none --cap-add SYS_ADMIN \
        --security-opt apparmor=unconfined --security-opt label=disable \
        --device-cgroup-rule 'b 7:* rmw' --device-cgroup-rule 'c 10:237 rmw' \
        -v /dev:/dev -v "$volume:/disk" --entrypoint sh "$image" -euc "
        file=/disk/orders.img
        name=/dev/shop-orders
        loops() { losetup -n -O NAME -j \$file; }
        $1"
}

# shellcheck disable=SC2016 # expanded in the container
case ${1:-} in
up)
    docker volume inspect "$volume" >/dev/null 2>&1 || docker volume create "$volume" >/dev/null
    helper '
        if ! [ -s $file ]; then
            fallocate -l 256M $file.new || truncate -s 256M $file.new
            mkfs.ext4 -q -b 4096 -m 5 -L shop-orders -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 $file.new
            mv $file.new $file
        fi
        [ -n "$(loops)" ] || losetup -f $file
        # The one in use stays: two loop devices on one file, both mounted, would ruin it.
        use=$(readlink $name || :)
        loops | grep -qx "$use" || use=$(loops | head -n 1)
        ln -sfn $use $name
        for spare in $(loops | grep -vx $use); do losetup -d $spare; done'
    ;;
down)
    docker volume inspect "$volume" >/dev/null 2>&1 || exit 0
    helper '
        for loop in $(loops); do losetup -d $loop; done
        rm -f $name'
    docker volume rm "$volume" >/dev/null
    ;;
show)
    docker volume inspect "$volume" >/dev/null 2>&1 || { echo "no disk"; exit 0; }
    helper 'losetup -j $file; ls -l $name; ls -ls $file'
    ;;
*)
    echo "usage: disk.sh up|down|show" >&2
    exit 64
    ;;
esac
