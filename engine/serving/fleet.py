"""The releases that are loaded, and the routes that are in effect: what is wanted, as far as it is ready.

A new stable release takes over when it is ready; until then the one before it serves, and after a flip it may be kept
warm for a time. A candidate gets traffic while it is ready, never more than was approved. What is not wanted any more
finishes its work and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from engine.clock import Clock, system_clock
from engine.core.canonical import utc
from engine.errors import EngineError
from engine.serving.children import Template
from engine.serving.counting import Keys, Part, Slot, Totals
from engine.serving.desired import Desired, ReleaseRef, Truth, Wanted
from engine.serving.pool import FAILED, LOADING, READY, Pool
from engine.serving.routing import Route
from engine.serving.settings import Settings

_RETRY_SECONDS = 5.0  # after files could not be had
_COUNT_SECONDS = 30.0  # a slot that left a route may still count requests that began before


class Fleet:
    """Follows what is wanted. `on_change` is called after a route or the state of a release changed."""

    def __init__(
        self,
        truth: Truth,
        template: Template,
        settings: Settings,
        on_change: Callable[[], None],
        clock: Clock = system_clock,
    ) -> None:
        self._means = _Means(truth, template, settings, self._changed, clock)
        self._on_change = on_change
        self._lineage = ""
        self.models: dict[str, ModelFleet] = {}
        self.routes: Mapping[str, Route] = {}

    def follow(self, desired: Desired) -> list[str]:
        """Begin to make it so; returns the models whose generation is older than what is known, which stay."""
        if desired.lineage != self._lineage:
            self._lineage = desired.lineage
            for model in self.models.values():
                model.forget_generation()
        refused = []
        for name, wanted in desired.endpoints.items():
            model = self.models.setdefault(name, ModelFleet(name, self._means))
            if not model.follow(wanted):
                refused.append(name)
        for name in self.models.keys() - desired.endpoints.keys():
            self.models.pop(name).close()
            self._changed()
        return refused

    def slots(self) -> list[Slot]:
        """All that may have counted something."""
        return [slot for model in self.models.values() for slot in model.slots()]

    @property
    def busy(self) -> bool:
        """Whether any request is under way."""
        return any(model.busy for model in self.models.values())

    @property
    def settled(self) -> bool:
        """Whether every model can answer, and every release that is wanted is ready or has failed."""
        return all(model.settled for model in self.models.values())

    def close(self) -> None:
        """End all model processes."""
        for model in self.models.values():
            model.close()

    def _changed(self) -> None:
        self.routes = {name: model.route for name, model in self.models.items() if model.route is not None}
        self._on_change()


class _Means:
    """What the parts of a fleet share."""

    def __init__(
        self, truth: Truth, template: Template, settings: Settings, on_change: Callable[[], None], clock: Clock
    ) -> None:
        self.truth, self.template, self.settings, self.on_change = truth, template, settings, on_change
        self.clock = clock


class Loaded:
    """A release on its way into a pool of processes, in one, or on its way out."""

    def __init__(self, ref: ReleaseRef, means: _Means, on_change: Callable[[], None]) -> None:
        self.ref = ref
        self.pool: Pool | None = None
        self._means = means
        self._on_change = on_change
        self._said = ("", "")
        self._reason = ""
        self.since = utc(self._means.clock())
        self._task = asyncio.get_running_loop().create_task(self._load())

    @property
    def state(self) -> str:
        """loading, ready, failed or draining."""
        if self.pool is None:
            return FAILED if self._reason else LOADING
        return self.pool.state

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return self._reason if self.pool is None else self.pool.reason

    def to_json(self) -> dict[str, str]:
        """As the status says it."""
        golden = self.pool.golden if self.pool is not None else "none"
        return {"state": self.state, "reason": self.reason, "since": self.since, "golden": golden}

    def drain(self) -> None:
        """Finish and go."""
        self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._leave())

    def close(self) -> None:
        """Go now."""
        self._task.cancel()
        if self.pool is not None:
            self.pool.close()

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        while self.pool is None:
            try:
                files = await loop.run_in_executor(None, self._means.truth.files, self.ref)
            except (EngineError, OSError) as error:
                self._reason = str(error)
                self._changed()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self.pool = Pool(files, self._means.template, self._means.settings, self._changed)
                self._changed()

    async def _leave(self) -> None:
        if self.pool is None:
            return
        self.pool.drain()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._means.settings.drain_seconds
        await asyncio.sleep(_RETRY_SECONDS / 50)  # requests that were routed a moment ago
        while self.pool.busy and loop.time() < end:
            await asyncio.sleep(0.02)
        self.pool.close()
        self._on_change()

    def _changed(self) -> None:
        said = (self.state, self.reason)
        if said != self._said:
            self._said = said
            self.since = utc(self._means.clock())
            self._on_change()


class ModelFleet:
    """The releases of one model."""

    def __init__(self, name: str, means: _Means) -> None:
        self._name = name
        self._means = means
        self._wanted: Wanted | None = None
        self._loaded: dict[int, Loaded] = {}
        self._leaving: list[Loaded] = []
        self._serving: int | None = None  # the stable release in effect
        self._keys = Keys()  # of the requests that are answered
        self._copied = Keys()  # of the copies
        self._totals: dict[tuple[int, str], Totals] = {}
        self._retired: list[tuple[float, Slot]] = []
        self.route: Route | None = None

    def follow(self, wanted: Wanted) -> bool:
        """Begin to make it so; False if it is older than what is known."""
        if wanted == self._wanted:
            if self._loaded.keys() - self._needed(wanted):  # a release was kept warm long enough
                self._renew()
            return True
        if self._wanted is not None and wanted.generation < self._wanted.generation:
            return False
        if not _goes_on(self._wanted, wanted):
            self._keys, self._copied = Keys(), Keys()
        self._wanted = wanted
        for ref in (wanted.stable, wanted.candidate, self._warm(wanted)):
            if ref is not None and ref.version not in self._loaded:
                self._loaded[ref.version] = Loaded(ref, self._means, self._renew)
        self._renew()
        return True

    def _warm(self, wanted: Wanted) -> ReleaseRef | None:
        """The release that stays loaded for a rollback, as long as it does."""
        return wanted.warm if utc(self._means.clock()) < wanted.warm_until else None

    def _needed(self, wanted: Wanted) -> set[int | None]:
        kept = (wanted.stable, wanted.candidate, self._warm(wanted))
        return {self._serving, *(ref.version for ref in kept if ref is not None)}

    def forget_generation(self) -> None:
        """Another state is followed now."""
        self._wanted = None

    @property
    def busy(self) -> bool:
        """Whether any request is under way."""
        return any(loaded.pool.busy for loaded in self._all() if loaded.pool is not None)

    @property
    def settled(self) -> bool:
        """Whether it can answer, and no release that is wanted is still loading."""
        return self.route is not None and all(loaded.state != LOADING for loaded in self._loaded.values())

    @property
    def totals(self) -> Mapping[tuple[int, str], Totals]:
        """By version and role."""
        return self._totals

    @property
    def releases(self) -> Mapping[int, Loaded]:
        """By version, without those that are leaving."""
        return self._loaded

    def slots(self) -> list[Slot]:
        """Those in the route, and those that left it a short time ago."""
        now = asyncio.get_running_loop().time()
        self._retired = [(since, slot) for since, slot in self._retired if now - since < _COUNT_SECONDS]
        return [*_slots(self.route), *(slot for _, slot in self._retired)]

    def to_json(self) -> dict[str, Any]:
        """As the status says it."""
        route, wanted = self.route, self._wanted
        effective = (
            None
            if route is None
            else {
                "stable": route.stable.version,
                "candidate": route.candidate.version if route.candidate else None,
                "weight": route.weight,
                "mirror": route.mirror,
            }
        )
        releases = {str(loaded.ref.version): loaded.to_json() for loaded in self._all()}
        return {"generation": wanted.generation if wanted else 0, "effective": effective, "releases": releases}

    def close(self) -> None:
        """End all processes."""
        for loaded in self._all():
            loaded.close()

    def _all(self) -> list[Loaded]:
        return [*self._leaving, *self._loaded.values()]

    def _renew(self) -> None:
        """Bring the route up to what is wanted and ready."""
        wanted = self._wanted
        if wanted is None:
            return
        stable = self._loaded[wanted.stable.version]
        if stable.state == READY:
            self._serving = wanted.stable.version
        candidate = wanted.candidate
        self._retire(wanted)
        self._set_route(wanted, candidate)
        self._means.on_change()

    def _retire(self, wanted: Wanted) -> None:
        self._leaving = [loaded for loaded in self._leaving if loaded.pool is not None and not loaded.pool.closed]
        for version in self._loaded.keys() - self._needed(wanted):
            loaded = self._loaded.pop(version)
            self._leaving.append(loaded)
            loaded.drain()

    def _set_route(self, wanted: Wanted, candidate: ReleaseRef | None) -> None:
        serving = self._loaded.get(self._serving) if self._serving is not None else None
        if serving is None or serving.pool is None:
            return  # nothing was ready yet
        ready = candidate is not None and self._serving == wanted.stable.version
        taking = self._loaded[candidate.version] if ready and candidate is not None else None
        if taking is not None and (taking.pool is None or taking.state != READY):
            taking = None
        weight, mirror = (wanted.weight, wanted.mirror) if taking is not None else (0.0, 0.0)

        def slot(loaded: Loaded, role: str) -> Slot:
            assert loaded.pool is not None
            version = loaded.ref.version
            totals = self._totals.setdefault((version, role), Totals())
            part = Part(self._name, wanted.generation, version, role, weight)
            return Slot(part, loaded.pool, totals, self._copied if role == "shadow" else self._keys)

        old = self.route
        key = (
            wanted.generation,
            serving.ref.version,
            serving.pool,
            taking.pool if taking is not None and weight > 0 else None,
            weight,
            taking.pool if taking is not None and mirror > 0 else None,
            mirror,
        )
        if old is not None and key == _key_of(old) and set(old.forced) == self._usable():
            return
        stable = slot(serving, "stable")
        second = slot(taking, "candidate") if taking is not None and weight > 0 else None
        shadow = slot(taking, "shadow") if taking is not None and mirror > 0 else None
        forced = {each.version: each for each in (shadow, second, stable) if each is not None}
        for version in self._usable() - set(forced):
            forced[version] = slot(self._loaded[version], "idle")
        self.route = Route(
            self._name, wanted.generation, stable, second, weight, shadow, mirror, forced, serving.ref.id_column
        )
        if old is not None:
            now = asyncio.get_running_loop().time()
            self._retired += [(now, each) for each in _slots(old)]

    def _usable(self) -> set[int]:
        found = {
            version for version, loaded in self._loaded.items() if loaded.pool is not None and loaded.state == READY
        }
        return found | ({self._serving} if self._serving is not None else set())


def _goes_on(before: Wanted | None, wanted: Wanted) -> bool:
    """Whether it is the same rollout: its weight only grows, and a candidate that is tried again begins anew."""
    one, other = before.candidate if before is not None else None, wanted.candidate
    if before is None or one is None or other is None or one.version != other.version:
        return False
    return before.generation == wanted.generation or (before.weight, before.mirror) < (wanted.weight, wanted.mirror)


def _slots(route: Route | None) -> list[Slot]:
    if route is None:
        return []
    return [slot for slot in (route.stable, route.candidate, route.shadow) if slot is not None]


def _key_of(route: Route) -> tuple[Any, ...]:
    return (
        route.generation,
        route.stable.version,
        route.stable.pool,
        route.candidate.pool if route.candidate else None,
        route.weight,
        route.shadow.pool if route.shadow else None,
        route.mirror,
    )
