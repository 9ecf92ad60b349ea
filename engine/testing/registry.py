"""A model registry in memory, and the contract that it and every other registry keeps, as tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from engine.errors import UsageError
from engine.ports import ModelRegistry, Registered, RegisterRequest


class RequestFor(Protocol):
    """Makes a request for this model with this key."""

    def __call__(self, model: str, key: str) -> RegisterRequest: ...


class InMemoryRegistry:
    """Versions count from 1 in each model and are never reused. `requests` are those that made a version."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], RegisterRequest] = {}
        self._versions: dict[str, dict[int, tuple[str, Registered]]] = {}
        self._made: dict[str, int] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._lock = threading.RLock()

    def find(self, model: str, key: str) -> Registered | None:
        """The version of `model` that was registered with `key`."""
        with self._lock:
            versions = self._versions.get(model, {})
            return next((made for _, (known, made) in sorted(versions.items()) if known == key), None)

    def register(self, request: RegisterRequest) -> Registered:
        """Make a version, or give the one that `request.key` has made before."""
        with self._lock:
            found = self.find(request.model, request.key)
            if found is not None:
                return found
            version = self._made[request.model] = self._made.get(request.model, 0) + 1
            made = Registered(version, f"run-{request.model}-{version}", f"models:/{request.model}/{version}")
            self._versions.setdefault(request.model, {})[version] = (request.key, made)
            self.requests[request.model, version] = request
            return made

    def set_aliases(self, model: str, aliases: Mapping[str, int | None]) -> None:
        """Point each alias at a version; None removes it. Raises UsageError for a version that is not there."""
        with self._lock:
            for version in aliases.values():
                if version is not None and version not in self._versions.get(model, {}):
                    raise UsageError(f"the registry has no version {version} of {model}")
            known = self._aliases.setdefault(model, {})
            for alias, version in aliases.items():
                if version is None:
                    known.pop(alias, None)
                else:
                    known[alias] = version

    def aliases(self, model: str) -> Mapping[str, int]:
        """Every alias of `model` and its version."""
        with self._lock:
            return dict(sorted(self._aliases.get(model, {}).items()))

    def delete_version(self, model: str, version: int) -> None:
        """What a person may do in a registry behind the engine's back."""
        with self._lock:
            del self._versions[model][version]
            known = self._aliases.get(model, {})
            self._aliases[model] = {alias: v for alias, v in known.items() if v != version}


class ModelRegistryContract:
    """What every ModelRegistry does. For pytest: subclass it, with three fixtures.

    `registry` is the registry, `model` a name that it does not know yet, and `request_for(model, key)` makes a
    RegisterRequest that it can carry out.
    """

    def test_knows_nothing_at_first(self, registry: ModelRegistry, model: str) -> None:
        assert registry.find(model, "key-1") is None
        assert registry.aliases(model) == {}

    def test_registers_and_finds(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        made = registry.register(request_for(model, "key-1"))
        assert made.version == 1
        assert made.run_id
        assert made.uri == f"models:/{model}/1"
        assert registry.find(model, "key-1") == made
        assert registry.find(model, "key-2") is None
        assert registry.find(f"{model}_2", "key-1") is None

    def test_same_key_same_version(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        made = registry.register(request_for(model, "key-1"))
        assert registry.register(request_for(model, "key-1")) == made

    def test_other_key_other_version(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        first, second = (registry.register(request_for(model, key)) for key in ("key-1", "key-2"))
        assert (first.version, second.version) == (1, 2)
        assert first.run_id != second.run_id
        assert registry.find(model, "key-1") == first

    def test_models_are_apart(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        registry.register(request_for(model, "key-1"))
        assert registry.register(request_for(f"{model}_2", "key-1")).version == 1

    def test_aliases_are_set_moved_and_removed(
        self, registry: ModelRegistry, model: str, request_for: RequestFor
    ) -> None:
        for key in ("key-1", "key-2"):
            registry.register(request_for(model, key))
        registry.set_aliases(model, {"champion": 1, "challenger": 2})
        assert registry.aliases(model) == {"champion": 1, "challenger": 2}
        registry.set_aliases(model, {"champion": 2, "challenger": None})
        assert registry.aliases(model) == {"champion": 2}
        registry.set_aliases(model, {"champion": 2, "challenger": None})
        assert registry.aliases(model) == {"champion": 2}

    def test_alias_of_a_missing_version(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        registry.register(request_for(model, "key-1"))
        for name, version in ((model, 7), (f"{model}_2", 1)):
            try:
                registry.set_aliases(name, {"champion": version})
            except UsageError as error:
                assert str(version) in error.message
            else:
                raise AssertionError("an alias was set to a version that is not there")

    def test_two_keys_at_once(self, registry: ModelRegistry, model: str, request_for: RequestFor) -> None:
        requests = [request_for(model, "key-1"), request_for(model, "key-2")]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(registry.register, requests))
        assert sorted(m.version for m in made) == [1, 2]
        assert [registry.find(model, r.key) for r in requests] == made
