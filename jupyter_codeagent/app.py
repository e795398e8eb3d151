"""jupyter codeagent: the command line. What a command does stands in commands.py; here is how it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from jupyter_core.application import JupyterApp, NoStart
from traitlets import Float, Integer, Unicode
from traitlets.config import Application

from jupyter_codeagent import __version__
from jupyter_codeagent.candidates import MOST
from jupyter_codeagent.options import count, seconds, several

_HELP = {
    "run": "solve a task, or the agent cells of a notebook, and save the solved notebook",
    "verify": "execute a saved notebook in a fresh sandbox and compare the outputs",
    "minimise": "leave out the cells that a notebook's result does not need",
    "doctor": "tell what works on this machine, and how to mend what does not",
    "model": "the local model: status, pull, serve or remove",
    "report": "show a task as a bug report: what was done, versions, what the doctor finds; -o writes it",
    "demo": "solve a small data task with the local model, without a key",
}


class CodeAgentApp(JupyterApp):
    """The program `jupyter codeagent`; its traits are the defaults of the sub-commands' options."""

    name = "jupyter-codeagent"
    version = __version__
    description = "A coding agent for notebooks. Each sub-command explains itself with --help."
    examples = """
jupyter codeagent demo
jupyter codeagent run --task "sum Revenue by Region, sorted descending" --files sales.csv
jupyter codeagent verify solved.ipynb
"""

    model = Unicode("", help="The model's name; empty: the first that is configured.").tag(config=True)
    attempts = Integer(5, min=1, help="Attempts at one task, at most.").tag(config=True)
    candidates = Integer(1, min=1, max=MOST, help="Replies tried side by side for each attempt.").tag(config=True)
    timeout = Float(60.0, min=0.1, help="Seconds that one execution may take.").tag(config=True)
    memory = Integer(2 * 2**30, min=2**28, help="Bytes of memory for the code of one attempt.").tag(config=True)

    def _subcommands_default(self) -> dict[str, tuple[Callable[[CodeAgentApp], Command], str]]:
        return {name: (_starter(name), text) for name, text in _HELP.items()}

    def start(self) -> int:  # type: ignore[override]  # traitlets forgets the status, main() wants it
        """Carry out the sub-command and return its exit status: 0 success, 1 not, 2 wrong use or a missing part."""
        if self.subapp is not None:
            return Command.start(cast(Command, self.subapp))
        if self.generate_config or self.show_config or self.show_config_json:
            with suppress(NoStart):  # so it says that there is nothing else to do
                super().start()
            return 0
        unknown = f"There is no sub-command {self.extra_args[0]!r}. " if self.extra_args else ""
        sys.stderr.write(f"{unknown}Say one of: {', '.join(_HELP)}; `jupyter codeagent --help` explains them.\n")
        return 2

    def exit(self, exit_status: int | str | None = 0) -> None:
        """End the program; called by traitlets, which says 1 for a bad configuration. That is wrong use: 2."""
        super().exit(2 if exit_status == 1 else exit_status)


def _starter(name: str) -> Callable[[CodeAgentApp], Command]:
    return lambda app: Command(name=name)


class Command(Application):
    """One sub-command, in the form that traitlets starts it; argparse reads options that may be repeated."""

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read the configuration and the options; wrong ones end the program with status 2."""
        app = CodeAgentApp.instance()
        app.load_config_file()
        self.options = parser(self.name, app).parse_args(argv)

    def start(self) -> int:  # type: ignore[override]  # as above
        """Do it and return the exit status."""
        from jupyter_codeagent import commands, demo, minimising  # late, so that --help answers at once

        function = {**commands.COMMANDS, "demo": demo.run_demo, "minimise": minimising.run_minimise}[self.name]
        return commands.guarded(function, self.options)


_ELSEWHERE = "files it reads that lie outside its folder"


def parser(name: str, defaults: Any) -> argparse.ArgumentParser:
    """Return the parser for the options of sub-command `name`."""
    text = _HELP[name]
    found = argparse.ArgumentParser(f"jupyter codeagent {name}", description=text[0].upper() + text[1:] + ".")
    _OPTIONS[name](found, defaults)
    return found


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, and nothing else, on stdout")


def _add_limits(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument(
        "--candidates",
        type=several,
        default=defaults.candidates,
        metavar="N",
        help="replies tried side by side for each attempt, of which the best is kept",
    )
    parser.add_argument("--attempts", type=count, default=defaults.attempts, metavar="N", help="attempts at most")
    parser.add_argument(
        "--timeout", type=seconds, default=defaults.timeout, metavar="S", help="seconds for one execution"
    )
    parser.set_defaults(memory=defaults.memory)


def _run_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("notebook", nargs="?", metavar="NOTEBOOK.ipynb", help="a notebook with %%%%agent cells")
    what.add_argument("--task", metavar="TEXT", help="what is wanted, in plain language")
    parser.add_argument("--files", nargs="+", action="extend", default=[], metavar="FILE", help="files it is about")
    parser.add_argument("--model", default=defaults.model or None, metavar="M", help="the model's name")
    parser.add_argument("-o", "--output", metavar="OUT.ipynb", help="what to write; never over an existing file")
    parser.add_argument(
        "--check", action="append", default=[], metavar="EXPR", help="a condition on the result (repeatable)"
    )
    parser.add_argument(
        "--test", action="append", default=[], metavar="FILE", help="a file of test functions (repeatable)"
    )
    parser.add_argument("--again", action="store_true", help="ask the model also for what an earlier run has solved")
    parser.add_argument("--trajectory", metavar="FILE.jsonl", help="write all that is said and done there, as it comes")
    parser.add_argument("--keep-attempts", action="store_true", help="keep failed attempts in the notebook, collapsed")
    parser.add_argument("--no-verify", action="store_true", help="do not run the solved notebook in a fresh sandbox")
    _add_limits(parser, defaults)
    _add_json(parser)


def _verify_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("notebook", metavar="NOTEBOOK.ipynb", help="the saved notebook")
    parser.add_argument("--files", nargs="+", action="extend", default=[], metavar="FILE", help=_ELSEWHERE)
    parser.add_argument(
        "--timeout", type=seconds, default=defaults.timeout, metavar="S", help="seconds for one execution"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--diff", action="store_true", help="show what the file holds beside what the fresh run gave")
    shown.add_argument("--nbdime", action="store_true", help="show that with nbdime, where it is installed")
    parser.add_argument("--no-stamp", action="store_true", help="do not write what was found into the file")
    parser.add_argument("--twice", action="store_true", help="run it twice in any case, to find what is not steady")
    parser.add_argument(
        "--network", nargs="+", action="extend", default=[], metavar="HOST", help="hosts that the code may reach"
    )
    parser.set_defaults(memory=defaults.memory)
    _add_json(parser)


def _minimise_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("notebook", metavar="NOTEBOOK.ipynb", help="the saved notebook; it is not changed")
    parser.add_argument("-o", "--output", metavar="OUT.ipynb", help="what to write (NOTEBOOK.minimal.ipynb)")
    parser.add_argument(
        "--keep", nargs="+", action="extend", default=[], metavar="NAME", help="variables that belong to the result"
    )
    parser.add_argument("--files", nargs="+", action="extend", default=[], metavar="FILE", help=_ELSEWHERE)
    parser.add_argument(
        "--timeout", type=seconds, default=defaults.timeout, metavar="S", help="seconds for one execution"
    )
    parser.set_defaults(memory=defaults.memory)
    _add_json(parser)


def _doctor_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("--model", default=defaults.model or None, metavar="M", help="the model to ask about")
    parser.add_argument("--only", choices=["sandbox", "model"], default="", help="look at that alone")
    parser.add_argument("--offline", action="store_true", help="do not ask the model's endpoint whether it answers")
    _add_json(parser)


def _model_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("action", choices=["status", "pull", "serve", "remove"], help="what to do")
    parser.add_argument("name", nargs="?", help="which local model; nothing: the default one")
    _add_json(parser)


def _report_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("file", nargs="?", default="latest", metavar="FILE.jsonl", help="nothing: the latest task")
    parser.add_argument("-o", "--output", metavar="OUT.md", help="what to write, once it was shown; never over a file")
    parser.add_argument("--yes", action="store_true", help="write it without showing it and asking")


def _demo_options(parser: argparse.ArgumentParser, defaults: Any) -> None:
    parser.add_argument("--folder", default="codeagent-demo", help="where the files go (%(default)s)")
    parser.add_argument("--model", default="local", metavar="M", help="the model's name (%(default)s)")
    _add_limits(parser, defaults)


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser, Any], None]] = {
    "run": _run_options,
    "verify": _verify_options,
    "minimise": _minimise_options,
    "doctor": _doctor_options,
    "model": _model_options,
    "report": _report_options,
    "demo": _demo_options,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its status; called by the script `jupyter-codeagent`."""
    app = CodeAgentApp.instance()
    try:
        app.initialize(sys.argv[1:] if argv is None else list(argv))
        status = app.start()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        status = 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
