"""The page docs/spec.md: prose written by hand, and tables written from the models, each between its two markers.

`<!-- table: NAME -->` … `<!-- end -->`. `render` fills every table, and fails for a block that the page leaves out,
so that no field goes undescribed. Kinds come from above.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel

from engine.spec import contract, models, monitoring, policies
from engine.spec.binding import GroupOptions
from engine.spec.descriptions import describe
from engine.spec.diagnostics import blocks_in
from engine.spec.fields import TriggerBlock
from engine.spec.guardrails import CustomGuardrail
from engine.spec.kinds import Kinds
from engine.spec.load import load_spec
from engine.spec.metrics import METRICS
from engine.spec.notation import default_text, type_text
from engine.spec.project import STORES, Project
from engine.spec.rules import FUNCTIONS
from engine.spec.schema import project_schema
from engine.spec.wiring import BUILT_IN_OUTPUTS

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "model_spec": models.ModelSpec,
    "data": models.Data,
    "query": models.SqlSource,
    "split": models.Split,
    "expect": contract.Contract,
    "steps": models.UserStep,
    "resources": models.Resources,
    "training": models.Training,
    "tuning": models.Tuning,
    "monitoring": models.Monitoring,
    "monitoring.metrics": monitoring.MetricWatch,
    "monitoring.kpis": monitoring.Kpi,
    "guardrail": CustomGuardrail,
    "trigger group": GroupOptions,
    "every trigger": TriggerBlock,
    "policies": policies.PolicyBlock,
}
_LINKS: Mapping[type[BaseModel], str] = {
    models.Data: "[mapping](#data)",
    models.Split: "[mapping](#datasplit)",
    contract.Contract: "[mapping](#dataexpect)",
    models.Resources: "[mapping](#resources)",
    models.UserStep: "list of [steps](#steps)",
    models.Training: "[mapping](#training)",
    models.Tuning: "[mapping](#trainingtuning)",
    models.Monitoring: "[mapping](#monitoring)",
    monitoring.MetricWatch: "list of [metrics](#monitoringmetrics)",
    monitoring.Kpi: "list of [figures](#monitoringkpis)",
}
_BY_KIND: Mapping[str, str] = {
    "retrain_trigger": "[trigger](#retrain_trigger), list or group",
    "validation": "[gate](#validation) or list",
    "deployment": "[strategy](#deployment)",
}
_TABLE = re.compile(r"(<!-- table: ([a-z_. ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = ["| field | type | default | |", "|---|---|---|---|"]
_LATER = "*Not supported yet.*"


def render(page: str, kinds: Kinds) -> str:
    """The page with every table as the models say. Raises ValueError for a table too few or too many."""
    tables = _tables(kinds)
    named = [match[2] for match in _TABLE.finditer(page)]
    if sorted(named) != sorted(tables):
        raise ValueError(f"the page's tables are {sorted(named)}, not {sorted(tables)}")
    return _TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", page)


def _tables(kinds: Kinds) -> dict[str, str]:
    common = _common([*kinds.gates.values()])
    return {
        **{name: _section(model) for name, model in _SECTIONS.items()},
        "triggers": _kinds(kinds.triggers, "type: {}", set(TriggerBlock.model_fields)),
        "every gate": _table(_rows(next(iter(kinds.gates.values())), only=common)),
        "gates": _kinds(kinds.gates, "{}", common),
        "strategies": _kinds(kinds.strategies, "strategy: {}", set()),
        "metrics": _metrics(),
        "outputs": _outputs(),
        "project": _project(kinds),
        "facts": "\n".join(
            ["| | |", "|---|---|", *(f"| `{name}` | {about} |" for name, about in policies.ABOUT.items())]
        ),
        "functions": "\n".join(
            ["| | |", "|---|---|", *(f"| `{name}` | {about} |" for name, about in FUNCTIONS.items())]
        ),
        "stores": "\n".join(
            ["| store | |", "|---|---|", *(f"| `{name}` | {about} |" for name, about in STORES.items())]
        ),
        "resolved": _resolved(kinds),
    }


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────


def _section(model: type[BaseModel]) -> str:
    return _table(_rows(model))


def _table(rows: Iterator[str]) -> str:
    return "\n".join([*_HEAD, *rows])


def _rows(
    model: type[BaseModel], prefix: str = "", *, only: set[str] | None = None, leave: set[str] | None = None
) -> Iterator[str]:
    """A row for each field, and for each field of the blocks in it that have no section of their own."""
    about = describe(model)
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        if (only is not None and name not in only) or name in (leave or ()):
            continue
        key = prefix + (field.alias or name)
        text = " ".join(about.get(name, "").split()).replace("<", "\\<")  # Markdown would take it for HTML
        if name in getattr(model, "not_yet", ()):
            text = f"{text} {_LATER}"
        blocks = [block for block in blocks_in(hints[name]) if block[0] is not models.SqlSource]  # mostly text
        own = [block for block in blocks if block[0] is not CustomGuardrail]  # named beside built-in ones, told apart
        linked = next((_LINKS[block] for block, _ in blocks if block in _LINKS), None)
        words = linked or (_BY_KIND.get(name) if model is models.ModelSpec else None)
        words = words or type_text(hints[name])
        yield _row(f"`{key}`", words, default_text(hints[name], field), text)
        for inner, listed in () if linked else own:
            yield from _rows(inner, f"{key}{_step_into(words, listed)}.")


def _step_into(words: str, listed: bool) -> str:
    return "[]" if listed else ".<column>" if words.startswith("mapping,") else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────────────────


def _common(blocks: list[Any]) -> set[str]:
    """The fields that every one of these blocks has and that come from the same base."""
    return set.intersection(*({n for base in block.__mro__[1:] for n in _fields(base)} for block in blocks))


def _fields(base: Any) -> set[str]:
    return set(getattr(base, "model_fields", ()))


def _kinds(table: Mapping[str, Any], heading: str, common: set[str]) -> str:
    return "\n\n".join(_kind(heading.format(name), block, common) for name, block in table.items())


def _kind(heading: str, block: Any, common: set[str]) -> str:
    doc = cleandoc(sys.modules[block.__module__].__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    later = "" if block.supported else f" {_LATER}"
    parts = [f"#### `{heading}`", f"{doc}{later}", _table(_rows(block, leave=common))]
    return "\n\n".join(parts)


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────


def _metrics() -> str:
    rows = ["| metric | | better | range | tasks | `average` | other spellings |", "|---|---|---|---|---|---|---|"]
    for metric in METRICS.values():
        title = metric.title + (", from probabilities" if metric.needs == "probabilities" else "")
        tasks = "regression" if metric.tasks == ("regression",) else "classification"
        names = (", ".join(f"`{name}`" for name in group) for group in (metric.averages, metric.aliases))
        rows.append(_row(f"`{metric.name}`", title, metric.better, metric.range_text, tasks, *names))
    return "\n".join(rows)


def _named(title: str, about: Mapping[str, str]) -> str:
    head = f"| {title} | |" if title else "| | |"
    return "\n".join([head, "|---|---|", *(f"| `{name}` | {text} |" for name, text in about.items())])


def _outputs() -> str:
    rows = (
        f"| `{step}` | {', '.join(f'`{step}.{output}`' for output in outputs)} |"
        for step, outputs in BUILT_IN_OUTPUTS.items()
        if outputs
    )
    return "\n".join(["| step | outputs |", "|---|---|", *rows])


def _project(kinds: Kinds) -> str:
    schema = project_schema(kinds)
    environments = schema["properties"]["environments"]["additionalProperties"]["properties"]
    rows = [
        *((name, about) for name, about in schema["properties"].items()),
        *((f"environments.<name>.{name}", about) for name, about in environments.items()),
    ]
    texts = (_row(f"`{name}`", _about(about, schema["definitions"])) for name, about in rows)
    return "\n".join(["| key | |", "|---|---|", *texts])


def _about(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    described = field if "description" in field else definitions[field["$ref"].rpartition("/")[2]]
    return str(described["description"])


def _resolved(kinds: Kinds) -> str:
    """What a spec with nothing but a name means."""
    spec = b"model_spec: {name: customer_churn_v3}"
    loaded = load_spec(spec, "spec.yaml", project=Project(), kinds=kinds, exists=lambda _: False)
    text = yaml.safe_dump(loaded.document, sort_keys=False, default_flow_style=None, width=100)
    return f"```yaml\n{text}```"
