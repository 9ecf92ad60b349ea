"""alibi-detect's MMD of fixed samples: as a module the samples and what it gave, as a script what it gives.

It needs PyTorch (its build for CPUs is enough), which the engine does not, so it ran in an environment of its own:

    uv venv -p 3.11 /tmp/mmd && uv pip install -p /tmp/mmd alibi-detect==0.13.0 torch==2.13.0
    /tmp/mmd/bin/python tests/drift/mmd_values.py        # prints GIVEN

PyTorch is told to take double precision: by default the bandwidth that alibi-detect infers is rounded to single.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

PERMUTATIONS = 10_000


class Samples(NamedTuple):
    """reference: (n, d), batch: (m, d). sigma: the bandwidth, None where it is inferred."""

    name: str
    reference: np.ndarray
    batch: np.ndarray
    sigma: float | None = None


class Given(NamedTuple):
    """What alibi-detect gave; `total`: the sum of both samples, so that other numbers are noticed."""

    total: float
    sigma: float
    mmd2: float
    p: float


def samples() -> Iterator[Samples]:
    """Without drift, moved a little, unequal in size, of another spread, with ties; and a real table's classes."""
    draw = np.random.default_rng(20)
    yield Samples("equal", draw.normal(size=(60, 3)), draw.normal(size=(60, 3)))
    yield Samples("moved", draw.normal(size=(80, 5)), draw.normal(0.12, 1, (80, 5)))
    yield Samples("more rows now", draw.normal(size=(50, 2)), draw.normal(0.2, 1, (130, 2)))
    yield Samples("fewer rows now", draw.normal(size=(120, 2)), draw.normal(0.3, 1, (40, 2)))
    yield Samples("wider", draw.normal(size=(90, 2)), draw.normal(0, 1.4, (90, 2)))
    yield Samples("tied", draw.integers(0, 3, (70, 2)).astype(float), draw.integers(0, 4, (70, 2)).astype(float))
    yield Samples("narrow kernel", draw.normal(size=(60, 4)), draw.normal(0.2, 1, (75, 4)), 0.7)
    yield Samples("wide kernel", draw.normal(1e3, 5, (60, 4)), draw.normal(1001, 5, (75, 4)), 25.0)
    from sklearn.datasets import load_wine

    table, classes = load_wine(return_X_y=True)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    yield Samples("wine: two growers", table[classes == 0], table[classes == 1])
    yield Samples("wine: every other bottle", table[::2], table[1::2])


GIVEN: dict[str, Given] = {
    "equal": Given(total=-51.96480220850366, sigma=1.6691538841354396, mmd2=-0.004361909274615328, p=0.6234),
    "moved": Given(total=5.271543282792682, sigma=2.11643107335307, mmd2=-0.00738044085468359, p=0.9521),
    "more rows now": Given(total=25.9863426377209, sigma=1.1610064919488834, mmd2=0.011314279676178374, p=0.1116),
    "fewer rows now": Given(total=17.41019898746609, sigma=1.1109665409195888, mmd2=0.02048094965965741, p=0.0649),
    "wider": Given(total=-29.49356061813428, sigma=1.1872010689594727, mmd2=0.0157197296444872, p=0.0391),
    "tied": Given(total=365.0, sigma=1.0, mmd2=0.0706705237663342, p=0.0004),
    "narrow kernel": Given(total=10.452300331722647, sigma=0.7, mmd2=0.005588954212586983, p=0.0922),
    "wide kernel": Given(total=540389.2910496676, sigma=24.999999999999996, mmd2=-0.00013021545618352448, p=0.4278),
    "wine: two growers": Given(total=110.62393312366589, sigma=2.1287016485420405, mmd2=0.4106956567835204, p=0.0),
    "wine: every other bottle": Given(total=0.0, sigma=3.49044495317521, mmd2=-0.00425635106302058, p=0.7931),
}


def main() -> None:
    import torch
    from alibi_detect.cd import MMDDrift

    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    for each in samples():
        sigma = None if each.sigma is None else np.array([each.sigma])
        detector = MMDDrift(each.reference, backend="pytorch", sigma=sigma, n_permutations=PERMUTATIONS, device="cpu")
        found = detector.predict(each.batch)["data"]
        total = float(each.reference.sum() + each.batch.sum())
        given = Given(total, detector._detector.kernel.sigma.item(), found["distance"], round(found["p_val"], 6))
        print(f'    "{each.name}": {given},')


if __name__ == "__main__":
    main()
