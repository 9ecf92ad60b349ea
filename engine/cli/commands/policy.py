"""`engine policy list|test`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, group, json_option


@group("policy", examples="engine policy list --env prod\nengine policy test")
def command() -> None:
    """See and test the rules of engine.yaml that every spec and every deployment must keep."""


@command.command("list", examples="engine policy list\nengine policy list --env prod --json")
@json_option
@click.pass_obj
def list_policies(settings: Settings, /, as_json: bool) -> int:
    """List the rules that count in this environment, and when each is judged."""
    from engine.app.policing import policies_of

    policies = policies_of(settings.workspace())
    if as_json:
        import json

        document = {"format_version": 1, "policies": [_document(policy) for policy in policies]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif not policies:
        click.echo("engine.yaml has no policies.")
    else:
        from engine.cli.tables import render_table

        rows = [(each["name"], each["judged"], each["severity"], each["message"]) for each in map(_document, policies)]
        click.echo(render_table(("policy", "judged", "severity", ""), rows))
    return 0


@command.command("test", examples="engine policy test\nengine policy test policies/*.yaml --json")
@click.argument("files", nargs=-1, type=FilePath(exists=True), metavar="[FILE]...")
@json_option
@click.pass_obj
def test(settings: Settings, /, files: tuple[Path, ...], as_json: bool) -> int:
    """Judge cases by the rules: exits with 1 if another rule refuses a case than the case says.

    Without FILE the cases of policy_cases.yaml. Rules that refuse nothing in any case are named.
    """
    from engine.app.policing import judge_cases

    tested = judge_cases(settings.workspace(), files)
    failed = [result for result in tested.results if result.wrong]
    if as_json:
        import json

        cases = [
            {
                "name": r.name,
                "place": r.place,
                "passed": not r.wrong,
                "wrong": r.wrong or None,
                "refused": sorted(r.refused),
            }
            for r in tested.results
        ]
        document = {"format_version": 1, "cases": cases, "never_refusing": list(tested.unproved)}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 1 if failed else 0
    for result in tested.results:
        mark = click.style("fail", fg="red") if result.wrong else click.style("pass", fg="green")
        click.echo(f"{mark}  {result.name}")
        if result.wrong:
            click.echo(f"      {result.place}: {result.wrong}")
    if tested.unproved:
        click.echo(f"{click.style('warning:', fg='yellow')} refuses in no case: {', '.join(tested.unproved)}", err=True)
    click.echo(f"{len(tested.results) - len(failed)} of {len(tested.results)} cases as they should be.")
    return 1 if failed else 0


def _document(policy: Any) -> dict[str, Any]:
    return {
        "name": policy.name,
        "judged": "at deploy" if policy.at_deploy else "with the spec",
        "severity": "warning" if policy.warns else "error",
        "message": policy.message,
        "when": policy.when.text if policy.when else None,
        "deny" if policy.denies else "require": policy.rule.text,
        "place": f"{policy.place.file}:{policy.place.line}",
    }
