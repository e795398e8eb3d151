"""The messages to pages: pure changes first, then a real kernel with a scripted endpoint, comms by hand."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_codeagent.bridge.deltas import bounded, output_patches, patch, units
from jupyter_codeagent.bridge.feed import Feed, Origin
from jupyter_codeagent.trajectory import Action, Answer, Attempt, CodeError, Observation, Trajectory
from tests.kernels import LOAD, Screen, agent_page, clean_environment, kernel_page, project, spliced
from tests.messages_server import Turn, serving

# -- changes ---------------------------------------------------------------------------------------

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["", "a", "\U0001f600", "e\u0301"]
)


@given(texts, texts, texts)
def test_a_patch_turns_one_text_into_the_other(begin, old, new):
    for before, after in ((begin + old, begin + new), (begin, begin + new), (begin + old, begin)):
        change = patch(before, after)
        assert (after if change is None else spliced(before, change)) == after


@given(texts, texts)
def test_growing_text_is_sent_once(old, more):
    change = patch(old, old + more)
    assert change is None if not more else change == {"at": units(old), "text": more}


streams = st.builds(
    lambda name, text: {"output_type": "stream", "name": name, "text": text},
    st.sampled_from(["stdout", "stderr"]),
    texts,
)
displays = st.builds(lambda text: {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}, texts)
outputs = st.lists(streams | displays, max_size=5)


@given(outputs, outputs, outputs, texts)
def test_output_patches_turn_one_list_into_the_other(begin, old, new, more):
    grown = [*begin[:-1], {**begin[-1], "text": begin[-1]["text"] + more}] if begin and "text" in begin[-1] else begin
    for before, after in ((begin + old, begin + new), (begin, grown + new)):
        screen = Screen()
        screen.attempts["t", 1] = {"code": "", "outputs": before}
        for change in output_patches(before, after):
            screen.apply(
                {"type": "attempt", "task": "t", "record": {"attempt": 1}, "phase": "running", "outputs": change}
            )
        assert screen.attempts["t", 1]["outputs"] == after


def _stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def _size(value):
    return len(json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize("letter", ["x", "\U0001f600", "\u20ac"])
def test_large_outputs_are_bounded(letter):
    picture = {"output_type": "display_data", "data": {"image/png": "A" * 400_000}, "metadata": {}}
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["last"]}
    kept = bounded([_stream(letter * 10_000_000), picture, picture, *[_stream("y" * 9000)] * 300, error])
    assert _size(kept) < 1_500_000 and len(kept) == 304
    assert "characters left out" in kept[0]["text"] and kept[0]["text"].endswith(letter)
    assert kept[1] == picture and kept[2]["data"] == {
        "text/plain": "An output of 400,200 bytes is too large to be shown here."
    }
    assert kept[-1] == error


def test_a_long_stream_that_grows_costs_little_per_step():
    text, shown, sent = "", [], 0
    for step in range(50):
        text += f"line {step}\n" * 20_000
        now = bounded([_stream(text)], growing=True)
        sent += sum(_size(change) for change in output_patches(shown, now))
        shown = now
    assert sent < 1_000_000


# -- one task --------------------------------------------------------------------------------------


def _task(**more):
    return Trajectory("t", id="abc123", told="asks nobody", cell="0" * 32, **more)


@settings(max_examples=60)
@given(st.lists(texts, max_size=6), st.lists(outputs, max_size=5))
def test_the_messages_rebuild_exactly_the_attempt(pieces, seen):
    trajectory, screen = _task(), Screen()
    feed = Feed(trajectory, Origin("s", "c", "%%agent\nt"))
    attempt = trajectory.current = Attempt(1)
    now = 0.0

    def step():
        nonlocal now
        now += 1
        for message in feed.news(now):
            screen.apply(json.loads(json.dumps(message)))

    step()
    code = ""
    for piece in pieces:
        code += piece
        attempt.action = Action("said", code)
        step()
    trajectory.attempts.append(attempt)
    for found in seen:
        attempt.observation = Observation(found)
        step()
    attempt.action, attempt.observation, attempt.done = (
        Action("said", code),
        Observation(seen[-1] if seen else []),
        True,
    )
    step()
    state = screen.attempts["abc123", 1]
    assert state["code"] == code and state["outputs"] == attempt.observation.outputs and state["phase"] == "done"
    late = Screen()
    for message in feed.whole():
        late.apply(message)
    assert late.attempts == screen.attempts and late.tasks == screen.tasks


def test_nothing_is_sent_where_nothing_changed_and_growth_is_throttled():
    trajectory = _task()
    feed = Feed(trajectory, Origin())
    assert [m["type"] for m in feed.news(0)] == ["task"]
    assert list(feed.news(10)) == []
    attempt = trajectory.current = Attempt(1, Action("", "a"))
    assert [m["type"] for m in feed.news(20)] == ["attempt"]
    attempt.action = Action("", "ab")
    assert list(feed.news(20.01)) == []
    (message,) = feed.news(20.1)
    assert message["code"] == {"at": 1, "text": "b"} and "outputs" not in message
    trajectory.attempts.append(attempt)
    attempt.observation = Observation()
    assert [m["phase"] for m in feed.news(20.101)] == ["running"]
    attempt.done = True
    assert [m["phase"] for m in feed.news(20.102)] == ["done"]
    attempt.accepted = True
    (message,) = feed.news(20.103)
    assert message["record"]["status"] == "accepted" and "code" not in message and "outputs" not in message


def test_code_that_never_becomes_an_attempt_is_told_to_be_withdrawn():
    trajectory = _task()
    feed = Feed(trajectory, Origin())
    trajectory.current = Attempt(1, Action("", "half"))
    list(feed.news(0))
    trajectory.current, trajectory.stopped = None, True
    last = list(feed.news(1))
    assert [m["type"] for m in last] == ["task", "attempt"] and last[0]["record"]["status"] == "stopped"
    assert last[1]["phase"] == "done" and last[1]["record"]["status"] == "failed" and last[1]["record"]["notes"]
    assert list(feed.news(2)) == []


def test_candidates_grow_side_by_side_and_their_numbers_may_come_again():
    trajectory, screen = _task(candidates=3), Screen()
    feed = Feed(trajectory, Origin())

    def step(now):
        messages = list(feed.news(now))
        for message in messages:
            screen.apply(message)
        return messages

    asked = [Attempt(n, Action("", f"code {n}"), round=1, candidate=n, of=3, chosen=False) for n in (1, 2, 3)]
    trajectory.current, trajectory.rivals = asked[0], asked[1:]
    assert [m["record"]["attempt"] for m in step(0) if m["type"] == "attempt"] == [1, 2, 3]
    for attempt in asked:
        attempt.action = Action("", attempt.action.code + " more")
    assert [m["code"]["text"] for m in step(1)] == [" more"] * 3  # none of them waits for the others
    kept = asked[::2]  # the reply of the second failed
    for number, attempt in enumerate(kept, 1):
        attempt.number, attempt.candidate, attempt.of = number, number, 2
    trajectory.current, trajectory.rivals = kept[0], []
    trajectory.attempts = kept
    withdrawn = step(2)[-1]
    assert (withdrawn["record"]["attempt"], withdrawn["phase"], withdrawn["record"]["status"]) == (3, "done", "failed")
    for attempt in kept:
        attempt.observation, attempt.done, attempt.reason = Observation(), True, "Because."
    kept[0].chosen = True
    step(3)
    assert [screen.attempts["abc123", n]["code"] for n in (1, 2)] == ["code 1 more", "code 3 more"]
    assert [screen.attempts["abc123", n]["record"]["chosen"] for n in (1, 2)] == [True, False]
    trajectory.current = Attempt(3, Action("", "code of the next round"))
    (message,) = step(4)
    assert message["phase"] == "writing" and message["code"] == {"at": 0, "text": "code of the next round"}


def test_what_may_become_the_answer_is_shown_while_it_is_written():
    trajectory = _task()
    feed = Feed(trajectory, Origin())
    trajectory.current = Attempt(1, Action("The sum"))
    assert [m["record"]["answer"] for m in feed.news(0)] == ["The sum"]
    trajectory.current = None
    trajectory.answers.append(Answer(Action("The sum is 42.")))
    assert [(m["record"]["answer"], m["record"]["status"]) for m in feed.news(0.1)] == [("The sum is 42.", "solved")]


def test_lone_surrogates_and_pictures_from_elsewhere_do_not_reach_a_page():
    trajectory = _task()
    attempt = Attempt(1, Action("look ![x](http://evil) <script>", "x = '\ud800'"), done=True)
    attempt.observation = Observation([_stream("\udfff")], CodeError("E", "v"), notes=("n\ud800",))
    trajectory.attempts.append(attempt)
    sent = list(Feed(trajectory, Origin()).news(0))
    json.dumps(sent, ensure_ascii=False).encode()
    assert "![" not in sent[1]["record"]["explanation"] and "<script" not in sent[1]["record"]["explanation"]


def test_a_message_costs_little():
    trajectory = _task()
    trajectory.attempts = [
        Attempt(n, Action("why", "x = 1\n" * 50), Observation([_stream("y" * 100_000)]), done=True) for n in range(1, 6)
    ]
    feed = Feed(trajectory, Origin())
    list(feed.news(0))
    attempt = trajectory.current = Attempt(6, Action("", ""))
    began = time.perf_counter()
    for step in range(200):
        attempt.action = Action("", "x" * step)
        list(feed.news(1.0 + step))
    assert (time.perf_counter() - began) / 200 < 0.005


# -- a kernel --------------------------------------------------------------------------------------

SUM = "total = sum(int(line) for line in open('sales.csv').read().split()[1:])\ntotal"
TURNS = [Turn("First try.", code="totall"), Turn("Once more.", code=SUM), Turn(answer="The sum is **42**.")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return project(tmp_path_factory.mktemp("bridge"))


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def front(place, server):
    with agent_page(place, server.url) as made:
        yield made


@pytest.fixture(autouse=True)
def fresh(request):
    if "front" in request.fixturenames:
        front, server = request.getfixturevalue("front"), request.getfixturevalue("server")
        server.turns, server.requests[:] = [], []
        front.events.clear()
        front.control.clear()


def shown(messages):
    screen = Screen()
    for message in messages:
        screen.apply(message)
    return screen


def test_the_comm_is_opened_once_at_load(front):
    assert [o["data"] for o in front.opened if o["target_name"] == "jupyter_codeagent"] == [{"version": 1}]
    front.run(LOAD)
    assert len([o for o in front.opened if o["target_name"] == "jupyter_codeagent"]) == 1


def test_a_task_comes_as_messages_in_their_order(front, server):
    server.turns = [TURNS[0], Turn("Once more.", code=SUM, pace=0.01), TURNS[2]]
    front.run("%%agent\nsum the amounts", cell="cell-1")
    assert front.events[0]["type"] == "task" and front.events[0]["record"]["status"] == "running"
    assert front.events[0]["source"] == "%%agent\nsum the amounts" and not front.events[0]["replayed"]
    assert {m["session"] for m in front.events} == {front.session} and {m["cell"] for m in front.events} == {"cell-1"}
    last = front.events[-1]
    assert last["type"] == "task" and last["record"]["status"] == "solved"
    assert last["record"]["answer"] == "The sum is **42**."
    phases = [(m["record"]["attempt"], m["phase"]) for m in front.events if m["type"] == "attempt"]
    assert list(dict.fromkeys(phases)) == [(n, p) for n in (1, 2) for p in ("writing", "running", "done")]
    screen = shown(front.events)
    first, second = screen.attempts.values()
    assert first["code"] == "totall" and first["record"]["status"] == "failed" and first["record"]["rolled_back"]
    assert first["record"]["explanation"] == "First try." and first["outputs"][-1]["ename"] == "NameError"
    assert second["code"] == SUM and second["outputs"][-1]["data"]["text/plain"] == "42"
    assert last["record"]["told"].endswith("by name and type.") and last["record"]["tier"] == "A"


def test_a_page_that_comes_later_gets_all(front, server):
    server.turns = list(TURNS)
    front.run("%%agent --again\nsum the amounts", cell="cell-2")
    task = front.events[0]["task"]
    before = shown(front.events)
    reply = front.ask("sync", cells=["cell-2"], tasks=["nosuch"])
    assert reply["ok"] and reply["known"] == [task]
    after = shown(m for m in front.control if "type" in m)
    assert after.attempts == before.attempts and after.tasks == before.tasks


def test_only_a_button_asks_the_model_anew_and_no_metadata_that_a_notebook_brings(front, server):
    server.turns = [*TURNS, Turn(answer="anew")]
    source = "%%agent --again\nsum the amounts once more"
    front.run(source, cell="cell-again")
    source, asked = source.replace(" --again", ""), len(server.requests)
    for claimed in (True, "true", 1, "", None, ["x"], "0" * 32):
        front.run(source, cell="cell-again", jupyter_codeagent={"role": "task", "again": claimed})
    assert len(server.requests) == asked
    word = front.ask("sync", cells=[], tasks=[])["again"]
    front.run(source, cell="cell-again", jupyter_codeagent={"again": word})
    assert len(server.requests) == asked + 1


def test_candidates_come_with_the_choice_and_another_can_be_chosen(front, server):
    codes = ["way = 1", "way = 1 + 1"]
    server.turns = [Turn("", code=codes[0], pace=0.01), Turn("", code=codes[1]), *[Turn(answer="done")] * 2]
    front.run("%%agent --candidates 2\nfind a way", cell="cell-candidates")
    assert front.events[0]["record"]["candidates"] == 2
    task, screen = front.events[0]["task"], shown(front.events)
    records = [screen.attempts[task, number]["record"] for number in (1, 2)]
    assert [(r["round"], r["of"], r["chosen"], r["status"]) for r in records] == [
        (1, 2, True, "succeeded"),
        (1, 2, False, "succeeded"),
    ]
    assert records[0]["reason"] == "Candidate 1 of 2 was chosen: smaller." and records[1]["rolled_back"]
    reply = front.ask("choose", task=task, attempt=2)
    assert reply["ok"] and "The sandbox follows" in reply["text"]
    front.run("1")
    records = [state["record"] for state in shown(front.events).attempts.values()]
    assert [r["chosen"] for r in records] == [False, True] and records[1]["reason"] == "Chosen by the user."
    assert not front.ask("choose", task=task, attempt=2)["ok"]
    assert front.ask("info")["candidates"] == 1


def test_ten_megabytes_of_output_stay_small_and_quick(front, server):
    code = "for i in range(97):\n    print('x' * 99_999)"
    server.turns = [Turn("", code=code), Turn(answer="done")]
    front.run("%%agent\nprint much", cell="cell-3")
    sent = [m for m in front.events if m["type"] == "attempt"]
    assert sum(_size(m) for m in sent) < 3_000_000
    ((text,),) = [[o["text"] for o in state["outputs"]] for state in shown(front.events).attempts.values()]
    assert len(text) < 600_000 and "characters left out" in text


def test_an_edited_attempt_is_told_with_its_new_hash(front, server):
    server.turns = list(TURNS)
    front.run("%%agent --again\nsum the amounts", cell="cell-4")
    task, old = front.events[0]["task"], front.events[-2]["record"]["hash"]
    front.events.clear()
    cell = front.run(f"%%attempt {task}.2\ntotal = 7\ntotal", cell="cell-4-2")
    assert "7" in cell.displays[-1]["data"]["text/plain"]
    (message,) = (m for m in front.events if m["type"] == "attempt")
    assert message["record"]["status"] == "edited" and message["record"]["hash"] != old
    assert "outputs" not in message and "code" not in message and message["cell"] == "cell-4"
    front.run(f"%%attempt {task}.2\noops", cell="cell-4-2")
    assert [m for m in front.events if m["type"] == "attempt"][-1]["record"]["status"] == "failed"


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "sync",
        {},
        {"request": 5, "type": "sync"},
        {"request": "r", "type": "explode"},
        {"request": "r", "type": {"a": 1}},
        {"request": "r", "type": "sync", "cells": "all"},
        {"request": "r", "type": "sync", "cells": [1], "tasks": [{}]},
        {"request": "r", "type": "sync", "tasks": ["x" * 10_000]},
    ],
)
def test_a_bad_request_gets_one_sentence(front, data):
    named = data["request"] if isinstance(data, dict) and isinstance(data.get("request"), str) else ""
    reply = front.ask_raw(data, named)
    assert reply["ok"] is False and reply["text"].endswith(".") and len(reply["text"]) < 200
    assert "Traceback" not in reply["text"]


@pytest.mark.parametrize("data", [None, [], "x", {"session": 5}, {"version": 9, "session": "s" * 100_000}])
def test_a_strange_page_may_open_and_gets_answers(front, data):
    mine = front.control_id
    front.open_control(data)
    assert front.ask("sync")["known"] == []
    front.close_comm(front.control_id)
    front.control_id = mine


def test_what_is_sent_on_the_kernels_comm_is_passed_over(front):
    front.send_on(front.comm, {"type": "stop"})
    assert front.run("1").reply["status"] == "ok" and front.control == []


def test_unloading_closes_the_comm_and_loading_opens_another(place):
    with kernel_page(place, clean_environment(place.parent)) as front:
        front.run(LOAD)
        first = front.comm
        front.run("%unload_ext jupyter_codeagent")
        assert [m["content"]["comm_id"] for m in front.all if m["msg_type"] == "comm_close"] == [first]
        cell = front.run(LOAD)
        assert front.comm != first and cell.text == "" and cell.errors == []


def test_a_front_end_that_closes_what_it_does_not_know_hurts_no_other(front, server):
    front.close_comm(front.comm)
    info = front.request("comm_info_request", {"target_name": "jupyter_codeagent"})
    assert list(info["comms"]) == [front.comm]
    server.turns = [Turn(answer="done")]
    front.run("%%agent --again\nsay done")
    assert front.events[-1]["record"]["status"] == "solved"


def test_a_closed_control_comm_is_no_longer_attached(place, server):
    environment = {**clean_environment(place.parent), "ANTHROPIC_BASE_URL": server.url}
    server.turns = [Turn("x", code="1 + 1"), Turn(answer="two"), Turn("x", code="2 + 2"), Turn(answer="four")]
    with kernel_page(place, environment) as front:
        front.run(LOAD)
        front.attach()
        cell = front.run("%%agent --again\nadd")
        assert "1 + 1" not in cell.displays[-1]["data"]["text/html"]
        front.close_comm(front.control_id)
        cell = front.run("%%agent --again\nadd more")
        assert "jca-code" in cell.displays[-1]["data"].get("text/html", "jca-code")


def test_figures_of_a_running_cell_are_not_shown_by_a_request(front):
    front.run("%matplotlib inline\nimport matplotlib.pyplot as plt, time")
    request = front.send("plt.plot([1, 2])\ntime.sleep(1)\nprint('end')")
    front.during(0.3)
    front.ask("sync", cells=[], tasks=[])
    cell = front.collect(request)
    assert [list(d["data"]) for d in cell.displays] and "image/png" in cell.displays[-1]["data"]


def test_loading_in_a_kernel_is_quiet(place):
    with kernel_page(place, clean_environment(place.parent)) as front:
        for line in (LOAD, LOAD, "%unload_ext jupyter_codeagent", LOAD, "%reload_ext jupyter_codeagent"):
            cell = front.run(line)
            assert cell.reply["status"] == "ok" and cell.errors == []
            assert cell.text == "" or "already loaded" in cell.text
