"""Import a command's module only when the command is called.

A health check runs `linkpool status` every few seconds, and most of a command's time would go
into imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """A group of commands some of which are in other modules."""

    elsewhere: ClassVar[Mapping[str, str]]  # name to module:attribute, a function or a typer.Typer

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of all commands, those in other modules first."""
        del ctx
        return [*self.elsewhere, *(name for name in self.commands if name not in self.elsewhere)]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Return the command of a name, None if there is none."""
        del ctx
        if cmd_name not in self.commands:
            # An unknown name is compared with all names, to suggest the right one.
            wanted = [cmd_name] if cmd_name in self.elsewhere else self.elsewhere
            self.commands.update({name: self._imported(name) for name in wanted})
        return self.commands.get(cmd_name)

    def _imported(self, name: str) -> Any:
        module, _, attribute = self.elsewhere[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        around = typer.Typer()
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=name)
        else:
            around.command(name)(found)
        return typer.main.get_group(around).commands[name]
