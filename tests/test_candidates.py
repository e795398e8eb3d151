"""Several replies to one ask: asked for in parallel, executed side by side, and one of them chosen."""

import threading
import time

import pytest

from jupyter_codeagent import Action, Agent, Attempt, Sandbox, SandboxPolicy, ScriptedModel, Trajectory, errors, solve
from jupyter_codeagent.api import prepared
from jupyter_codeagent.asking import Replies
from jupyter_codeagent.background import Stoppable
from jupyter_codeagent.checks import expression_check
from jupyter_codeagent.models.anthropic import MessagesModel
from jupyter_codeagent.models.endpoint import Endpoint
from jupyter_codeagent.models.profile import varied
from jupyter_codeagent.models.small import Small
from jupyter_codeagent.models.tools import Tools
from jupyter_codeagent.notebook import attempt_record, task_cells
from jupyter_codeagent.observation import reports
from jupyter_codeagent.trajectory import Observation, Usage
from tests.messages_server import Turn, serving


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Sandbox(SandboxPolicy(workspace=tmp_path_factory.mktemp("work"), timeout=5)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    return shared


def run(sandbox, actions, count=3, checks=(), limit=5):
    """Return the trajectory of a task with `count` candidates."""
    trajectory = Trajectory("t", checks=tuple(map(expression_check, checks)), limit=limit, candidates=count)
    for attempt in Agent(ScriptedModel(actions), sandbox).run(trajectory):
        assert attempt.done and not attempt.undecided
    return trajectory


def codes(*texts):
    return [Action("so", text) for text in texts]


def chosen(trajectory):
    return [a.number for a in trajectory.attempts if a.chosen]


# -- choosing ------------------------------------------------------------------------------------------


def test_the_checks_decide_first(sandbox):
    found = run(sandbox, [codes("x = 1", "x = 10 + 0", "x = 20"), Action("done")], checks=["x > 5", "x < 15"])
    assert found.status == "solved" and chosen(found) == [2]
    assert found.attempts[1].reason == "Candidate 2 of 3 was chosen: passes 2 of 2 checks, more than the others."
    assert [a.reason for a in found.attempts[::2]] == ["Not chosen: passes 1 of 2 checks."] * 2
    assert sandbox.execute("x").text == "10\n"
    assert [a.rolled_back for a in found.attempts] == [True, False, True]
    assert found.kept == [found.attempts[1]]


def test_code_that_fails_comes_after_code_that_does_not(sandbox):
    found = run(sandbox, [codes("1/0", "x = 1234567", "y"), Action("done")])
    assert chosen(found) == [2]
    assert found.attempts[1].reason == "Candidate 2 of 3 was chosen: the only one without an error."
    assert found.attempts[0].reason == "Not chosen: failed with ZeroDivisionError."


def test_the_smaller_code_comes_first_and_comments_do_not_count(sandbox):
    found = run(sandbox, [codes("x = 1 + 1 + 1", "# so it is meant to be, with many words\nx = 3"), Action("done")], 2)
    assert chosen(found) == [2]
    assert found.attempts[1].reason == "Candidate 2 of 2 was chosen: smaller."
    assert found.attempts[0].reason == "Not chosen: larger."


def test_the_faster_comes_first_where_all_else_is_equal(sandbox):
    slow, fast = "import time; time.sleep(0.9)", "import time; time.sleep(0.1)"
    found = run(sandbox, [codes(slow, fast), Action("done")], 2)
    assert chosen(found) == [2]
    assert [a.reason for a in found.attempts] == ["Not chosen: slower.", "Candidate 2 of 2 was chosen: faster."]


def test_where_all_fail_the_nearest_is_what_the_model_goes_on_from(sandbox):
    found = run(sandbox, [codes("1/0", "a = 1\nb = 2\nc", "import os; os._exit(1)"), codes("x = 1"), Action("done")])
    assert chosen(found) == [2, 4]
    assert found.attempts[1].reason == "All 3 candidates failed; this one came nearest."
    assert found.status == "solved" and found.tries == 2
    assert all(a.rolled_back for a in found.attempts[:3])
    assert sandbox.execute("'b' in dir()").text == "False\n"


def test_equal_codes_run_once(sandbox):
    code = "import random; print(random.random())"
    found = run(sandbox, [codes(code, f"{code}  # again", "print(" + "1 + " * 30 + "1)"), Action("done")])
    first, second, _ = found.attempts
    assert first.observation == second.observation
    assert (first.chosen, second.chosen) == (True, False)
    assert second.reason == "Not chosen: the same code as attempt 1."


def test_all_equal_is_said(sandbox):
    found = run(sandbox, [Action("so", "x = 1"), Action("done")])
    assert [a.reason for a in found.attempts[:1]] == ["All 3 candidates are the same code."]


def test_rounds_count_against_the_limit_not_candidates(sandbox):
    found = run(sandbox, [codes("1/0", "2/0"), codes("3/0", "4/0"), codes("5", "6")], 2, limit=2)
    assert len(found.attempts) == 4 and found.status == "failed"
    assert found.reason.startswith("Not solved within 2 attempts of 2 candidates each")


# -- replies -------------------------------------------------------------------------------------------


def test_a_reply_that_fails_does_not_fail_the_others(sandbox):
    found = run(sandbox, [[*codes("x = 1", "x = 22"), errors.BadReply("no")], Action("done")])
    assert [(a.number, a.candidate, a.of) for a in found.attempts] == [(1, 1, 2), (2, 2, 2)]
    found = run(sandbox, [[errors.BadReply("no"), *codes("x = 1")], Action("done")], 2)
    (alone,) = found.attempts
    assert (alone.of, alone.round, alone.chosen, alone.reason) == (1, 0, True, "")


def test_where_all_replies_fail_the_first_is_raised(sandbox):
    with pytest.raises(errors.BadReply, match="first"):
        run(sandbox, [[errors.BadReply("first"), errors.Offline("second")]], 2)


def test_the_first_reply_decides_whether_it_is_the_answer(sandbox):
    found = run(sandbox, [codes("x = 1"), [Action("It is 1."), *codes("x = 2", "x = 3")]])
    assert found.answer == "It is 1." and len(found.attempts) == 1
    found = run(sandbox, [[*codes("x = 1"), Action("It is 1.")], Action("done")], 2)
    assert found.answer == "done" and [a.of for a in found.attempts] == [1]


def test_models_that_take_one_request_at_a_time_are_asked_in_turn():
    asked, running = [], []

    class Slow:
        parallel = False

        def variant(self, number):
            asked.append(number)
            return self

        def stream(self, trajectory):
            running.append(1)
            assert len(running) == 1
            yield Action("so", "x")
            time.sleep(0.05)
            running.pop()

    replies = Replies(Slow(), Trajectory("t"), 3)
    for _ in replies.watch():
        pass
    assert asked == [1, 2, 3] and all(r.done and not r.error for r in replies.replies)


def test_a_model_without_variants_serves_all_candidates():
    class Plain:
        def stream(self, trajectory):
            yield Action("so", "x = 1")

    replies = Replies(Plain(), Trajectory("t"), 2)
    assert list(replies.watch()) and [r.action.code for r in replies.replies] == ["x = 1"] * 2


def test_a_fault_of_a_model_is_not_passed_over():
    model = ScriptedModel([[Action("so", "x"), lambda trajectory: 1 / 0]])
    with pytest.raises(ZeroDivisionError):
        list(Replies(model, Trajectory("t"), 2).watch())


# -- over HTTP -----------------------------------------------------------------------------------------


def over_http(server):
    return MessagesModel("scripted", server.url, "key")


def test_replies_come_in_parallel_and_share_the_prompt(sandbox):
    gate = threading.Event()
    turns = [Turn("so", code="x = 1", hold=gate, held=8), Turn("so", code="x = 22"), Turn("so", code="x = 333")]
    with serving([*turns, *[Turn(answer="done")] * 3]) as server:
        trajectory = Trajectory("t", candidates=3)
        for _ in Agent(over_http(server), sandbox).watch(trajectory):
            if [a.action.code for a in trajectory.growing[1:]] in (["x = 22", "x = 333"], ["x = 333", "x = 22"]):
                gate.set()  # the others came while the first was half written
        assert trajectory.status == "solved" and gate.is_set()
        bodies = [request.body for request in server.requests[:3]]
        assert bodies[0] == bodies[1] == bodies[2]
        assert trajectory.usage.input_tokens >= sum(r.characters // 4 for r in server.requests[:3])
        assert sorted(a.action.code for a in trajectory.attempts) == ["x = 1", "x = 22", "x = 333"]


def test_the_others_wait_until_the_first_begins_to_answer(sandbox):
    gate = threading.Event()
    turns = [Turn("so", code="x = 1", hold=gate), Turn("so", code="x = 2"), Turn(answer="done"), Turn(answer="done")]
    with serving(turns) as server:
        trajectory = Trajectory("t", candidates=2)
        steps = Agent(over_http(server), sandbox).watch(trajectory)
        thread = threading.Thread(target=lambda: list(steps))
        thread.start()
        until(lambda: len(server.requests) == 1)
        time.sleep(0.2)
        assert len(server.requests) == 1
        gate.set()
        thread.join()
        assert trajectory.status == "solved" and len(server.requests) >= 3


def test_one_endpoint_failure_leaves_the_others(sandbox):
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    turns = [Turn("so", code="x = 1"), Turn(status=400, error=refused), Turn(answer="done"), Turn(answer="done")]
    with serving(turns) as server:
        trajectory = Trajectory("t", candidates=2)
        list(Agent(over_http(server), sandbox).run(trajectory))
        assert trajectory.status == "solved" and len(trajectory.attempts) == 1


def test_stopping_ends_all_requests_at_once(sandbox):
    turns = [Turn("so", code="x = 1", hold=threading.Event(), held=8) for _ in range(3)]
    with serving(turns) as server:
        trajectory, stopping = Trajectory("t", candidates=3), threading.Event()
        threading.Thread(target=lambda: (until(lambda: len(server.requests) == 3), stopping.set())).start()
        for _ in Agent(Stoppable(over_http(server), stopping), sandbox).watch(trajectory):
            pass
        assert trajectory.status == "stopped" and trajectory.attempts == []
        until(lambda: all(request.disconnected for request in server.requests))
        assert trajectory.usage.input_tokens > 0  # what was read is paid for


def test_an_interrupt_ends_what_runs_and_what_had_ended_is_chosen(sandbox):
    trajectory, asked = Trajectory("t", candidates=2), []
    model = ScriptedModel([codes("x = 1\nprint('go', flush=True)\nwhile True: pass", "x = 2"), Action("done")])
    for _ in Agent(model, sandbox).watch(trajectory):
        if not asked and "go" in texts(trajectory.attempts) and trajectory.attempts[1].done:
            asked.append(threading.Thread(target=sandbox.interrupt))
            asked[0].start()
    first, second = trajectory.attempts
    assert first.observation.error.ename == "Interrupted" and second.chosen
    assert sandbox.execute("x").text == "2\n"


def texts(attempts):
    return "".join(a.observation.text for a in attempts if a.observation)


def test_leaving_while_they_run_undoes_all(sandbox):
    sandbox.execute("x = 0")
    trajectory = Trajectory("t", candidates=2)
    steps = Agent(ScriptedModel([codes("x = 1\nwhile True: pass", "x = 2\nwhile True: pass")]), sandbox).watch(
        trajectory
    )
    for _ in steps:
        if trajectory.attempts:
            break
    steps.close()
    assert [a.chosen for a in trajectory.attempts] == [False, False]
    assert {a.reason for a in trajectory.attempts} == {"Stopped before one of the candidates was chosen."}
    assert all(a.done and a.rolled_back for a in trajectory.attempts)
    assert sandbox.execute("x").text == "0\n"


def until(holds, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- sampling ------------------------------------------------------------------------------------------


def test_sampling_is_varied_only_where_the_user_fixed_it():
    assert varied(None, 2) is None
    assert varied({"temperature": 0, "seed": 5, "top_k": 3}, 3) == {"temperature": 0.7, "seed": 7, "top_k": 3}
    assert varied({"temperature": 0.2}, 2) == {"temperature": 0.2}


def test_claude_gets_no_temperature():
    profile = Tools(claude=True).varied(3)
    assert "extra_body" not in profile.request(Trajectory("t"), "claude-sonnet-5-5")
    model = MessagesModel("m", "http://127.0.0.1:1", "key")
    assert model.variant(1) is model
    assert model.variant(2) is model.variant(2) is not model
    assert model.variant(2).endpoint == Endpoint("http://127.0.0.1:1", "m", "key")


def test_the_local_model_takes_chances_with_further_candidates():
    first, second = (p.request(Trajectory("t"), "m")["extra_body"] for p in (Small(), Small().varied(2)))
    assert first["temperature"] == 0 and second["temperature"] > 0 and first["seed"] != second["seed"]
    done = Trajectory("t", attempts=[Attempt(1, Action("", "x"), Observation([stdout("4")]), done=True)])
    assert Small().varied(2).request(done, "m")["extra_body"]["temperature"] == 0  # an answer is no place for chance


def stdout(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


# -- what is told --------------------------------------------------------------------------------------


def test_the_model_reads_the_chosen_one_and_a_line_on_each_other(sandbox):
    found = run(sandbox, [codes("x = 1", "1/0", "x = 1234"), Action("done")])
    told = [(entry, blocks[0]["text"]) for entry, blocks in reports(found)]
    assert [entry for entry, _ in told] == [found.attempts[0], found.answers[0]]
    lines = told[0][1].splitlines()
    assert "- attempt 2 failed with ZeroDivisionError: division by zero" in lines
    assert "- attempt 3 succeeded. Not chosen: larger." in lines
    assert any("Candidate 1 of 3 was chosen: smaller." in line for line in lines)


def test_the_record_survives_and_old_ones_load(sandbox):
    found = run(sandbox, [codes("x = 1", "1/0"), Action("done")], 2)
    assert Trajectory.from_dict(found.to_dict()) == found
    old = found.to_dict()
    del old["candidates"], old["spent"]
    for attempt in old["attempts"]:
        for key in ("round", "candidate", "of", "chosen", "reason"):
            del attempt[key]
    loaded = Trajectory.from_dict(old)
    assert loaded.candidates == 1 and loaded.spent == Usage()
    assert loaded.kept == [loaded.attempts[0]]


def test_the_notebook_holds_the_chosen_one_and_the_others_where_asked_for(sandbox):
    found = run(sandbox, [codes("x = 1", "x = 1 + 1"), Action("done")], 2)
    roles = [c.metadata.jupyter_codeagent.role for c in task_cells(found)]
    assert roles == ["task", "explanation", "accepted", "answer"]
    whole = task_cells(found, attempts=True)
    record = whole[3].metadata.jupyter_codeagent
    assert (record.role, record.candidate, record.of, record.chosen, record.round) == ("attempt", 2, 2, False, 1)
    assert "round" not in attempt_record(found, Attempt(9, Action("", "y"), Observation(), done=True), "attempt")


def test_solve_takes_candidates(tmp_path):
    model = ScriptedModel([codes("x = 1", "x = 2"), Action("done")])
    policy = SandboxPolicy(workspace=tmp_path)
    found = solve("t", model=model, candidates=2, checks=["x == 2"], policy=policy)
    assert [a.accepted for a in found.attempts] == [False, True]
    for wrong in (0, 9, True, "2"):
        with pytest.raises(errors.WrongUse, match="candidates is"), prepared("t", candidates=wrong):
            pass
