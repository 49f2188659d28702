"""Where answers go: stdout, and nothing else there."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer
from rich.console import Console

from tuner.domain.errors import InfrastructureError


def say(text: str) -> None:
    """Print on stdout. A reader that has left is no error, and does not change the exit code; a full disk is one.

    Raises InfrastructureError.
    """
    try:
        typer.echo(text)
    except OSError as error:
        # Else the interpreter would try to write the rest once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InfrastructureError(f"the answer cannot be printed: {error.strerror}") from error


def say_and_exit(text: str, exit_code: int) -> NoReturn:
    """The answer, and the exit code that says what it rests on."""
    say(text)
    raise typer.Exit(exit_code)


def stderr() -> Console:
    return Console(stderr=True)
