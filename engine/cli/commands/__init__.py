"""One module for each command, found by its name in `engine.cli.program`; each has a click command `command`."""
