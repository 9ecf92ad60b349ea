"""A model that does whatever the first feature says: 1 raises, 2 gives NaN, 3 hangs, 4 kills its process, 5 is slow."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np


class Mischief:
    """Otherwise it says yes with 75 %."""

    classes_ = np.array(["no", "yes"], dtype=object)

    def predict(self, frame: Any) -> Any:
        """Labels."""
        self._act(frame["months"].to_numpy(dtype=float))
        return np.array(["yes"] * len(frame), dtype=object)

    def predict_proba(self, frame: Any) -> Any:
        """Probabilities."""
        shares = np.tile([0.25, 0.75], (len(frame), 1))
        shares[frame["months"].to_numpy(dtype=float) == -2] = np.nan
        return shares

    def _act(self, wishes: Any) -> None:
        for wish in wishes:
            if wish == -1:
                raise RuntimeError("a secret: /etc/passwd")
            if wish == -3:
                time.sleep(600)
            if wish == -4:
                os.kill(os.getpid(), signal.SIGKILL)
            if wish == -5:
                time.sleep(0.4)
