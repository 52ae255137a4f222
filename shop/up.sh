#!/bin/sh
# Brings the shop up and waits until it is healthy. Run again with another value of a switch, it changes only that:
#
#   shop/up.sh
#   CATALOG_FALLBACK=off shop/up.sh        PAYMENTS_BUDGET=off …        ORDER_INTENT=off …
set -eu
cd "$(dirname "$0")"

say() { printf 'shop: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

state() { docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$1"; }
service() { docker inspect -f '{{index .Config.Labels "com.docker.compose.service"}}' "$1"; }

# unhealthy prints the containers that are not healthy.
unhealthy() {
    for id in $(docker ps -aq --filter label=com.docker.compose.project=shop --filter label=com.docker.compose.oneoff=False); do
        [ "$(state "$id")" = healthy ] || echo "$id"
    done
}

wait_healthy() {
    limit=$(($(date +%s) + ${SHOP_WAIT:-90}))
    while sick=$(unhealthy) && [ -n "$sick" ]; do
        if [ "$(date +%s)" -ge "$limit" ]; then
            for id in $sick; do
                say "$(service "$id") is $(state "$id"); its last lines:"
                docker logs --tail 20 "$id" >&2
            done
            die "not healthy after ${SHOP_WAIT:-90} s"
        fi
        sleep 0.5
    done
}

command -v docker >/dev/null || die "no docker command here"
docker version >/dev/null 2>&1 || die "the Docker engine does not answer: is it running, and may you use it?"
command -v go >/dev/null || die "no go command here; the shop's services are built on the host"
./compose.sh version >/dev/null

./base.sh
arch=$(docker version -f '{{.Server.Arch}}')
for name in api catalog payments; do
    CGO_ENABLED=0 GOOS=linux GOARCH="$arch" go build -trimpath -ldflags='-s -w' -o "bin/$name/$name" "./$name"
done
mkdir -p bin/payments/ledger
say "building images"
./compose.sh build -q
./disk.sh up
./compose.sh up -d --no-build
say "waiting for health"
wait_healthy
say "ready at http://127.0.0.1:${SHOP_PORT:-8080}  (CATALOG_FALLBACK=${CATALOG_FALLBACK:-on} PAYMENTS_BUDGET=${PAYMENTS_BUDGET:-on} ORDER_INTENT=${ORDER_INTENT:-on})"
