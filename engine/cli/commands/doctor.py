"""`engine doctor`."""

from __future__ import annotations

import click

from engine.cli.shape import Settings, define, json_option


@define("doctor", examples="engine doctor\nengine doctor --json")
@json_option
@click.pass_obj
def command(settings: Settings, /, as_json: bool) -> int:
    """Check this installation and project. Exits with 1 if there is a problem."""
    from engine.app.examining import examine

    findings = examine(settings.workspace())
    if as_json:
        import json

        document = {"format_version": 1, "findings": [dict(vars(finding)) for finding in findings]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        from engine.cli.tables import render_table

        rows = [(f.level, f.check, f"{f.text.rstrip('.')}. {f.remedy}" if f.remedy else f.text) for f in findings]
        click.echo(render_table(("", "check", "finding"), rows))
    return 1 if any(finding.level == "problem" for finding in findings) else 0
