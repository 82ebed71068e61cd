"""The command line: the one place that knows every stage."""

from tfplugin.cli.commands import main

__all__ = ["main"]
