"""`engine evidence`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, define, json_option


@define(
    "evidence",
    examples="""
    engine evidence customer_churn@2 -o evidence-2
    engine verify evidence-2
    """,
)
@click.argument("what", metavar="MODEL|MODEL@VERSION")
@click.option("-o", "--out", type=FilePath(), required=True, metavar="FOLDER", help="Where the bundle goes.")
@click.option(
    "--key",
    type=FilePath(exists=True, dir_okay=False),
    metavar="FILE",
    help="Sign with this EC key, not the project's.",
)
@json_option
@click.pass_obj
def command(settings: Settings, /, what: str, out: Path, key: Path | None, as_json: bool) -> int:
    """Write the evidence of a release into a folder, and sign it.

    It holds the release's record, spec, plan, digests, verdict, approvals, audit events, model card, and the
    environment as a CycloneDX bill of materials, signed by OpenSSF model-signing. The project's key is made on first
    use, in .engine/signing.pem; give signer.pub to those who are to check its bundles.
    """
    from engine.app.evidence import write_bundle

    made = write_bundle(settings.workspace(), what, out, key)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, "bundle": str(out), **vars(made)}, ensure_ascii=False, indent=2))
    else:
        click.echo(f"Evidence of {made.release} in {out}: {made.files} files, signed with key {made.signer}.")
    return 0
