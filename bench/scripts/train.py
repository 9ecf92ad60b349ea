"""A plain script that trains a model: read, split, scale, fit, score. `train.py TABLE`.

It does what a spec of `bench.apply` asks of engine, and nothing else; prints the seconds of fitting.
"""

import sys
import time

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

table = pd.read_csv(sys.argv[1])
features, target = table.drop(columns="target"), table["target"]
X, X_test, y, y_test = train_test_split(features, target, test_size=0.2, stratify=target, random_state=7)
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
begin = time.perf_counter()
model.fit(X, y)
print(time.perf_counter() - begin)
print(f1_score(y_test, model.predict(X_test)))
