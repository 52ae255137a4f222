#!/bin/sh
# Takes the shop down with all its data: containers, network, volumes, loop device. The images stay.
set -eu
cd "$(dirname "$0")"

./compose.sh down -v --remove-orphans
./disk.sh down
