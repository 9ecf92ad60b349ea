"""What is written for other systems from a project's specs: Prometheus' rules, Grafana's dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.app.documents import load_specs, read_texts, spec_keys
from engine.app.planning import find_specs
from engine.app.workspace import Workspace
from engine.exporters.prometheus import Options

__all__ = ["DASHBOARD", "RULES", "TESTS", "Options", "grafana", "prometheus"]

RULES, TESTS, DASHBOARD = "engine.rules.yml", "engine.rules.test.yml", "engine.dashboard.json"


def prometheus(
    workspace: Workspace, paths: Sequence[str], variables: Mapping[str, str], options: Options
) -> Mapping[str, str]:
    """Files by name: rules, and their unit tests. Raises SpecError for specs with mistakes."""
    from engine.exporters.prometheus import rules_text, unit_tests_text

    texts = read_texts(workspace, find_specs(workspace, paths))
    specs = load_specs(workspace, texts, spec_keys(workspace, texts, variables), variables)
    documents = [spec.document for spec in specs]
    return {RULES: rules_text(documents, options), TESTS: unit_tests_text(documents, options, RULES)}


def grafana(options: Options) -> Mapping[str, str]:
    """Files by name: one dashboard."""
    from engine.exporters.grafana import dashboard_text

    return {DASHBOARD: dashboard_text(options)}
