"""Observe one file and bring it into a content-addressed store: `snapshot.py FILE`.

The first is what planning does with data, the second what the snapshot step does, unless the content is there already.
"""

import sys
from pathlib import Path

from engine.adapters.artifacts.local import LocalArtifacts
from engine.adapters.sources.data import DataSources
from engine.adapters.sources.stat_cache import FileStatCache
from engine.core.records import Artifact

data = Path(sys.argv[1])
project = data.parent.parent
home = project / ".engine"
home.mkdir(exist_ok=True)
stats = FileStatCache(home / "cache.db")
sources, source = DataSources(stats), f"data/{data.name}"
before = sources.observe(source, project, stats)
store = LocalArtifacts(home / "artifacts")
known = Artifact(before or "", data.stat().st_size, data.name)
artifact = known if store.has(known) else sources.snapshot(source, project, store, before or "")
stats.flush()
assert store.has(artifact)
print(before, artifact.digest)
