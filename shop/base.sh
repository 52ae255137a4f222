#!/bin/sh
# Makes sure the engine has debian:bookworm-slim, which the Redis and PostgreSQL images start from.
#
#   present? ── yes ─▶ done
#      │ no
#   docker pull ── ok ─▶ done
#      │ no registry
#   debootstrap + docker import (about 2 minutes, once: the engine keeps the result)
set -eu

image=debian:bookworm-slim
suite=bookworm

say() { printf 'shop: %s\n' "$*" >&2; }

fail() {
    say "$1"
    cat >&2 <<END
shop: any one of these gives the engine the image:
  - docker pull $image                 where a registry can be reached
  - docker load -i bookworm-slim.tar   made elsewhere by: docker save $image -o bookworm-slim.tar
  - sudo shop/base.sh                  on Debian or Ubuntu: makes it from packages with debootstrap
END
    exit 1
}

# A firewall that drops packets would hold a pull for minutes, hence the limit.
pull() {
    if command -v timeout >/dev/null; then
        timeout "${PULL_TIMEOUT:-60}" docker pull -q "$image"
    else
        docker pull -q "$image"
    fi
}

need_debootstrap() {
    [ "$(id -u)" = 0 ] || fail "$image can be made from packages only by root"
    command -v debootstrap >/dev/null && return
    command -v apt-get >/dev/null || fail "no debootstrap here, and no apt-get to install it with"
    say "installing debootstrap"
    # The keyring lets an Ubuntu host check Debian's signatures.
    { apt-get update && apt-get install -y --no-install-recommends debootstrap debian-archive-keyring; } >&2 ||
        fail "apt-get could not install debootstrap"
}

cleanup() {
    umount "$tree/proc" "$tree/sys" 2>/dev/null || :
    rm -rf --one-file-system "$tree"
}

if docker image inspect "$image" >/dev/null 2>&1; then exit 0; fi

say "pulling $image"
if pull >&2; then exit 0; fi

say "no registry can be reached; making $image from Debian packages"
need_debootstrap
# Not /tmp: it is often mounted nodev, which debootstrap refuses.
tree=$(mktemp -d "${TMPDIR:-/var/tmp}/shop-base.XXXXXX")
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

debootstrap --variant=minbase "$suite" "$tree" >"$tree.log" 2>&1 || {
    tail -n 20 "$tree.log" >&2
    rm -f "$tree.log"
    fail "debootstrap failed"
}
rm -f "$tree.log"
rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* \
    "$tree"/usr/share/doc/* "$tree"/usr/share/info/* "$tree"/usr/share/man/*
# As in the registry's image: a package must not start its daemon while an image is being built.
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d" "$tree"

tar -C "$tree" --numeric-owner --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
    docker import --change 'CMD ["bash"]' - "$image" >/dev/null
say "made $image"
