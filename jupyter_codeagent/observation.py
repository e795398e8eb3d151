"""What the model reads of an attempt: bounded, marked as data, and true about the state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jupyter_codeagent.images import picture
from jupyter_codeagent.source import sameness
from jupyter_codeagent.trajectory import Answer, Attempt, CodeError, Frame, Observation, Trajectory, plain
from jupyter_codeagent.wording import restored

Block = dict[str, Any]  # a content block of the Messages API

LIMIT = 10_000  # characters of one report, images aside
_SHARES = {"error": 2_000, "result": 2_600, "stdout": 2_400, "stderr": 800}  # each part's own, whatever the others hold
_ROOM = 8_000  # for these parts together; the rest of LIMIT is for our own sentences, names and notes
_ENDS = (20_000, 40_000)  # raw characters of a part's beginning and end that are looked at
_PASSAGE = 8_000
_IMAGES = 2
_OTHERS = 7  # candidates beside the chosen one
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CHAINED = re.compile(
    r"\n[^\S\n]*(?:The above exception was the direct cause of|During handling of the above exception,)[^\n]*\n"
)


def mark(trajectory: Trajectory) -> str:
    """Return the mark that ends the tags around everything that came from the sandbox."""
    return hashlib.blake2b(f"{trajectory.id}\n{trajectory.task}".encode("utf-8", "replace"), digest_size=4).hexdigest()


def reports(trajectory: Trajectory, images: bool = False) -> Iterator[tuple[Attempt | Answer, list[Block]]]:
    """Yield each attempt and answer, in order, with what the model reads of it.

    What is said of an entry depends on the entries before it only, so that it never changes later.

    Parameters
    ----------
    trajectory : Trajectory
        The record.
    images : bool
        The model sees images.

    Yields
    ------
    tuple of (Attempt or Answer, list of dict)
        The entry, and a text block of at most `LIMIT` characters, followed by image blocks.
    """
    tries = 0
    failed: list[str] = []
    for entry in trajectory.path:
        if isinstance(entry, Answer):
            tries += not entry.passed
            yield entry, [_text(_verdicts(entry, trajectory), _left(trajectory.limit - tries, False))]
            continue
        tries += 1
        report = Report(entry, mark(trajectory), images)
        left = _left(trajectory.limit - tries, entry.succeeded)
        others = "\n".join(_others(entry, trajectory))
        yield entry, [_text(report.text, others, _repeated(entry, failed), left), *report.images]
        if not entry.succeeded:
            failed.append(sameness(_code(entry)))


def passage(trajectory: Trajectory, number: int, start: int, end: int) -> str:
    """Return characters `start` to `end`, at most 8,000, of all that an attempt wrote, marked as data."""
    attempt = next((a for a in trajectory.attempts if a.number == number), None)
    if attempt is None or attempt.observation is None:
        return f"There is no output of an attempt {number}."
    text = written(attempt.observation)
    start = min(max(start, 0), len(text))
    end = min(max(end, start), start + _PASSAGE, len(text))
    tag = mark(trajectory)
    shown = text[start:end].replace(tag, "*" * len(tag))
    return f"Characters {start:,} to {end:,} of {len(text):,}:\n<output-{tag}>\n{shown}\n</output-{tag}>"


def written(observation: Observation) -> str:
    """Return everything an observation holds as text, uncut: streams, values, and the error."""
    parts = [f"[{name}]\n{''.join(pieces)}" for name, pieces in _parts(observation, pictures=False).items() if pieces]
    if (error := observation.error) is not None:
        parts.append("\n".join(["[error]", *error.traceback, f"{error.ename}: {error.evalue}"]))
    return clean("\n".join(parts))


def clean(text: str) -> str:
    """Return `text` as it can be sent: without escapes, control characters, lone surrogates and overdrawn lines."""
    text = plain(text).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\r\n", "\n")
    if "\r" in text:  # a progress bar redraws its line
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", text)


def clip(text: str, limit: int, head: float, omitted: int = 0) -> str:
    """Return at most `limit` characters of `text`: its beginning and end, and between them how much was cut.

    Parameters
    ----------
    text : str
        Any text.
    limit : int
        Characters, at least 80.
    head : float
        The share of what is kept that comes from the beginning.
    omitted : int
        Characters that `text` lacks in its middle already.
    """
    if len(text) <= limit:
        return text
    keep = limit - 60
    front = int(keep * head)
    back = keep - front
    note = f"\n[... {len(text) + omitted - keep:,} of {len(text) + omitted:,} characters cut ...]\n"
    return f"{text[:front]}{note}{text[len(text) - back :]}"


@dataclass(frozen=True)
class Report:
    """What the model reads of one attempt.

    Parameters
    ----------
    attempt : Attempt
        An attempt that is done.
    mark : str
        Ends the tags; no text from the sandbox can contain it.
    sees : bool
        The model sees images.
    """

    attempt: Attempt
    mark: str
    sees: bool

    @property
    def seen(self) -> Observation:
        """The attempt's observation."""
        return self.attempt.observation or Observation()

    @property
    def images(self) -> list[Block]:
        """The first figures, as image blocks, for a model that sees."""
        found = [picture(o.get("data") or {}) for o in self.seen.outputs] if self.sees else []
        return [block for block in found if block is not None][:_IMAGES]

    @property
    def text(self) -> str:
        """Everything but the images; at most `LIMIT` less some hundred characters."""
        texts = self._fit({name: _ends(pieces) for name, pieces in _parts(self.seen, self.sees).items()})
        lines = [self._headline(), *self._edited()]
        lines += [self._tagged(name, text) for name, text in texts.items() if text.strip()]
        if not any(text.strip() for text in texts.values()):
            lines.append("It printed nothing and its last line has no value.")
        return "\n".join([*lines, *self._names(), *self._notes()])

    def _headline(self) -> str:
        number, seen = self.attempt.number, self.seen
        if seen.error is None:
            return f"Attempt {number} succeeded in {seen.duration:.1f} s. Variables are kept."
        state = (
            restored(self.attempt.undone)
            if self.attempt.rolled_back
            else "Not rolled back: variables are as the code left them."
        )
        return f"Attempt {number} failed after {seen.duration:.1f} s. {state}"

    def _edited(self) -> list[str]:
        if not self.attempt.edited:
            return []
        return [
            "The user changed the code before it ran. It was:",
            self._tagged("code", clip(_code(self.attempt), 500, 0.6)),
        ]

    def _fit(self, ends: dict[str, tuple[str, int]]) -> dict[str, str]:
        error = self.seen.error
        head = 0.6 if error is None else 0.4
        last = {} if error is None else {"error": describe(error, _SHARES["error"])}
        sizes = allot({name: len(text) for name, text in [*((n, e[0]) for n, e in ends.items()), *last.items()]})
        texts = {name: clip(text, sizes[name], head, omitted) for name, (text, omitted) in ends.items()}
        return {name: self._quiet(text) for name, text in [*texts.items(), *last.items()]}

    def _tagged(self, name: str, text: str) -> str:
        return f"<{name}-{self.mark}>\n{text.rstrip()}\n</{name}-{self.mark}>"

    def _quiet(self, text: str) -> str:
        # What cannot contain the mark cannot close a tag or open one, and so cannot pose as our own words.
        return text.replace(self.mark, "*" * len(self.mark))

    def _names(self) -> list[str]:
        names = self.seen.names if self.seen.error is None else {}
        if not names:
            return []
        shown = [f"{clean(n)[:60]}: {' '.join(clean(d[:500]).split())[:100]}" for n, d in list(names.items())[:12]]
        more = f"\nand {len(names) - 12} more" if len(names) > 12 else ""
        return ["New or changed names:", self._tagged("names", clip(self._quiet("\n".join(shown) + more), 500, 0.6))]

    def _notes(self) -> list[str]:
        return [f"Note: {' '.join(self._quiet(clean(note[:1_000])).split())[:150]}" for note in self.seen.notes[:3]]


def allot(sizes: dict[str, int]) -> dict[str, int]:
    """Return how many characters each part gets: its share, and what the others leave over.

    Parameters
    ----------
    sizes : dict of str to int
        The parts' lengths in characters; keys are among error, result, stdout, stderr.
    """
    given = {name: min(size, _SHARES[name]) for name, size in sizes.items()}
    for name in ("stdout", "result", "stderr"):
        if name in given:
            given[name] += min(sizes[name] - given[name], _ROOM - sum(given.values()))
    return given


def describe(error: CodeError, limit: int = 2_000) -> str:
    """Return an error in at most `limit` characters: the user's frames, what it came from, its type and message.

    The last lines are always the exception's type and message, whatever their length cut to fit.
    """
    name = " ".join(clean(error.ename).split())[:100] or "Error"
    message, omitted = _ends([error.evalue])
    message = clip(message.strip(), 800, 0.7, omitted)
    end = f"{name}: {message}" if message else name
    traceback = clean("\n".join(error.traceback)[-_ENDS[1] :])
    lines = [*_origin(traceback, end), *_frames(error.frames)]
    if not error.frames and traceback:
        lines.append(clip(traceback, 900, 0.3))
    above = clip("\n".join(lines), limit - len(end) - 1, 0.4) if lines else ""
    return f"{above}\n{end}" if above else end


def _frames(frames: tuple[Frame, ...]) -> list[str]:
    told = [_told(frame, count, frames[0].file) for frame, count in _runs(frames)]
    if len(told) > 8:
        told = [*told[:3], [f"  [{len(told) - 8} frames left out]"], *told[-5:]]
    return [line for lines in told for line in lines]


def _told(frame: Frame, count: int, newest: str) -> list[str]:
    lines = [_frame(frame, newest)]
    if source := clean(frame.source).strip():
        lines.append(f"    {source[:160]}")
    if count > 1:  # the sandbox, too, leaves some out of very many
        lines.append(f"  [the same, at least {count - 1} more times]")
    return lines


def _frame(frame: Frame, newest: str) -> str:
    # A traceback begins in the code that was just executed; other cells in it belong to attempts before.
    file = clean(frame.file)[:120]
    if file.startswith("cell "):
        file = "your code" if frame.file == newest else f"code of an earlier attempt ({file})"
    function = f", in {clean(frame.function)[:80]}" if frame.function and frame.function != "<module>" else ""
    return f"{file}, line {frame.line}{function}:"


def _runs(frames: Iterable[Frame]) -> list[tuple[Frame, int]]:
    runs: list[tuple[Frame, int]] = []
    for frame in frames:
        if runs and runs[-1][0] == frame:
            runs[-1] = (frame, runs[-1][1] + 1)
        else:
            runs.append((frame, 1))
    return runs


def _origin(traceback: str, end: str) -> list[str]:
    """Return one line for each exception that led to the last one."""
    lines = []
    for earlier in _CHAINED.split(traceback)[:-1][-3:]:
        last = earlier.strip().rsplit("\n", 1)[-1].strip()
        if last and last != end:
            lines.append(f"(came from {last[:200]})")
    return lines


def _parts(seen: Observation, pictures: bool) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {"stdout": [], "stderr": [], "result": []}
    for output in seen.outputs:
        kind = output.get("output_type")
        if kind == "stream":
            parts["stderr" if output.get("name") == "stderr" else "stdout"].append(str(output.get("text", "")))
        elif kind in ("execute_result", "display_data"):
            parts["result"].append(_shown(output.get("data") or {}, pictures) + "\n")
    return parts


def _ends(pieces: list[str]) -> tuple[str, int]:
    """Return the text that the pieces make, cleaned, and how many characters were left out of its middle.

    A flood is not cleaned whole: only its ends can be shown.
    """
    omitted = sum(map(len, pieces)) - sum(_ENDS)
    text = "".join(pieces)
    if omitted <= 0:
        return clean(text), 0
    gap = f"\n[... {omitted:,} characters cut ...]\n"
    return clean(text[: _ENDS[0]]) + gap + clean(text[-_ENDS[1] :]), omitted - len(gap)


def _shown(data: dict[str, Any], pictures: bool) -> str:
    """Return the text of one rich output."""
    image = next((kind for kind in data if kind.startswith("image/")), None)
    if image is not None:
        if pictures and picture(data) is not None:
            return "[a figure: see the image]"
        return f"[a figure, {image}, {len(str(data[image])):,} characters of data; shown to the user, not to you]"
    for kind in ("text/plain", "text/markdown", "text/latex"):
        if kind in data:
            return str(data[kind])
    if "application/json" in data:
        return json.dumps(data["application/json"], ensure_ascii=False, default=str)
    return f"[{', '.join(map(str, data)) or 'an empty output'}; shown to the user, not to you]"


def _verdicts(answer: Answer, trajectory: Trajectory) -> str:
    if answer.passed:
        return "The answer was accepted."
    failed = [v for v in answer.verdicts if not v.passed]
    if not failed:
        return "The user was told that you could not solve it."
    tag, lines = mark(trajectory), []
    for verdict in failed[:8]:
        line = f"- {' '.join(clean(verdict.check).split())[:200]}: {clip(clean(verdict.detail), 600, 0.6)}"
        lines.append(line.replace(tag, "*" * len(tag)))
    listed = "\n".join(lines)
    return f"The answer was not accepted. What did not hold:\n<checks-{tag}>\n{listed}\n</checks-{tag}>"


def _repeated(attempt: Attempt, failed: list[str]) -> str:
    count = 0 if attempt.succeeded else failed.count(sameness(_code(attempt)))
    if not count:
        return ""
    return f"This same code has now failed {count + 1} times: find another way."


def _others(attempt: Attempt, trajectory: Trajectory) -> Iterator[str]:
    """Yield what is said of the other candidates of a round: how it was chosen among them, and how each ended."""
    rivals = trajectory.rivals_of(attempt)
    if not rivals:
        return
    tag = mark(trajectory)
    yield f"You were asked for {attempt.of} candidates, which ran side by side. {attempt.reason} The others are undone:"
    for other in rivals[:_OTHERS]:
        error = other.observation.error if other.observation else None
        how = f"failed with {describe_briefly(error)}" if error else f"succeeded. {clean(other.reason)}"
        yield f"- attempt {other.number} {how}".replace(tag, "*" * len(tag))


def describe_briefly(error: CodeError) -> str:
    """Return an error in one line of at most some 200 characters."""
    return " ".join(clean(f"{error.ename}: {error.evalue}"[:400]).split())[:200]


def _left(left: int, succeeded: bool) -> str:
    if left > 1:
        return ""
    if left == 1:
        return "One attempt is left."
    return "No attempt is left: answer now, or say what remains unsolved." if succeeded else "No attempt is left."


def _code(attempt: Attempt) -> str:
    return (attempt.action.code or "").strip()


def _text(*parts: str) -> Block:
    return {"type": "text", "text": "\n".join(p for p in parts if p)}
