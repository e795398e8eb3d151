"""What a front end shows that applies the messages of a growing cell, and answers that are hostile."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent.kernel.growth import Growth, added
from jupyter_codeagent.sandbox import answers

WORDS = st.text(alphabet="ab\n ", max_size=8)
STREAMS = st.fixed_dictionaries(
    {"output_type": st.just("stream"), "name": st.sampled_from(["stdout", "stderr"]), "text": WORDS}
)
DATA = st.fixed_dictionaries({"text/plain": WORDS})
DISPLAYS = st.fixed_dictionaries({"output_type": st.just("display_data"), "data": DATA, "metadata": st.just({})})
RESULTS = st.fixed_dictionaries({"output_type": st.just("execute_result"), "data": DATA, "metadata": st.just({})})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))
KEYS = ("matches", "text", "status", "indent", "expressions", "variables")


class Screen:
    """A front end: outputs in order, text that a carriage return writes over."""

    def __init__(self) -> None:
        self.outputs: list[list[Any]] = []
        self.ids: dict[str, int] = {}
        self.clear = False

    def take(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "clear_output":
            self.clear = True
            if not content["wait"]:
                self._wipe()
            return
        if kind == "update_display_data":
            self.outputs[self.ids[content["transient"]["display_id"]]][1] = content["data"]
            return
        self._wipe()
        if kind == "stream":
            name = content["name"]
            if self.outputs and self.outputs[-1][0] == name:
                self.outputs[-1][1] += content["text"]
            else:
                self.outputs.append([name, content["text"]])
            return
        if "transient" in content:
            self.ids[content["transient"]["display_id"]] = len(self.outputs)
        self.outputs.append([kind, content["data"]])

    def _wipe(self) -> None:
        if self.clear:
            self.outputs, self.clear = [], False

    @property
    def seen(self) -> list[list[Any]]:
        return [[kind, overwritten(value) if isinstance(value, str) else value] for kind, value in self.outputs]


def overwritten(text: str) -> str:
    """Return what a terminal shows, without blanks at the ends of lines."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for layer in line.split("\r"):
            shown = layer + shown[len(layer) :]
        lines.append(shown.rstrip())
    return "\n".join(lines)


def joined(outputs: list[dict[str, Any]]) -> list[list[Any]]:
    """Return outputs as a front end has them: neighbouring texts of one stream are one."""
    found: list[list[Any]] = []
    for output in outputs:
        if output["output_type"] != "stream":
            found.append([output["output_type"], output["data"]])
        elif found and found[-1][0] == output["name"]:
            found[-1][1] += output["text"]
        else:
            found.append([output["name"], output["text"]])
    return [[kind, overwritten(value) if isinstance(value, str) else value] for kind, value in found]


@SETTINGS
@given(st.lists(st.lists(STREAMS | DISPLAYS | RESULTS, max_size=4).map(lambda o: merged(o)), max_size=5))
def test_messages_build_up_what_the_sandbox_has_shown(steps):
    screen = Screen()
    growth = Growth(screen.take, 1)
    for outputs in steps:
        growth.show(outputs)
        expected = joined(outputs)
        assert screen.seen == expected


def merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return outputs as the gate has them: no text is empty, and no two of one stream are neighbours."""
    kept: list[dict[str, Any]] = []
    for output in outputs:
        neighbour = bool(kept) and kept[-1].get("name") == output.get("name", "")
        if output["output_type"] != "stream" or (output["text"] and not neighbour):
            kept.append(output)
    return kept


@SETTINGS
@given(WORDS, WORDS)
def test_a_rewritten_line_shows_as_the_new_one(before, more):
    kept = before[: before.rfind("\n") + 1]
    assert overwritten(before + added(before, kept + more)) == overwritten(kept + more)


class Hostile:
    """A sandbox that answers anything."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def ask(self, kind: str, **content: Any) -> dict[str, Any]:
        return self.answer


@SETTINGS
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_hostile_answers_have_the_right_types_or_are_left_out(answer):
    sandbox: Any = Hostile(answer)
    for match in answers.complete(sandbox, "value", 3):
        assert 0 <= match.start <= 3 <= match.end <= 5 and match.text and "\n" not in match.text
    status, indent = answers.is_complete(sandbox, "x")
    assert status in ("complete", "incomplete", "invalid", "unknown") and 0 <= indent <= 200
    assert isinstance(answers.inspect(sandbox, "x", 0, 0), str)
    assert answers.expressions(sandbox, {"a": "1"})["a"]["status"] in ("ok", "error")
    assert all(variable.name.isidentifier() for variable in answers.variables(sandbox))


@SETTINGS
@given(st.lists(st.tuples(st.integers(-2, 9), st.integers(-2, 9), st.text(max_size=9), st.text(), st.text())))
def test_completions_replace_one_part_of_the_code(matches):
    found = answers.complete(Hostile({"matches": [list(m) for m in matches]}), "value", 3)  # type: ignore[arg-type]
    assert len({(match.start, match.end) for match in found}) <= 1
