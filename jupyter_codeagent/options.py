"""What a person can set: traits for a kernel, options for a cell."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from typing import Any, NoReturn
from urllib.parse import urlsplit

from traitlets import Bool, Bunch, Enum, Float, Integer, Unicode, default, validate
from traitlets.config import Configurable

from jupyter_codeagent.candidates import MOST
from jupyter_codeagent.errors import WrongUse


class CodeAgent(Configurable):
    """Settings of the agent in this kernel: ``%config CodeAgent.attempts = 8``."""

    model = Unicode(
        "", help="Name of the model; empty: Claude where there is a key, else the endpoint or local model."
    ).tag(config=True)
    attempts = Integer(5, min=1, help="Attempts per task at most.").tag(config=True)
    candidates = Integer(
        1, min=1, max=MOST, help="Replies asked for at once and executed side by side; the best one is kept."
    ).tag(config=True)
    timeout = Float(60.0, min=0.1, help="Seconds that one execution may take.").tag(config=True)
    memory = Integer(2 * 2**30, min=2**28, help="Bytes of memory for the sandbox; used when it starts.").tag(
        config=True
    )
    gateway = Unicode(
        help="Address of a Jupyter server that hosts the sandbox; its token is JUPYTER_CODEAGENT_GATEWAY_TOKEN in the "
        "environment. Empty: on this machine. Used when it starts."
    ).tag(config=True)
    show_costs = Bool(True, help="Show tokens and US dollars.").tag(config=True)
    unattended = Enum(
        ["replay", "ask"],
        "replay",
        help="Where nobody can be asked (nbclient, papermill): replay solved cells only, or ask the model as well. "
        "JUPYTER_CODEAGENT_RUN=1 in the environment means ask.",
    ).tag(config=True)

    gateway_query = ""  # of the address, with the token that may stand in it; no trait, so that nothing lists it

    @default("gateway")
    def _gateway_of_environment(self) -> str:
        return self._shown(os.environ.get("JUPYTER_CODEAGENT_GATEWAY_URL", ""))

    @validate("gateway")
    def _gateway_to_show(self, proposal: Bunch) -> str:
        return self._shown(proposal.value)

    def _shown(self, url: str) -> str:
        # `%config CodeAgent` prints the address
        url, _, self.gateway_query = url.partition("?")
        return url

    @property
    def gateway_address(self) -> str:
        """The address of the gateway as it was given."""
        return f"{self.gateway}?{self.gateway_query}" if self.gateway_query else self.gateway

    @property
    def gateway_place(self) -> str:
        """Host and port of the gateway, to be shown; empty where none is configured."""
        return urlsplit(self.gateway).netloc.rpartition("@")[2] if self.gateway else ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = " Expressions and names with spaces go between quotes." if "unrecognized" in message else ""
        raise WrongUse(f"%%agent: {message}.{hint} %%agent --help lists the options.")


def seconds(text: str) -> float:
    """Return the number of seconds that a person wrote; argparse turns the ValueError for others into a sentence."""
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError
    return value


def count(text: str) -> int:
    """Return the number of attempts that a person wrote, from 1 to 100."""
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{value} is not between 1 and 100")
    return value


def several(text: str) -> int:
    """Return the number of candidates that a person wrote, from 1 to `MOST`."""
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"{value} is not between 1 and {MOST}")
    return value


count.__name__ = several.__name__ = "whole number"
seconds.__name__ = "number of seconds"  # argparse names these in its messages


def parser() -> argparse.ArgumentParser:
    """Return the parser of the ``%%agent`` line."""
    made = _Parser(
        prog="%%agent",
        add_help=False,
        allow_abbrev=False,
        usage="%%%%agent [options], and below it the task in plain language",
        description="Have the task solved in a sandbox; nothing is changed in your kernel, folder or network.",
    )
    add = made.add_argument
    add("--model", metavar="NAME", help="the model to ask")
    add("--attempts", metavar="N", type=count, help="attempts at most")
    add("--candidates", metavar="N", type=several, help="replies tried side by side, of which the best is kept")
    add("--check", metavar="EXPR", action="append", default=[], help="an expression that must be true in the end")
    add("--test", metavar="FILE", action="append", default=[], help="a file whose test functions must pass")
    add("--with", metavar="VAR", nargs="+", action="extend", default=[], dest="variables", help="variables to copy in")
    add("--files", metavar="GLOB", nargs="+", action="extend", default=[], help="files that the task is about")
    add("--review", action="store_true", help="ask you before each execution in the sandbox")
    add("--timeout", metavar="S", type=seconds, help="seconds that one execution may take")
    add("--background", action="store_true", help="work on it while you go on, with the variables as they are now")
    add("--again", action="store_true", help="ask the model even if this cell was solved before")
    add("-h", "--help", action="store_true", help="show this")
    return made


def parse(line: str) -> argparse.Namespace:
    """Return the options of a ``%%agent`` line.

    Raises
    ------
    WrongUse
        For an unknown option, a wrong value, or quotes that do not match.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise WrongUse(f"%%agent: {str(error).lower()} in {line!r}.") from None
    return parser().parse_args(words)


def identifying(line: str) -> str:
    """Return the line as it identifies a cell: asking again, or in the background, does not make it another one."""
    return " ".join(re.sub(r"(^|\s)--(?:again|background)(?=\s|$)", " ", line).split())


def checked_variables(names: list[str], known: dict[str, Any]) -> list[str]:
    """Return `names`, split at commas.

    Raises
    ------
    WrongUse
        If one of them is not a variable of the notebook.
    """
    split = [name for word in names for name in word.split(",") if name]
    for name in split:
        if name not in known:
            raise WrongUse(f"There is no variable {name!r} in this notebook to pass with --with.")
    return split
