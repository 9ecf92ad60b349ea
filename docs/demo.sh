#!/bin/sh
# The main job on real data, as a person would type it: plan, apply, a gate that stops, a canary, and back.
# Usage: docs/demo.sh [FOLDER]; needs `engine` on the PATH. The folder is kept, to look around in.
set -eu
folder=${1:-$(mktemp -d)/churn}

say() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

say "A project with a spec and real data (churn of a telephone company's customers)"
run engine init "$folder"
cd "$folder"
run cat specs/customer_churn.yaml

say "What would happen, and why"
run engine plan

say "Make it so: train, evaluate, validate, register, deploy"
run engine apply --auto-approve

say "Again: nothing to do"
run engine plan

say "A stricter gate: the kept evaluation is judged again, and nothing is trained"
sed -i.bak 's/threshold: 0.75/threshold: 0.95/' specs/customer_churn.yaml
run engine plan
engine apply --auto-approve || printf 'exit code %s: the gate stopped it; version 1 stays\n' "$?"

say "The gate as it was, and another model: it goes live as a canary beside version 1"
sed -i.bak -e 's/threshold: 0.95/threshold: 0.75/' -e 's/min_samples_leaf: 5/min_samples_leaf: 3/' specs/customer_churn.yaml
rm -f specs/customer_churn.yaml.bak
run engine plan
run engine apply --auto-approve
run engine promote customer_churn

say "What came of it"
run engine status
run engine history
run engine show customer_churn
run engine audit verify
printf '\nThe project is in %s\n' "$folder"
