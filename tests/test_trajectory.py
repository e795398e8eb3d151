"""The files of trajectories: what is saved is loaded again, also by a later release, and hostile ones are refused."""

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent import Action, Attempt, Observation, Trajectory
from jupyter_codeagent.errors import CodeAgentError, TrajectoryError
from jupyter_codeagent.trajectory import (
    Answer,
    Check,
    CodeError,
    Frame,
    Input,
    Undone,
    Usage,
    Verdict,
)
from jupyter_codeagent.trajectory_file import MOST_BYTES, MOST_LINES, read

OLD = Path(__file__).parent / "data" / "trajectory-1.json"
CHEAP = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

text = st.text(max_size=20)
whole = st.integers(-(2**40), 2**40)
seconds = st.floats(0, 1e9)
plain_data = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
outputs = st.lists(st.dictionaries(text, plain_data, max_size=3), max_size=3)
texts = st.lists(text, max_size=3).map(tuple)
usages = st.builds(Usage, whole, whole, whole, st.none() | seconds)
messages = st.lists(st.dictionaries(text, plain_data, max_size=2), max_size=2).map(tuple)
actions = st.builds(Action, text, st.none() | text, st.booleans(), usages, text, messages)
frames = st.lists(st.builds(Frame, text, whole, text, text), max_size=2).map(tuple)
errors = st.builds(CodeError, text, text, st.lists(text, max_size=2), frames)
names = st.dictionaries(text, text, max_size=3)
observations = st.builds(Observation, outputs, st.none() | errors, seconds, texts, names)
attempts = st.builds(
    Attempt,
    number=whole,
    action=actions,
    observation=st.none() | observations,
    undone=st.none() | st.builds(Undone, st.booleans(), whole, texts),
    written=st.none() | text,
    taken=st.none() | text,
    **{name: st.booleans() for name in ("done", "rolled_back", "accepted", "discarded", "edited", "chosen")},
    **dict.fromkeys(("round", "candidate", "of"), whole),
    reason=text,
)
verdicts = st.lists(st.builds(Verdict, text, st.booleans(), text), max_size=2).map(tuple)
answers = st.builds(Answer, actions, verdicts, whole)
trajectories = st.builds(
    Trajectory,
    task=text,
    context=text,
    checks=st.lists(st.builds(Check, text, text), max_size=2).map(tuple),
    limit=whole,
    id=st.text("abcXYZ019-_", min_size=1, max_size=10),
    attempts=st.lists(attempts, max_size=3),
    answers=st.lists(answers, max_size=2),
    failure=st.none() | text,
    tier=text,
    inputs=st.lists(st.builds(Input, text, whole, text), max_size=2).map(tuple),
    variables=names,
    told=text,
    cell=text,
    duration=seconds,
    candidates=whole,
    spent=usages,
    stopped=st.booleans(),
    background=st.booleans(),
)


@CHEAP
@given(trajectories)
def test_any_trajectory_is_loaded_as_it_was_saved(tmp_path, trajectory):
    path = trajectory.save(tmp_path / "t.jsonl", overwrite=True)
    assert Trajectory.load(path) == trajectory
    assert Trajectory.from_dict(json.loads(json.dumps(trajectory.to_dict()))) == trajectory


@CHEAP
@given(trajectories.filter(lambda t: t.attempts), st.data())
def test_a_file_that_is_cut_off_anywhere_holds_all_that_was_whole(tmp_path, trajectory, data):
    content = trajectory.save(tmp_path / "t.jsonl", overwrite=True).read_bytes()
    first = content.index(b"\n") + 1
    end = data.draw(st.integers(first, len(content)))
    (tmp_path / "t.jsonl").write_bytes(content[:end])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loaded = Trajectory.load(tmp_path / "t.jsonl")
    assert bool(said) == (content[end - 1 : end] != b"\n")
    entries = content[first:end].count(b"\n")
    assert [*loaded.attempts, *loaded.answers] == [
        *trajectory.attempts[: len(loaded.attempts)], *trajectory.answers[: len(loaded.answers)],
    ]  # fmt: skip
    whole_entries = len(trajectory.attempts) + len(trajectory.answers)
    assert len(loaded.attempts) + len(loaded.answers) == min(entries, whole_entries)


def test_the_older_version_is_read(tmp_path):
    old = Trajectory.load(OLD)
    assert old.status == "solved" and old.answer == "The sum is 42." and old.usage.cost == pytest.approx(0.003)
    assert [a.status for a in old.attempts] == ["failed", "accepted"] and old.attempts[1].chosen
    assert old.attempts[0].observation.error.frames[0].source == "totall" and old.inputs[0].size == 12
    wrapped = tmp_path / "record.json"
    wrapped.write_text(json.dumps({"saved": 1.0, "trajectory": json.loads(OLD.read_text())}))
    assert Trajectory.load(wrapped) == old
    assert Trajectory.load(old.save(tmp_path / "new.jsonl")) == old


def changed(**fields):
    return json.dumps({**json.loads(OLD.read_text()), **fields})


HEAD = '{"format": "jupyter_codeagent.trajectory", "version": 2, "task": "x"}\n'


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is no trajectory"),
        ("hello", "is no trajectory"),
        ("[1]", "is no trajectory"),
        ("[" * 100_000, "is no trajectory"),
        ("\xff\xfe", "is no trajectory"),
        (changed(version=2), "version 2|version '2'"),
        (changed(version=None), "version 'None'"),
        (changed(task=5), "'task' is '5', which is no text"),
        (changed(limit=True), "'limit' is 'True', which is no whole number"),
        (changed(limit=10**30), "which is no whole number"),
        (changed(duration=float("nan")), "'duration' is 'nan', which is no number"),
        (changed(attempts={}), "'attempts' is dict and not a list"),
        (changed(attempts=[5]), r"attempts\[0\] is '5' and not an object"),
        (changed(attempts=[{}]), r"'attempts\[0\].number' is missing"),
        (changed(id="../../x"), "'id' is '../../x'"),
        (changed(inputs=[{"name": "a", "size": "b", "digest": ""}]), r"'inputs\[0\].size' is 'b'"),
        ('{"format": "other", "version": 2}\n', "its format is 'other'"),
        (HEAD.replace("2", "3"), "this release reads 1 and 2; update jupyter_codeagent"),
        (HEAD.replace("2", '"2"'), "says that it has version '2'"),
        (HEAD.replace('"x"', "[]"), "'task' is list"),
        (HEAD + "nonsense\n{}\n", "Line 2 of .* is no part of a trajectory"),
        (HEAD + '{"attempt": {"number": 1}, "again": 1}\n', "Line 2"),
        (HEAD + '{"attempt": {"number": 1}, "again": -1}\n', "Line 2"),
        (HEAD + '{"end": []}\n', "Line 2"),
        (HEAD + '{"attempt": {"number": []}}\n', r"'attempts\[0\].number' is list"),
        (HEAD + "\n" * MOST_LINES + "\n", f"has more than {MOST_LINES:,} lines"),
    ],
)
def test_a_file_that_is_no_trajectory_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(TrajectoryError, match=sentence) as caught:
        Trajectory.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 and "t.jsonl" in str(caught.value)


def test_deep_outputs_are_refused_before_anything_works_on_them(tmp_path):
    old = json.loads(OLD.read_text())
    deep = 0
    for _ in range(500):
        deep = [deep]
    old["attempts"][1]["observation"]["outputs"][0]["data"]["application/json"] = deep
    (tmp_path / "t.json").write_text(json.dumps(old))
    with pytest.raises(TrajectoryError, match="nested more than 100 levels deep"):
        Trajectory.load(tmp_path / "t.json")


def test_a_long_file_and_a_missing_one_are_refused(tmp_path):
    with (tmp_path / "t.jsonl").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for name in ("t.jsonl", "none.jsonl", ".", "a\0b"):
        with pytest.raises(TrajectoryError):
            Trajectory.load(tmp_path / name)


def test_saving_never_hits_an_existing_file_and_says_what_failed(tmp_path):
    path = Trajectory("x").save(tmp_path / "t.jsonl")
    with pytest.raises(CodeAgentError, match="exists and was not touched"):
        Trajectory("y").save(path)
    assert Trajectory.load(path).task == "x"
    with pytest.raises(CodeAgentError, match="was not written: No such file"):
        Trajectory("x").save(tmp_path / "none" / "t.jsonl")
    with pytest.raises(CodeAgentError, match="'id' is 'a/b'"):
        Trajectory("x", id="a/b").save(tmp_path / "u.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_fields_of_a_later_release_are_passed_over(tmp_path):
    path = Trajectory("x").save(tmp_path / "t.jsonl")
    path.write_text(path.read_text().replace('"task"', '"mood": [1], "task"'))
    assert Trajectory.load(path).task == "x" and read(path).ended
