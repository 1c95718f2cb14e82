"""The `imbalance` command: each file parses one subcommand, calls one function, and prints."""

from imbalance_cli.cli.main import app, main

__all__ = ["app", "main"]
