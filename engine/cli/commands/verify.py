"""`engine verify`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, define, json_option


@define(
    "verify",
    examples="""
    engine verify evidence-2                       # against this project's own key
    engine verify evidence-2 --key growth.pub      # against a key that somebody gave you
    """,
)
@click.argument("bundle", type=FilePath(), metavar="FOLDER")
@click.option(
    "--key", type=FilePath(exists=True, dir_okay=False), metavar="FILE", help="The public key to trust, as PEM."
)
@json_option
@click.pass_obj
def command(settings: Settings, /, bundle: Path, key: Path | None, as_json: bool) -> int:
    """Check that the evidence of a release is as it was signed. Exits with 1 if anything was changed.

    Without a key, that of this project is taken. Where there is none, the bundle is checked against the key in it,
    which shows that it is whole, but not who signed it.
    """
    from engine.app.evidence import verify_bundle

    found = verify_bundle(bundle, settings.workspace(), key)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, "intact": True, **vars(found)}, ensure_ascii=False, indent=2))
        return 0
    vouched = f"the key of {found.trusted}" if found.trusted else "the key in it, for which nobody vouches: give --key"
    intact = click.style("Intact:", fg="green")
    click.echo(f"{intact} evidence of {found.release}, {found.files} files, signed with key {found.signer}.")
    click.echo(f"Checked against {vouched}.")
    return 0
