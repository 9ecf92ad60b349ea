#!/bin/sh
# The main job on real data, as a person would type it: plan, apply, a gate that stops, and live
# traffic, under which one candidate is promoted and another one sent away.
# Usage: docs/demo.sh [FOLDER]; needs `engine` on the PATH. The folder is kept, to look around in.
set -eu
folder=${1:-$(mktemp -d)/churn}

say() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
dim= plain=
[ ! -t 1 ] || { dim=$(printf '\033[2m'); plain=$(printf '\033[0m'); }
run() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }

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

say "Serve what is live, and send it traffic: rows of the data, one by one, from four clients"
: >serve.log
engine serve --port 0 >>serve.log 2>&1 &
gateway=$!
trap 'kill $gateway $traffic 2>/dev/null || true' EXIT
traffic=
until grep -q "Serving at" serve.log && engine predict customer_churn --data data/telco_customer_churn.csv >predicted.txt 2>&1; do
  kill -0 "$gateway" || { cat serve.log; exit 1; }
  sleep 0.3
done
head -4 predicted.txt

say "The gate as it was, and another model, which goes live step by step while it proves itself"
sed -i.bak -e 's/threshold: 0.95/threshold: 0.75/' -e 's/min_samples_leaf: 5/min_samples_leaf: 3/' \
  -e 's/    initial_traffic: 10%/    steps: [10%, 50%, 100%]\n    step_duration: 2s\n    analysis: {min_requests: 100, max_error_rate: 4%}/' \
  specs/customer_churn.yaml
rm -f specs/customer_churn.yaml.bak
run engine plan
engine predict customer_churn --data data/telco_customer_churn.csv --for 40s >traffic.txt &
traffic=$!
run engine apply --auto-approve --wait
wait $traffic
run cat traffic.txt

say "A model that is as good on paper, but fails one request in twenty once it is live"
cat >fragile.py <<'PYTHON'
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline


class Fragile:
    """Stumbles over customers of some ages, unless it is asked for many at once, as in an evaluation."""

    def __init__(self, model):
        self.model, self.classes_ = model, model.classes_

    def predict(self, rows):
        self.stumble(rows)
        return self.model.predict(rows)

    def predict_proba(self, rows):
        self.stumble(rows)
        return self.model.predict_proba(rows)

    def stumble(self, rows):
        if len(rows) < 30 and (rows["tenure"] % 20 == 7).any():
            raise RuntimeError("it stumbled")


def train(X, y, seed):
    numbers = make_column_selector(dtype_include="number")
    prepare = make_column_transformer((SimpleImputer(), numbers))
    return Fragile(make_pipeline(prepare, RandomForestClassifier(200, min_samples_leaf=5, random_state=seed)).fit(X, y))
PYTHON
sed -i.bak -e 's/    estimator: sklearn.ensemble.RandomForestClassifier/    function: fragile:train/' \
  -e '/    params:/d' -e '/      n_estimators/d' -e '/      min_samples_leaf/d' specs/customer_churn.yaml
rm -f specs/customer_churn.yaml.bak
engine predict customer_churn --data data/telco_customer_churn.csv --for 40s >traffic.txt &
traffic=$!
engine apply --auto-approve --wait || printf 'exit code %s: it was sent away; version 2 stays\n' "$?"
wait $traffic
run cat traffic.txt

say "What came of it"
run engine status
run engine releases customer_churn
run engine history
run engine show customer_churn
run engine audit verify
printf '\nThe project is in %s\n' "$folder"
