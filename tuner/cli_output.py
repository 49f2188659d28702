"""The answer on stdout: all that a command prints there goes through here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

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
    """Print on stdout, and end the command with this code."""
    say(text)
    raise typer.Exit(exit_code)
