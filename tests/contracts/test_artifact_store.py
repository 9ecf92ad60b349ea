"""Every artifact store keeps the contract; the local one in each of its ways to bring a file in."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters.artifacts import objects
from engine.adapters.artifacts.local import LocalArtifacts
from engine.testing.artifacts import ArtifactStoreContract


class TestCopying(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalArtifacts:
        return LocalArtifacts(tmp_path / ".engine/artifacts")


class TestLinking(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalArtifacts:
        monkeypatch.setattr(objects, "COPY_UP_TO", -1)
        return LocalArtifacts(tmp_path / ".engine/artifacts")


class TestAcrossFileSystems(ArtifactStoreContract):
    """Links do not reach a store on another file system."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalArtifacts:
        monkeypatch.setattr(objects, "COPY_UP_TO", -1)
        monkeypatch.setattr(objects, "linked", lambda path, target: False)
        return LocalArtifacts(tmp_path / ".engine/artifacts")
