"""The profile for small models: one question at a time, code begun for them, and what went wrong said in code.

A model of 1.5 billion parameters calls no tools, copies its own mistakes out of a conversation, and believes
code more than prose. So each request stands alone, the reply is begun for the model, and what earlier attempts
have shown is written as comments where it will go on. All that is added stands in the cell for the user to read.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jupyter_codeagent.models import cells, tables
from jupyter_codeagent.models.profile import Lookup, Unusable, ended
from jupyter_codeagent.models.reply import Reply
from jupyter_codeagent.observation import clean
from jupyter_codeagent.prompts import prompt
from jupyter_codeagent.source import sameness
from jupyter_codeagent.trajectory import Action, Answer, Attempt, Message, Trajectory

FENCE = "```python\n"
_END = "\n```"
REPEATS = 3  # how often code is asked for again that is not new, before it is executed after all
_CONTEXT = 5_000  # characters
_OUTPUT = 2_000
_SHORT = 600  # an output that may follow the answer
_TABLES = 3  # files read in one cell
_LESSONS = 3
_USUAL = ("pandas", "numpy", "scipy", "sklearn", "statsmodels", "matplotlib", "seaborn")
_FILES = re.compile(r"(?ms)^# Files\n.*?(?=^# |\Z)")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Helps:
    """What is done for the model; each can be left out, to measure what it is good for.

    Parameters
    ----------
    reading : bool
        The cell begins with lines that read and clean the task's files.
    lessons : bool
        Failed attempts are told as comments in the cell. Without: as a message after the task.
    imports : bool
        Imports that the code forgot are put before it.
    display : bool
        A cell that ends with an assignment gets a line that shows the value.
    examples : bool
        Examples that the task gives are checked at the end of the cell.
    figures : bool
        An answer with figures that no output holds, or without any, is replaced by the output; to one that
        leaves out figures of a short output, that is added.
    """

    reading: bool = True
    lessons: bool = True
    imports: bool = True
    display: bool = True
    examples: bool = True
    figures: bool = True


class NothingNew(Lookup):
    """A reply whose code was tried before, or is no Python; it is asked for again, with more chance in it."""


@dataclass
class Small:
    """For small models without tools, served by llama.cpp.

    Parameters
    ----------
    folder : Path
        Where the task's files are.
    helps : Helps
        What is done for the model.
    max_tokens : int
        The longest reply.
    chance : int
        Steps of chance that are in the reply from the first request on.
    """

    folder: Path = Path()
    helps: Helps = Helps()
    max_tokens: int = 800
    chance: int = 0
    _asked: tuple[str, int, int] = ("", 0, 0)
    _asks: int = 0  # requests for the same action before this one
    _begun: str = ""  # what the reply to the last request was begun with

    tools = False

    def request(self, trajectory: Trajectory, model: str) -> dict[str, Any]:
        """Return the arguments of `messages.create`: for an answer after code that ran, else for code."""
        self._begun = ""
        output = result(trajectory)
        if output:
            text = prompt("small_answer", task=clean(trajectory.task), output=shorten(output, _OUTPUT))
            return self._ask(model, [{"role": "user", "content": text}], trajectory)
        question = prompt(
            "small_task", context=self._context(trajectory), task=clean(trajectory.task), checks=_checks(trajectory)
        )
        if not self.helps.lessons and (said := _lessons(trajectory)):
            question += f"\n\nThis failed before:\n{said}"
        self._begun = FENCE + self.beginning(trajectory)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": self._begun}]
        return {
            **self._ask(model, messages, trajectory),
            "system": prompt("small_system", libraries=_libraries()),
            "stop_sequences": [_END],
        }

    def _ask(self, model: str, messages: list[Message], trajectory: Trajectory) -> dict[str, Any]:
        sampling = self._sampling(trajectory)
        return {"model": model, "max_tokens": self.max_tokens, "messages": messages, "extra_body": sampling}

    def _sampling(self, trajectory: Trajectory) -> dict[str, Any]:
        """Return how much chance is in the reply: none at first, more after each failure and each repetition."""
        asked = (trajectory.id, len(trajectory.attempts), len(trajectory.answers))
        self._asks = self._asks + 1 if asked == self._asked else 0
        self._asked = asked
        failed = [e for e in trajectory.path if not (e.succeeded if isinstance(e, Attempt) else e.passed)]
        failures = len(failed)
        chance = failures + self._asks + self.chance
        if result(trajectory):  # an answer is no place for chance
            failures, chance = 0, self._asks
        return {
            "temperature": min(1.2, 0.3 * chance),
            "seed": 1000 * self.chance + 100 * failures + self._asks,
            "top_p": 0.95,
        }

    def _context(self, trajectory: Trajectory) -> str:
        text = trajectory.context
        if self.helps.reading and self._reading(trajectory):
            text = _FILES.sub("", text)  # the code shows the columns as they are after cleaning
        text = shorten(clean(text).strip(), _CONTEXT)
        return f"{text}\n\n" if text else ""

    def _reading(self, trajectory: Trajectory) -> str:
        names = [i.name for i in trajectory.inputs if Path(i.name).suffix.lower() in tables.SUFFIXES][:_TABLES]
        return _read_tables(tuple(names), self.folder.resolve())

    def beginning(self, trajectory: Trajectory) -> str:
        """Return the code that the reply is begun with."""
        reading = self._reading(trajectory) if self.helps.reading else ""
        lessons = _lessons(trajectory) if self.helps.lessons else ""
        if lessons:
            told = "\n".join(f"# {line}" for line in lessons.splitlines())
            lessons = f"# Earlier versions failed:\n{told}\n# So this version does it differently:\n"
        return f"{reading}{lessons}"

    def sketch(self, reply: Reply) -> Action:
        """Return the code or the answer as far as it is written."""
        return Action("", self._code(reply)) if self._begun else Action(reply.text)

    def _code(self, reply: Reply) -> str:
        text = "".join(part.text("text") for part in reply.of("text"))  # indentation counts
        if not text.startswith(FENCE.strip()):  # streamed replies do not repeat what they were begun with
            text = self._begun + text
        return text.removeprefix(FENCE.strip()).lstrip("\n").split(_END)[0].removesuffix("```").rstrip()

    def parse(self, reply: Reply, trajectory: Trajectory) -> Action:
        """Return the action of a reply that has ended."""
        ended(reply, self.max_tokens)
        if not self._begun:
            return self._answer(reply.text, result(trajectory), trajectory)
        code = self._code(reply)
        if code == self._begun.removeprefix(FENCE).rstrip():
            raise Unusable("holds no code")
        code = self._completed(code, trajectory)
        tried = {sameness(a.action.code or "") for a in trajectory.attempts}
        if self._asks < REPEATS and (not cells.is_python(code) or sameness(code) in tried):
            raise NothingNew("is no Python, or repeats what was tried before")
        return Action("", code)

    def _completed(self, code: str, trajectory: Trajectory) -> str:
        if self.helps.imports:
            code = cells.with_imports(code, set(trajectory.variables))
        if self.helps.display:
            code = cells.with_display(code)
        return cells.with_examples(code, trajectory.task) if self.helps.examples else code

    def _answer(self, text: str, output: str, trajectory: Trajectory) -> Action:
        text = text.partition("```python")[0].strip()
        if not text or (self.helps.figures and not figures_hold(text, output, trajectory.task)):
            return Action(f"The code printed:\n{_quoted(output)}")
        if self.helps.figures and len(output) <= _SHORT and not figures_hold(output, text, ""):
            text = f"{text}\n{_quoted(output)}"  # the answer left something out
        return Action(text)

    def again(self, reply: Reply, problem: Unusable) -> list[Message]:
        """Return nothing: a small model would copy what it is shown, so the same question is asked again."""
        return []

    def without_tools(self) -> None:
        """Return None: there are no tools to leave out."""

    def varied(self, number: int) -> Small:
        """Return the profile for candidate `number`: with more chance the higher it is."""
        return Small(self.folder, self.helps, self.max_tokens, number - 1)


def result(trajectory: Trajectory) -> str:
    """Return what the last attempt showed if it ended well; empty where code is wanted next."""
    last = trajectory.last
    if not isinstance(last, Attempt) or not last.succeeded or last.observation is None:
        return ""
    # warnings stay out: they hold numbers too, and a small model takes them for results
    shown = [o for o in last.observation.outputs if o.get("name") != "stderr"]
    return clean(replace(last.observation, outputs=shown).text).strip()


def defined(trajectory: Trajectory) -> str | None:
    """Return the answer after an attempt that ended well and showed nothing; None for all others.

    There is nothing that a model could add.
    """
    last = trajectory.last
    if not isinstance(last, Attempt) or not last.succeeded or last.observation is None or result(trajectory):
        return None
    names = ", ".join(f"{name} ({kind})" for name, kind in last.observation.names.items())
    return f"The code ran without an error and showed nothing; it defined {names or 'nothing new'}."


def _quoted(output: str) -> str:
    return f"```\n{shorten(output, _OUTPUT)}\n```"


def shorten(text: str, most: int) -> str:
    """Return `text`, or its beginning and end with a mark between them."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}\n[...]\n{text[-most // 3 :]}"


def _checks(trajectory: Trajectory) -> str:
    labels = "\n".join(f"- {clean(c.label)}" for c in trajectory.checks)
    return f"\nThis must hold in the end:\n{labels}" if labels else ""


@cache
def _libraries() -> str:
    """Return those of the usual libraries that are installed: the model imports what it reads of."""
    return ", ".join(name for name in _USUAL if importlib.util.find_spec(name)) or "the standard library only"


@lru_cache(maxsize=32)
def _read_tables(names: tuple[str, ...], folder: Path) -> str:
    """Return lines that read and clean the files; empty where there are none, or no pandas."""
    found = [(name, table) for name in names if (table := _look(folder / name))]
    if not found or importlib.util.find_spec("pandas") is None:
        return ""
    frames = ["df"] if len(found) == 1 else [re.sub(r"\W", "_", Path(n).stem) for n, _ in found]
    code = [tables.reading(name, table, frame) for (name, table), frame in zip(found, frames, strict=True)]
    return "import pandas as pd\n\n" + "\n\n".join(code) + "\n\n"


def _look(path: Path) -> tables.Table | None:
    try:
        return tables.look(path)
    except OSError:  # the code will find out, and say it better
        return None


def _lessons(trajectory: Trajectory) -> str:
    """Return what went wrong so far, a line or two each, the latest last, each kind once."""
    told = [text for entry in trajectory.history if (text := _lesson(entry))]
    return "\n".join(list(dict.fromkeys(told))[-_LESSONS:])


def _lesson(entry: Attempt | Answer) -> str:
    if isinstance(entry, Answer):
        return "\n".join(f"check {v.check}: {_line(v.detail)}" for v in entry.verdicts if not v.passed)
    error = entry.observation.error if entry.observation else None
    if error is None:
        return ""
    source = error.frames[-1].source if error.frames else ""
    if error.ename == "AssertionError" and (told := cells.wrong_example(source, error.evalue)):
        return told
    at = f"{_line(source)}   -> " if source else ""
    return f"{at}{error.ename}: {_line(error.evalue)}"


def _line(text: str) -> str:
    return " ".join(clean(text).split())[:200]


def figures_hold(answer: str, output: str, task: str) -> bool:
    """Whether each figure of the answer stands in the output or the task, and some do if the output has any."""
    told = _NUMBER.findall(answer)
    there = [float(n.replace(",", "")) for n in _NUMBER.findall(f"{output}\n{task}")]
    if not told and _NUMBER.search(output):
        return False
    return all(any(_rounded(n, value) for value in there) for n in told)


def _rounded(number: str, value: float) -> bool:
    number = number.replace(",", "")
    decimals = len(number.partition(".")[2]) if "e" not in number.lower() else 6
    return bool(abs(float(number) - value) <= 0.5 * 10**-decimals + 1e-9 * abs(value))
