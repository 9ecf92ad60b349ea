"""The group `engine` and the table of its commands; a command's module is imported when it is called.

`engine --help` prints each command's line from the table, so that it imports none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from engine import __version__
from engine.cli.shape import global_options

COMMANDS: dict[str, dict[str, str]] = {
    "Main commands": {
        "init": "Start a project that works: a spec, real data, CI.",
        "validate": "Check specs and report every mistake.",
        "plan": "Show what would run, and why. Changes nothing.",
        "apply": "Carry out a plan.",
        "status": "Show what is live and how the last runs went.",
    },
    "Look closer": {
        "history": "List runs, newest first.",
        "show": "Show a run, or a release with its whole lineage.",
        "diff": "Show what differs between two releases.",
        "reproduce": "Make a release again from its record, and compare.",
        "card": "Write the model card of a release.",
        "evidence": "Write a release's signed evidence into a folder.",
        "verify": "Check that evidence is as it was signed.",
        "graph": "Draw the steps of a model.",
        "data": "Propose a data contract, check data, compare snapshots.",
        "audit": "List, verify or export the audit log.",
        "doctor": "Check this installation and project.",
    },
    "Delivery": {
        "up": "Keep every model as its spec says: serve, watch, retrain.",
        "controller": "The same without a gateway.",
        "serve": "Answer predictions over HTTP from what is live.",
        "monitor": "Show how the live release does, window by window.",
        "drift": "Check whether a file's rows have drifted from a release's.",
        "logs": "List predictions with their actual values.",
        "feedback": "Tell what predictions turned out to be.",
        "predict": "Predict a file's rows, or send them as traffic.",
        "rollout": "See how a candidate fares, and step in.",
        "releases": "Show which release served when, and why.",
        "rollback": "Serve the release that was stable before, at once.",
        "reconcile": "Carry every rollout on by one pass.",
        "trigger": "Ask for a retrain of a model.",
        "triggers": "Show what a model's triggers say, and said before.",
        "alerts": "Show what is wrong and who was told.",
        "approve": "Agree that a release may go live.",
        "reject": "Say that a release must not go live.",
        "promote": "Make a model's candidate the stable release.",
        "abort": "Send a model's candidate away.",
    },
    "Upkeep": {
        "policy": "List the project's policies, or test them.",
        "fmt": "Lay specs out in the standard way.",
        "export": "Write rules for Prometheus, a dashboard for Grafana.",
        "token": "Make, list and revoke tokens of the gateway.",
        "schema": "Print or write the JSON Schema of specs.",
        "lock": "List leases, or release one.",
        "destroy": "End a model: its endpoint, aliases and state.",
        "state": "List, show, back up and clean the state.",
        "completion": "Print the shell's completion script.",
    },
}


class Program(click.Group):
    """A click group over the table above."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """All names, in the table's order."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for a name that is not in the table."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"engine.cli.commands.{cmd_name}")
        found: click.Command = module.command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a name that is not known."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f'no command "{name}".' + (f' Did you mean "{near[0]}"?' if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Where to begin."""
        with formatter.section("Begin"):
            for line in ("engine init churn && cd churn", "engine plan", "engine apply"):
                formatter.write(f"  {line}\n")


def program() -> Program:
    """The whole command line."""
    options: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 110}}
    group = Program(
        "engine",
        help="Declarative model lifecycles: a model_spec in git, plan and apply.",
        params=global_options(),
        **options,
    )
    return click.version_option(__version__, prog_name="engine", message="%(prog)s %(version)s")(group)
