"""The classifier two-sample test: can a model tell the batch from the reference? (Lopez-Paz and Oquab 2017, ICLR.)

Boosted trees learn on one half of both samples; on the other half, which they never saw, the ranks of their scores are
compared by Mann and Whitney's test, one-sided. It sees changes in how features hang together that no test of single
features can see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.stats.drift.numbers import Comparison

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

ROWS = 2_000  # of each sample
_TREES = 50


def classifier_test(reference: Floats, batch: Floats, seed: int) -> Comparison:
    """Have two samples the same distribution? (n, d), (m, d); NaN is allowed. Seeded.

    The statistic is the area under the ROC curve (0.5 without drift), the effect 2·AUC − 1.
    """
    import numpy as np
    from scipy.stats import mannwhitneyu
    from sklearn.ensemble import HistGradientBoostingClassifier

    generator = np.random.default_rng(seed)
    halves = []
    for rows in (reference, batch):
        order = generator.permutation(len(rows))
        halves.append((rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]))
    (learn, judge), (batch_learn, batch_judge) = halves
    model = HistGradientBoostingClassifier(max_iter=_TREES, max_depth=4, early_stopping=False, random_state=seed)
    model.fit(np.concatenate((learn, batch_learn)), np.repeat([0, 1], [len(learn), len(batch_learn)]))
    scores, batch_scores = (model.predict_proba(rows)[:, 1] for rows in (judge, batch_judge))
    ranked = mannwhitneyu(batch_scores, scores, alternative="greater", method="asymptotic")
    area = float(ranked.statistic) / (len(scores) * len(batch_scores))
    return Comparison(area, max(0.0, 2 * area - 1), min(1.0, float(ranked.pvalue)))
