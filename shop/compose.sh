#!/bin/sh
# The Compose that is here, v2 or v1, on the shop: shop/compose.sh ps
set -eu
cd "$(dirname "$0")"

if docker compose version >/dev/null 2>&1; then
    exec docker compose -p shop -f compose.yaml "$@"
elif command -v docker-compose >/dev/null; then
    # Else it runs the docker command to build, which warns about its old builder once an image.
    export COMPOSE_DOCKER_CLI_BUILD="${COMPOSE_DOCKER_CLI_BUILD:-0}"
    exec docker-compose -p shop -f compose.yaml "$@"
fi
echo "shop: neither 'docker compose' (v2) nor 'docker-compose' (v1.29) is here; install one of them" >&2
exit 1
