"""The model card of a release: what it is for, what it was made of, what it showed, where its limits are.

The sections follow "Model Cards for Model Reporting" (Mitchell et al. 2019, arXiv 1810.03993). `card_of` puts them
together from the resolved spec and the reports of the steps; `markdown` and `html` write them. HTML needs nothing else:
pictures lie in it. Every text from outside is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from engine.steps.snapshot import source_text

MOST_COLUMNS = 60  # of the data that are listed
FEW_ROWS = 500  # of the hold-out; below, intervals are wide and slices say little
FAIRNESS = "fairness"


@dataclass(frozen=True)
class Subject:
    """What a card is about. `version` is None before it is registered; `history` are rows of the releases before."""

    document: Mapping[str, Any]
    reports: Mapping[str, Any]  # evaluation, training, profile, schema
    verdict: Mapping[str, Any] | None
    version: int | None = None
    run_id: str = ""
    created_at: str = ""
    commit: str = ""
    clean: bool | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history: Sequence[tuple[str, str, str]] = ()  # release, created, headline
    approvals: Sequence[tuple[str, str, str, str]] = ()  # at, by, said, why
    figures: Mapping[str, bytes] = field(default_factory=dict)  # file name → PNG


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Rows:
    """A table."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A picture of the tracking run's folder `figures`."""

    name: str
    png: bytes


Block: TypeAlias = "Text | Rows | Items | Figure"


@dataclass(frozen=True)
class Card:
    """A title and sections of blocks."""

    title: str
    sections: Sequence[tuple[str, Sequence[Block]]]


def card_of(subject: Subject) -> Card:
    """Put a card together; sections without anything to say are left out, limits never."""
    name = str(subject.document.get("name"))
    title = f"{name}@{subject.version}" if subject.version is not None else name
    sections = [
        ("Model", _model(subject)),
        ("Data", _data(subject)),
        ("Training", _training(subject)),
        ("Metrics", _metrics(subject)),
        ("Slices", _slices(subject)),
        ("Fairness", _fairness(subject)),
        ("Verdict", _verdict(subject)),
        ("Approvals", _approvals(subject)),
        ("Drift reference", _reference(subject)),
        ("Limits", _limits(subject)),
        ("History", _history(subject)),
    ]
    return Card(title, [(head, blocks) for head, found in sections if (blocks := list(found))])


# ── sections ─────────────────────────────────────────────────────────────────────────────────────────────────


def _model(subject: Subject) -> Iterator[Block]:
    document = subject.document
    if document.get("description"):
        yield Text(str(document["description"]))
    commit = subject.commit[:12] + ("" if subject.clean else ", with local changes") if subject.commit else ""
    rows = [
        ("owner", str(document.get("owner") or "")),
        ("made", subject.created_at),
        ("run", subject.run_id),
        ("commit", commit),
        *((f"label {name}", str(value)) for name, value in (document.get("labels") or {}).items()),
        *((role, digest) for role, digest in sorted(subject.digests.items()) if role in ("model", "data", "holdout")),
    ]
    yield Rows(("", ""), [(name, text) for name, text in rows if text])


def _data(subject: Subject) -> Iterator[Block]:
    block: Mapping[str, Any] = subject.document.get("data") or {}
    evaluation = subject.reports.get("evaluation") or {}
    profile: Mapping[str, Any] = subject.reports.get("profile") or {}
    rows: Mapping[str, Any] = evaluation.get("rows") or {}
    told = [
        ("source", source_text(block.get("source"))),
        ("rows", _count(profile.get("rows"))),
        ("to train", _count(rows.get("train"))),
        ("held out", _count(rows.get("holdout"))),
        ("target", str(block.get("target") or "")),
        ("positive class", str(evaluation.get("positive") or "")),
        ("never features", ", ".join([*([block["id"]] if block.get("id") else []), *(block.get("ignore") or ())])),
    ]
    yield Rows(("", ""), [(name, text) for name, text in told if text])
    columns: Mapping[str, Mapping[str, Any]] = profile.get("columns") or {}
    if columns:
        listed = list(columns.items())[:MOST_COLUMNS]
        yield Rows(
            ("column", "kind", "missing", "values"),
            [(name, str(c.get("kind")), f"{c.get('missing') or 0:.1%}", _values(c)) for name, c in listed],
        )
        if len(columns) > MOST_COLUMNS:
            yield Text(f"and {len(columns) - MOST_COLUMNS:,} more columns")


def _training(subject: Subject) -> Iterator[Block]:
    training: Mapping[str, Any] = subject.reports.get("training") or {}
    if not training:
        return
    tuning: Mapping[str, Any] = training.get("tuning") or {}
    told = [
        ("estimator", str(training.get("estimator") or "")),
        ("task", str(training.get("task") or "")),
        ("seed", str(training.get("seed", ""))),
        ("search", f"{len(tuning.get('trials') or ())} trials for {tuning.get('metric')}" if tuning else ""),
        *((name, str(value)) for name, value in (training.get("params") or {}).items()),
    ]
    yield Rows(("", ""), [(name, text) for name, text in told if text])


def _metrics(subject: Subject) -> Iterator[Block]:
    evaluation: Mapping[str, Any] = subject.reports.get("evaluation") or {}
    baseline: Mapping[str, Any] = evaluation.get("baseline") or {}
    metrics: Mapping[str, Mapping[str, Any]] = evaluation.get("metrics") or {}
    if evaluation.get("error"):
        yield Text(f"The model could not be measured: {evaluation['error']}.")
    if metrics:
        confidence = evaluation.get("confidence")
        held = _count((evaluation.get("rows") or {}).get("holdout"))
        yield Text(
            f"Measured on {held or 'the'} rows that training never saw"
            + (f", with {confidence:.0%} bootstrap intervals" if isinstance(confidence, float) else "")
            + ", beside a predictor that ignores the features."
        )
        yield Rows(
            ("metric", "value", "interval", "ignoring the features"),
            [(name, *_measured(entry), _number(baseline.get(name))) for name, entry in sorted(metrics.items())],
        )
    for name, png in sorted(subject.figures.items()):
        yield Figure(name, png)


def _slices(subject: Subject) -> Iterator[Block]:
    if subject.slices:
        rows = [(name, *_measured(entry)) for name, entry in sorted(subject.slices.items())]
        yield Rows(("slice", "value", "interval"), rows)


def _fairness(subject: Subject) -> Iterator[Block]:
    judged = [gate for gate in _gates(subject) if FAIRNESS in str(gate.get("gate") or gate.get("kind") or "")]
    if judged:
        yield Rows(("verdict", "says"), [(str(gate.get("verdict")), str(gate.get("text"))) for gate in judged])


def _verdict(subject: Subject) -> Iterator[Block]:
    gates = _gates(subject)
    if subject.verdict is None:
        return
    yield Text(f"The gates say {subject.verdict.get('verdict')}.")
    if gates:
        yield Rows(("verdict", "says"), [(str(gate.get("verdict")), str(gate.get("text"))) for gate in gates])


def _approvals(subject: Subject) -> Iterator[Block]:
    if subject.approvals:
        yield Rows(("at", "by", "said", "why"), subject.approvals)


def _reference(subject: Subject) -> Iterator[Block]:
    features: Sequence[Mapping[str, Any]] = (subject.reports.get("schema") or {}).get("features") or ()
    if not features:
        return
    held = _count(((subject.reports.get("evaluation") or {}).get("rows") or {}).get("holdout"))
    yield Text(
        f"Live data is compared with the {held or ''} held-out rows: their features, and what the model said of them."
    )
    yield Rows(("feature", "compared as"), [(str(f["name"]), str(f["kind"])) for f in features[:MOST_COLUMNS]])


def _limits(subject: Subject) -> Iterator[Block]:
    """What is known to be wrong or unknown; always something, for every model is of one data set."""
    evaluation: Mapping[str, Any] = subject.reports.get("evaluation") or {}
    profile: Mapping[str, Any] = subject.reports.get("profile") or {}
    held = (evaluation.get("rows") or {}).get("holdout")
    said = ["It was measured on rows of the same source alone; what other data is like, these figures do not tell."]
    if isinstance(held, int) and held < FEW_ROWS:
        said.append(f"The hold-out has {held:,} rows, so that the intervals are wide.")
    if not subject.slices:
        said.append("No slices were measured: how it does for parts of the data is not known.")
    if not any(FAIRNESS in str(gate.get("gate") or gate.get("kind") or "") for gate in _gates(subject)):
        said.append("Fairness between groups was not judged.")
    if subject.clean is False:
        said.append("It was made with local changes that no commit has.")
    said += [
        f"{note[:1].upper()}{note[1:]}." for note in (*(evaluation.get("notes") or ()), *(profile.get("notes") or ()))
    ]
    said += [
        f"{gate.get('text')!s} did not pass, and was let through."
        for gate in _gates(subject)
        if gate.get("verdict") != "pass" and not gate.get("binding", True)
    ]
    yield Items(said)


def _history(subject: Subject) -> Iterator[Block]:
    if subject.history:
        yield Rows(("release", "made", "showed"), subject.history)


def _gates(subject: Subject) -> Sequence[Mapping[str, Any]]:
    return [gate for gate in (subject.verdict or {}).get("gates") or () if isinstance(gate, Mapping)]


def headline(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The first two of the usual metrics, in one line."""
    names = [name for name in ("f1_score", "roc_auc", "accuracy", "rmse", "r2") if name in metrics][:2]
    return ", ".join(f"{name} {' '.join(_measured(metrics[name])).strip()}" for name in names)


def pictures_in(folder: Path | None) -> dict[str, bytes]:
    """The pictures of an evaluation, by file name."""
    files = sorted(folder.glob("*.png")) if folder is not None and folder.is_dir() else ()
    return {file.name: file.read_bytes() for file in files}


def _measured(entry: Mapping[str, Any]) -> tuple[str, str]:
    low, high = entry.get("low"), entry.get("high")
    return _number(entry.get("value")) or "undefined", "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _values(column: Mapping[str, Any]) -> str:
    if "min" in column:
        return f"{_number(column['min']) or column['min']} to {_number(column['max']) or column['max']}"
    values: Mapping[str, Any] = column.get("values") or {}
    shown = ", ".join(list(values)[:5])
    return shown + (", …" if len(values) > 5 else "") if values else f"{column.get('distinct', 0):,} different"


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(card: Card) -> str:
    """The card as Markdown; pictures are those of the folder `figures` beside it."""
    parts = [f"# Model card: {_plain(card.title)}"]
    for head, blocks in card.sections:
        parts.append(f"## {head}")
        parts += [_markdown_block(block) for block in blocks]
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Text(text):
            return _plain(text)
        case Items(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Figure(name, _):
            return f"![{_plain(name.rpartition('.')[0].replace('_', ' '))}](figures/{name})"
        case Rows(heads, rows):
            lines = [heads, ["---"] * len(heads), *rows]
            return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    """A text in which nothing is taken for Markdown or HTML."""
    flat = " ".join(str(text).split())
    for sign in "\\`*_[]|#":
        flat = flat.replace(sign, f"\\{sign}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;margin:.5rem 0}
td,th{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #ddd;vertical-align:top}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}img{max-width:28rem;width:100%;margin:.5rem 1rem .5rem 0}"""


def html(card: Card) -> str:
    """The card as one page that needs nothing else."""
    title = escape(f"Model card: {card.title}")
    body = "\n".join(
        f"<h2>{escape(head)}</h2>\n" + "\n".join(_html_block(block) for block in blocks)
        for head, blocks in card.sections
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _html_block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Items(items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Figure(name, png):
            about = escape(name.rpartition(".")[0].replace("_", " "))
            return f'<img alt="{about}" src="data:image/png;base64,{b64encode(png).decode()}">'
        case Rows(heads, rows):
            head = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in heads)}</tr>" if any(heads) else ""
            lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
            return f"<table>{head}{lines}</table>"
