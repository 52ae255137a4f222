#!/bin/bash
# demo: each experiment against the shop as first built, where it must find its
# surprise, and after the fix that the surprise forced. Exits 0 only if every
# verdict is the one stated.
set -euo pipefail
cd "$(dirname "$0")/.."
runner=${RUNNER:-bin/runner}
rows=()
failed=0

# try EXPERIMENT WANT "WHAT IS UNDER TEST" SWITCH=VALUE …
try() {
	local name=$1 want=$2 what=$3 out code=0
	shift 3
	echo "── $name, $what: bringing the shop up ($*)"
	env "$@" shop/up.sh
	out=$(mktemp)
	"$runner" "experiments/$name.star" --project shop --expect "$want" | tee "$out" || code=$?
	local verdict evidence
	verdict=$(sed -n "s/^$name: //p" "$out" | tail -1 | cut -c1-72)
	evidence=$(sed -n 's/^  evidence: \([^,]*\).*/\1/p' "$out" | tail -1)
	rm -f "$out"
	[ "$code" = 0 ] || failed=1
	rows+=("$name|$what|$want|$([ "$code" = 0 ] && echo yes || echo "NO (exit $code)")|${verdict:-none}|${evidence:--}")
}

try exp1 broke "as first built" CATALOG_FALLBACK=off
try exp1 held "with the fallback" CATALOG_FALLBACK=on
try exp2 broke "as first built" PAYMENTS_BUDGET=off
try exp2 held "with the budget" PAYMENTS_BUDGET=on
try exp3 broke "as first built" ORDER_INTENT=off
try exp3 held "intent first" ORDER_INTENT=on

echo
printf '%s\n' "experiment|shop|want|as stated|verdict|evidence" "${rows[@]}" | column -t -s '|'
echo
echo "Each run's entry is in CHAOS_LOG.md; its journal, metrics and requests are in the folder named above."
exit $failed
