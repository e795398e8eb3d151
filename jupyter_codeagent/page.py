"""A task's record as one piece of HTML, whole or in brief. All is escaped, nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib.resources import files

from jupyter_codeagent.render import code_html, markdown_html, output_html, outspoken, seen, shorten
from jupyter_codeagent.trajectory import Answer, Attempt, Output, Trajectory, Verdict, plain
from jupyter_codeagent.wording import DOT, STATES, WORDS, cells_next, commands_next, facts, reason, remarks

ATTEMPT_MOST = 1_500_000  # characters of one attempt's outputs
PAGE_MOST = 3_000_000  # characters of a whole record; images beyond are named only


@cache
def style() -> str:
    """Return the style sheet of a record."""
    return files("jupyter_codeagent").joinpath("display.css").read_text(encoding="utf-8")


def page(
    trajectory: Trajectory, seconds: float | None = None, costs: bool = True, notice: str = "", told: str = ""
) -> str:
    """Return the whole record as HTML: one element with its own style, safe to show.

    Parameters
    ----------
    trajectory : Trajectory
        What is shown.
    seconds : float or None
        How long it took; None where that is not known.
    costs : bool
        Show tokens and dollars.
    notice, told : str
        Sentences for the end and the beginning.
    """
    parts = [
        told_html(told),
        head_html(trajectory, seconds, costs),
        *_entries(trajectory, attempt_html),
        *notes_html(reason(trajectory), notice, *commands_next(trajectory)),
    ]
    return framed("".join(parts), trajectory.status)


def brief(
    trajectory: Trajectory, seconds: float | None = None, costs: bool = True, notice: str = "", told: str = ""
) -> str:
    """Return the record without the attempts, which are cells; parameters as for `page`."""
    parts = [
        told_html(told),
        head_html(trajectory, seconds, costs),
        *_entries(trajectory, _unwritten_html),
        *notes_html(reason(trajectory), notice, *cells_next(trajectory)),
    ]
    return framed("".join(parts), trajectory.status)


def framed(body: str, state: str = "", styled: bool = True) -> str:
    """Return pieces of a record in one element, which carries their style unless another one beside it does."""
    sheet = f"<style>{style()}</style>" if styled else ""
    return f'<div class="jca{f" jca-{state}" if state else ""}">{sheet}{body}</div>'


def fragment(output: Output) -> dict[str, str]:
    """Return one output of the sandbox as a bundle that is safe to show anywhere."""
    plain_text = plain(str(output.get("data", {}).get("text/plain", "")))
    return {"text/html": framed(output_html(output)), "text/plain": outspoken(shorten(plain_text))}


def told_html(told: str) -> str:
    """Return what is said before the first request."""
    return f'<p class="jca-told">{seen(told)}</p>' if told else ""


def head_html(trajectory: Trajectory, seconds: float | None, costs: bool) -> str:
    """Return the line with the task's state and what it took."""
    numbers = escape(facts(trajectory, seconds, costs))
    state = STATES[trajectory.status]
    return f'<div class="jca-head"><span class="jca-state">{state}</span><span class="jca-facts">{numbers}</span></div>'


def notes_html(*lines: str) -> Iterator[str]:
    """Yield sentences, with code where backticks stand."""
    for line in filter(None, lines):
        parts = line.split("`")
        html = "".join(f"<code>{seen(p)}</code>" if i % 2 else seen(p) for i, p in enumerate(parts))
        yield f'<p class="jca-note">{html}</p>'


def _entries(trajectory: Trajectory, show: Callable[[Attempt, Trajectory, bool], str]) -> Iterator[str]:
    """Yield attempts and answers in their order, as much of them as a page can hold."""
    entries = [*trajectory.history, *_told(trajectory.growing)]
    newest = next((e for e in reversed(entries) if isinstance(e, Attempt) and (e.chosen or e.undecided)), None)
    room = PAGE_MOST
    for entry in entries:
        if isinstance(entry, Answer):
            html = answer_html(entry, final=entry is entries[-1])
        else:
            html = show(entry, trajectory, entry is newest)
        room -= len(html)
        if room <= 0:
            yield '<p class="jca-note">The rest is too large to be shown here.</p>'
            return
        yield html


def _told(growing: list[Attempt]) -> list[Attempt]:
    """Return what is shown of attempts that are written: those with code, or that the model writes at all."""
    return [a for a in growing if a.action.code is not None] or growing[:1]


def attempt_html(attempt: Attempt, trajectory: Trajectory, newest: bool) -> str:
    """Return an attempt with its code and outputs; it opens and closes."""
    is_open = " open" if newest or attempt.undecided or (attempt.succeeded and attempt.chosen) else ""
    return (
        f'<details class="jca-try jca-{attempt.status}"{is_open}><summary>{_title_html(attempt)}</summary>'
        f'<div class="jca-body">{body_html(attempt, trajectory)}</div></details>'
    )


def body_html(attempt: Attempt, trajectory: Trajectory) -> str:
    """Return explanation, code and outputs of an attempt."""
    said, code, observation = attempt.action.text, attempt.action.code, attempt.observation
    body = [f'<div class="jca-md">{markdown_html(said)}</div>' if said.strip() else ""]
    if code is not None:
        caret = " jca-caret" if attempt.status == "writing" and trajectory.status == "running" else ""
        body.append(f'<pre class="jca-code{caret}">{code_html(code)}</pre>')
    body += [f'<p class="jca-note">{seen(attempt.reason)}</p>'] if attempt.reason else []
    if observation is not None:
        body += [f'<p class="jca-note">{seen(note)}</p>' for note in observation.notes]
        body += _outputs_html(observation.outputs)
    return "".join(body)


def _unwritten_html(attempt: Attempt, trajectory: Trajectory, newest: bool) -> str:
    """Return what the model writes while there is no code, and so no cell, yet."""
    if attempt.action.code is not None:
        return ""
    title = f'<div class="jca-line jca-{attempt.status}">{_title_html(attempt)}</div>'
    return title + body_html(attempt, trajectory)


def _title_html(attempt: Attempt) -> str:
    if attempt.action.code is None:
        return "<b>The model is writing</b>"
    error = attempt.observation.error if attempt.observation else None
    why = f'<span class="jca-why">{seen(f"{error.ename}: {plain(error.evalue)}"[:200])}</span>' if error else ""
    return (
        f'<b>Attempt {attempt.number}</b><span class="jca-word">{WORDS[attempt.status]}</span>{why}'
        f'<span class="jca-meta">{escape(DOT.join(remarks(attempt)))}</span>'
    )


def _outputs_html(outputs: list[Output]) -> Iterator[str]:
    room = ATTEMPT_MOST
    for number, output in enumerate(outputs):
        html = output_html(output)
        room -= len(html)
        if room < 0:
            yield f'<p class="jca-note">{len(outputs) - number} more outputs are too large to be shown here.</p>'
            return
        yield html


def answer_html(answer: Answer, final: bool) -> str:
    """Return an answer with what became of the checks; the text of a final one that gave up is the reason."""
    checks = "".join(_verdict_html(v) for v in answer.verdicts)
    checks = f'<ul class="jca-checks">{checks}</ul>' if checks else ""
    if answer.action.gave_up and final:
        return checks
    return f'{checks}<div class="jca-answer jca-md">{markdown_html(answer.action.text)}</div>'


def _verdict_html(verdict: Verdict) -> str:
    mark = (
        '<span class="jca-pass">\u2713 passed</span>'
        if verdict.passed
        else '<span class="jca-miss">\u2717 not passed</span>'
    )
    detail = f" \u2014 {seen(plain(verdict.detail)[:500])}" if verdict.detail else ""
    return f"<li>{mark} <code>{seen(verdict.check)}</code>{detail}</li>"
