"""Has the distribution of features or predictions moved? Pure: `profile_of(reference)`, then `check(profile, batch)`.

A `Profile` is what is kept of the reference (the hold-out, or production; never training rows): sorted values, counts
of categories and a sample of whole rows. A check sorts the batch alone. Every feature has a test of its own beside
one of its missing values; all p-values together are corrected by Benjamini and Hochberg; drift is what is significant
*and* large enough. Where there is too little to judge, the verdict is `inconclusive`, never `no_drift`.
"""

from engine.stats.drift.columns import Column
from engine.stats.drift.profile import Profile, profile_of
from engine.stats.drift.report import DriftReport, Finding, Settings
from engine.stats.drift.table import check

__all__ = ["Column", "DriftReport", "Finding", "Profile", "Settings", "check", "profile_of"]
