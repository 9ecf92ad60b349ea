"""One drift check by one library, in the environment that has it: prints its seconds, and what it took of memory.

    python drift.py KIND DATA    # engine, alibi, scipy, evidently or nannyml; a folder of reference.npz and batch.npz

Reading the data, importing and fitting to the reference are not part of the time. Memory is the peak of the process
during the check beyond what it held before, so that the libraries' own code does not count; the data are counted apart.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, Any]
NUMBERS = "n"  # names of numeric columns begin with it


def read(path: Path) -> Columns:
    with np.load(path, allow_pickle=True) as found:
        return {name: found[name] for name in found.files}


def engine(reference: Columns, batch: Columns) -> Callable[[], int]:
    from engine.stats.drift import Column, Profile, check, profile_of

    def columns(table: Columns) -> list[Column]:
        return [Column(n, "numeric" if n.startswith(NUMBERS) else "categorical", v) for n, v in table.items()]

    profile = Profile.from_bytes(profile_of(columns(reference)).to_bytes())
    now = columns(batch)
    check(profile, [Column(c.name, c.kind, c.values[:600]) for c in now])  # SciPy is imported
    return lambda: len(check(profile, now).findings)


def alibi(reference: Columns, batch: Columns) -> Callable[[], int]:
    from alibi_detect.cd import KSDrift, TabularDrift

    if all(name.startswith(NUMBERS) for name in reference):
        detector = KSDrift(np.column_stack(list(reference.values())), p_val=0.01)
        now = np.column_stack(list(batch.values()))
    else:
        coded = [(np.unique(np.asarray(reference[n], dtype=str), return_inverse=True)) for n in reference]
        places = {i: None for i, n in enumerate(reference) if not n.startswith(NUMBERS)}
        table = [v if n.startswith(NUMBERS) else c[1] for (n, v), c in zip(reference.items(), coded, strict=True)]
        detector = TabularDrift(np.column_stack(table), p_val=0.01, categories_per_feature=places)
        now = np.column_stack(
            [
                batch[n] if n.startswith(NUMBERS) else np.searchsorted(c[0], np.asarray(batch[n], dtype=str))
                for n, c in zip(reference, coded, strict=True)
            ]
        )
    return lambda: len(detector.predict(now, drift_type="feature")["data"]["p_val"])


def scipy(reference: Columns, batch: Columns) -> Callable[[], int]:
    from scipy.stats import chi2_contingency, ks_2samp

    def test(name: str) -> float:
        if name.startswith(NUMBERS):
            return float(ks_2samp(reference[name], batch[name], method="asymp").pvalue)
        names, codes = np.unique(np.concatenate((reference[name], batch[name])).astype(str), return_inverse=True)
        sides = np.repeat([0, 1], [len(reference[name]), len(batch[name])])
        table = np.zeros((2, len(names)))
        np.add.at(table, (sides, codes), 1)
        return float(chi2_contingency(table, correction=False).pvalue)

    return lambda: len([test(name) for name in reference])


def evidently(reference: Columns, batch: Columns) -> Callable[[], int]:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [name for name in reference if name.startswith(NUMBERS)]
    other = [name for name in reference if name not in numbers]
    how = DataDefinition(numerical_columns=numbers, categorical_columns=other)
    before, now = (Dataset.from_pandas(pd.DataFrame(t), data_definition=how) for t in (reference, batch))
    report = Report([DataDriftPreset(num_method="ks", cat_method="chisquare")])
    return lambda: len(report.run(now, before).dict()["metrics"])


def nannyml(reference: Columns, batch: Columns) -> Callable[[], int]:
    import nannyml as nml
    import pandas as pd

    calculator = nml.UnivariateDriftCalculator(
        column_names=list(reference),
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=1,
    )
    calculator.fit(pd.DataFrame(reference))
    now = pd.DataFrame(batch)
    return lambda: len(calculator.calculate(now).to_df())


class Peak(threading.Thread):
    """The most resident memory while it runs, by looking every millisecond; MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = resident(), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            self.most = max(self.most, resident())


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def main(kind: str, folder: str, rounds: int = 3) -> None:
    reference, batch = (read(Path(folder, f"{name}.npz")) for name in ("reference", "batch"))
    check = globals()[kind](reference, batch)
    if kind == "engine":
        del reference  # its profile is enough
    before, seconds, cpu = resident(), [], []
    peak = Peak()
    peak.start()
    for _ in range(rounds):
        start, busy = time.perf_counter(), time.process_time()
        check()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    peak.over.set()
    peak.join()
    found = {"seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu)}
    print(json.dumps({**found, "extra_mib": peak.most - before}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
