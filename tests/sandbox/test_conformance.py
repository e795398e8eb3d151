"""What every sandbox does, on this machine or behind a Jupyter server: one list of checks for both."""

import threading
from dataclasses import replace

import pytest

from jupyter_codeagent.errors import NotPlainData, SandboxDied, WrongUse
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.sandbox.remote import RemoteSandbox
from tests.sandbox.servers import TOKEN

MIB = 2**20
LIMITS = {"timeout": 3, "memory": 512 * MIB, "processes": 64, "disk": 64 * MIB, "output": MIB}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("work")
    (made / "data.csv").write_text("a,b\n1,2\n")
    (made / ".env").write_text("KEY=secret")
    (made / "deep").mkdir()
    (made / "deep" / "helper.py").write_text("def answer():\n    return 42\n")
    return made


@pytest.fixture(scope="module", params=["local", "remote"])
def make(request):
    """Makes sandboxes of one of the two kinds."""
    if request.param == "local":
        return Sandbox
    server = request.getfixturevalue("jupyter_server")
    return lambda policy: RemoteSandbox(server.url, policy, token=TOKEN)


@pytest.fixture(scope="module")
def shared(make, folder):
    with make(SandboxPolicy(workspace=folder, **LIMITS)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    return shared


@pytest.fixture
def patient(sandbox):
    """The same sandbox, with time to load large libraries on a machine that is busy."""
    before = sandbox.policy
    sandbox.policy = replace(before, timeout=60)
    yield sandbox
    sandbox.policy = before


def ends(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is not None, seen
    return seen.error.ename


# -- outputs ---------------------------------------------------------------------------------------


def test_streams_and_the_last_value_come_in_order(sandbox):
    seen = sandbox.execute("print(1); 1 + 1")
    assert [o["output_type"] for o in seen.outputs] == ["stream", "execute_result"]
    assert (seen.text, seen.error) == ("1\n2\n", None)
    assert seen.duration > 0


def test_await_magics_commands_and_descriptors_are_heard(sandbox):
    assert sandbox.execute("import asyncio; await asyncio.sleep(0.01); 5").text == "5\n"
    assert sandbox.execute("!echo hello").text == "hello\n"
    assert "raw" in sandbox.execute("import os; os.write(2, b'raw\\n')").text
    assert sandbox.execute("print('\\ud800 \\x1b[31mred\\x1b[0m \\u202e')").outputs[0]["text"].count("\x1b") == 2


def test_a_frame_has_a_table_and_a_figure_an_image(patient):
    table = patient.execute("import pandas as pd; pd.DataFrame({'a': [1]})").outputs[0]["data"]
    assert "<table" in table["text/html"] and "<style" not in table["text/html"]
    figure = patient.execute("import matplotlib.pyplot as plt; _ = plt.plot([1, 2])").outputs[-1]["data"]
    assert figure["image/png"].startswith("iVBOR")


def test_an_update_and_a_clear_change_what_was_shown(sandbox):
    seen = sandbox.execute("h = display(1, display_id='x'); display(2); h.update(3)")
    assert [o["data"]["text/plain"] for o in seen.outputs] == ["3", "2"]
    assert sandbox.execute("h.update(4)").outputs == []
    code = "from IPython.display import clear_output\nprint(1); clear_output(wait=True); print(2)"
    assert sandbox.execute(code).text == "2\n"


def test_output_streams_while_code_runs(sandbox):
    texts = [seen.text for seen in sandbox.stream("import time\nfor i in range(4): print(i); time.sleep(0.2)")]
    assert len(set(texts)) >= 3
    assert texts[-1] == "0\n1\n2\n3\n"


def test_new_names_are_described(sandbox):
    assert sandbox.execute("n = 3; _hidden = 1").names == {"n": "int 3"}


def test_imported_packages_are_told_once_and_again_after_a_rollback(sandbox):
    here = sandbox.checkpoint()
    assert "yaml" in sandbox.execute("import json, yaml").modules
    assert sandbox.execute("import yaml").modules == ()
    sandbox.rollback(here)
    assert "yaml" in sandbox.execute("import yaml").modules


def test_an_error_names_the_users_frames(sandbox):
    sandbox.execute("def half(x):\n    return 1 / x")
    seen = sandbox.execute("a = 1\nhalf(0)")
    assert (seen.error.ename, seen.error.evalue) == ("ZeroDivisionError", "division by zero")
    assert [(f.line, f.function, f.source) for f in seen.error.frames] == [
        (2, "", "half(0)"),
        (2, "half", "return 1 / x"),
    ]
    assert seen.outputs[-1]["output_type"] == "error" and seen.error.traceback


def test_both_kinds_give_the_same_observation(sandbox, folder):
    code = "print('x'); display({'a': 1}); import sys; print('e', file=sys.stderr); v = [1]; v"
    with Sandbox(SandboxPolicy(workspace=folder, **LIMITS)) as other:
        here, there = other.execute(code), sandbox.execute(code)
    assert (here.outputs, here.error, here.notes, here.names) == (there.outputs, there.error, there.notes, there.names)


def test_code_that_is_no_text_is_refused_in_a_sentence(sandbox):
    with pytest.raises(WrongUse, match="The code is of the type int; give Python as text"):
        sandbox.execute(5)
    assert sandbox.execute("5").text == "5\n"


# -- ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("import os; os._exit(3)", "Crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "Crashed"),
        ("while True: pass", "TimedOut"),
        ("!sleep 60", "TimedOut"),
        ("while True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass", "TimedOut"),
        ("while True: print('x' * 1000)", "OutputLimit"),
        ("import os\nwhile True: os.fork()", "ProcessLimit"),
    ],
)
def test_a_bad_end_has_a_name_and_leaves_a_usable_state(sandbox, code, ename):
    sandbox.execute("kept = [1]")
    seen = sandbox.execute("print('before'); kept.append(2)\n" + code)
    assert seen.error is not None and seen.error.ename == ename
    assert seen.text.startswith("before\n") or ename != "TimedOut"
    assert sandbox.execute("kept").text in (
        ("[1]\n",) if ename in ("Crashed", "ProcessLimit") else ("[1]\n", "[1, 2]\n")
    )


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("bytearray(2**30)", "memory limit is 512 MiB"),
        ("f = open('/tmp/full', 'wb')\nwhile True: f.write(bytes(2**20))", "disk limit is 64 MiB"),
    ],
)
def test_a_limit_that_raises_is_explained(sandbox, code, note):
    seen = sandbox.execute(code)
    assert seen.error is not None
    assert any(note in sentence for sentence in seen.notes), seen


# -- stopping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["while True: pass", "!sleep 60"])
def test_interrupt_from_another_thread_stops_the_code(sandbox, code):
    timer = threading.Timer(0.5, sandbox.interrupt)
    timer.start()
    assert ends(sandbox, code) == "Interrupted"
    timer.join()
    assert sandbox.execute("1").text == "1\n"


def test_an_interrupt_while_nothing_executes_does_nothing(sandbox):
    sandbox.interrupt()
    assert sandbox.execute("1 + 1").text == "2\n"


def test_ctrl_c_stops_the_code_and_is_raised_again(sandbox):
    import signal

    main = threading.main_thread().ident
    timer = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
    seen = []
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        seen.extend(sandbox.stream("print('on')\nwhile True: pass"))
    timer.join()
    assert sandbox.execute("2").text == "2\n"


def test_leaving_a_stream_early_leaves_nothing(sandbox):
    sandbox.execute("x = 1")
    for _ in sandbox.stream("x = 2\nimport time\nprint('go', flush=True)\ntime.sleep(60)"):
        break
    assert sandbox.execute("x").text == "1\n"


# -- states ------------------------------------------------------------------------------------------


def test_rollback_restores_variables_in_place_changes_included(sandbox):
    sandbox.execute("items = [1]")
    here = sandbox.checkpoint()
    sandbox.execute("items.append(2); new = 1; import os; os.environ['X'] = '1'; os.chdir('/tmp'); 1/0")
    sandbox.rollback(here)
    seen = sandbox.execute("import os; print(items, 'new' in dir(), os.environ.get('X'), os.getcwd() != '/tmp')")
    assert seen.text == "[1] False None True\n"
    here.drop()


def test_a_checkpoint_serves_many_times_and_until_it_is_dropped(sandbox):
    sandbox.execute("x = 0")
    here = sandbox.checkpoint()
    for turn in range(3):
        sandbox.execute(f"x = {turn} + 1")
        sandbox.rollback(here)
        assert sandbox.execute("x").text == "0\n"
    here.drop()
    here.drop()
    with pytest.raises(ValueError, match="dropped"):
        sandbox.rollback(here)


def test_checkpoints_nest_and_survive_a_reset(sandbox):
    points = []
    for value in range(3):
        sandbox.execute(f"x = {value}")
        points.append(sandbox.checkpoint())
    sandbox.reset()
    assert ends(sandbox, "x") == "NameError"
    for value in (2, 0, 1):
        sandbox.rollback(points[value])
        assert sandbox.execute("x").text == f"{value}\n"


def test_a_rehearsal_leaves_the_live_state_alone(sandbox):
    sandbox.execute("x = 1")
    here = sandbox.checkpoint()
    sandbox.execute("x = 2")
    seen = sandbox.rehearse(here, ["y = x + k", "y", "1/0", "never"], {"k": 10})
    assert [s.error and s.error.ename for s in seen] == [None, None, "ZeroDivisionError"]
    assert seen[1].text == "11\n"
    assert sandbox.execute("print(x, 'y' in dir())").text == "2 False\n"


def test_a_candidate_can_be_made_the_state(sandbox):
    sandbox.execute("x = 1")
    here = sandbox.checkpoint()
    found = sandbox.candidates(here, ["x += 1", "import os; os._exit(1)", "x += 2"])
    assert [c.observation.error and c.observation.error.ename for c in found] == [None, "Crashed", None]
    assert sandbox.execute("x").text == "1\n"
    sandbox.rollback(found[2].checkpoint)
    assert sandbox.execute("x").text == "3\n"


def test_candidates_are_watched_side_by_side(sandbox):
    here = sandbox.checkpoint()
    slow = "import time\nfor i in range(3): print(i, flush=True); time.sleep(0.2)"
    trial, seen = sandbox.try_out(here, [slow, "1/0"]), []
    while True:
        try:
            seen.append(next(trial))
        except StopIteration as end:
            found = end.value
            break
    assert any(not over for step in seen for _, over in step)
    assert [c.observation.error and c.observation.error.ename for c in found] == [None, "ZeroDivisionError"]
    assert found[0].observation.text == "0\n1\n2\n"
    assert sandbox.candidates(here, []) == []
    here.drop()
    with pytest.raises(ValueError, match="was dropped"):
        sandbox.candidates(here, ["1"])


def test_an_interrupt_stops_all_candidates(sandbox):
    here = sandbox.checkpoint()
    timer = threading.Timer(0.7, sandbox.interrupt)
    timer.start()
    found = sandbox.candidates(here, ["while True: pass"] * 2)
    timer.join()
    assert [c.observation.error.ename for c in found] == ["Interrupted"] * 2
    assert sandbox.execute("1").text == "1\n"


def test_leaving_candidates_early_leaves_nothing(sandbox):
    sandbox.execute("x = 1")
    trial = sandbox.try_out(sandbox.checkpoint(), ["print(x, flush=True)\nwhile True: pass"] * 2)
    next(trial)
    trial.close()
    assert sandbox.execute("x").text == "1\n"


# -- values and files --------------------------------------------------------------------------------


def test_values_are_copies(patient):
    import numpy as np
    import pandas as pd

    frame, array, nested = pd.DataFrame({"a": [1, 2], "s": ["x", "y"]}), np.arange(5), {"k": [1, {2}]}
    values = {"frame": frame, "array": array, "nested": nested}
    seen = patient.execute(
        "frame.loc[0, 'a'] = 9; array += 1; nested['k'].append(3); print(frame.a.sum(), array.sum(), nested)", values
    )
    assert seen.text == "11 15 {'k': [1, {2}, 3]}\n"
    assert list(frame.a) == [1, 2] and array.sum() == 10 and nested == {"k": [1, {2}]}


def test_a_value_that_cannot_be_copied_is_named(sandbox):
    with pytest.raises(NotPlainData, match="'lock' was not passed"):
        sandbox.put("lock", threading.Lock())
    with pytest.raises(NotPlainData, match="not a name"):
        sandbox.put("a b", 1)
    assert ends(sandbox, "lock") == "NameError"


def test_fetched_values_are_equal_and_what_is_no_data_stays(patient):
    import numpy as np
    import pandas as pd

    patient.put("given", {"frame": pd.DataFrame({"a": [1, 2], "s": ["x", None]}), "n": [1, None, float("inf")]})
    patient.execute("import numpy as np; array = np.arange(3_000_000); t = (1, {'k'}); f = open('/dev/null')")
    assert patient.fetch("t") == (1, {"k"})
    assert np.array_equal(patient.fetch("array"), np.arange(3_000_000))
    back = patient.fetch("given")
    assert back["n"] == [1, None, float("inf")]
    pd.testing.assert_frame_equal(back["frame"], pd.DataFrame({"a": [1, 2], "s": ["x", None]}))
    for name in ("f", "missing"):
        with pytest.raises(NotPlainData, match=name):
            patient.fetch(name)


def test_a_figure_comes_as_a_picture(patient):
    patient.execute("import matplotlib.pyplot as plt; figure = plt.figure()")
    assert patient.fetch("figure").data.startswith(b"\x89PNG")


def test_the_working_folder_is_there_without_its_secrets(sandbox, folder):
    code = "import os; from deep.helper import answer\nprint(open('data.csv').read(), answer(), os.path.exists('.env'))"
    assert sandbox.execute(code).text == "a,b\n1,2\n 42 False\n"
    here = sandbox.checkpoint()
    sandbox.execute("open('data.csv', 'w').write('changed'); open('new', 'w').write('x')")
    assert sandbox.execute("open('data.csv').read()").text == "'changed'\n"
    sandbox.rollback(here)
    assert (
        sandbox.execute("import os; print(open('data.csv').read(), os.path.exists('new'))").text == "a,b\n1,2\n False\n"
    )
    assert (folder / "data.csv").read_text() == "a,b\n1,2\n" and not (folder / "new").exists()
    assert sandbox.files_note


# -- use by several ------------------------------------------------------------------------------------


def test_threads_wait_for_each_other(sandbox):
    sandbox.execute("n = 0")
    threads = [threading.Thread(target=sandbox.execute, args=("n += 1",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.execute("n").text == "6\n"


def test_use_within_its_own_stream_is_refused(sandbox):
    stream = sandbox.stream("print(1)\nimport time; time.sleep(0.3)")
    next(stream)
    with pytest.raises(RuntimeError, match="is executing"):
        sandbox.checkpoint()
    list(stream)


def test_two_sandboxes_do_not_see_each_other(sandbox, make, folder):
    with make(SandboxPolicy(workspace=folder)) as other:
        sandbox.execute("x = 1; open('/tmp/mine', 'w').write('1')")
        assert ends(other, "x") == "NameError"
        assert other.execute("import os; os.path.exists('/tmp/mine')").text == "False\n"


def test_it_says_what_is_in_force(sandbox):
    assert sandbox.tier == "A"
    assert sandbox.facts["seccomp"] == "2"


def test_a_closed_sandbox_says_so(make, folder):
    sandbox = make(SandboxPolicy(workspace=folder))
    assert sandbox.execute("1").text == "1\n"
    sandbox.close()
    sandbox.close()
    with pytest.raises(SandboxDied, match="closed"):
        sandbox.execute("1")


def test_many_attempts_go_on(sandbox):
    for _ in range(30):
        here = sandbox.checkpoint()
        assert ends(sandbox, "y = 1; 1/0") == "ZeroDivisionError"
        sandbox.rollback(here)
        here.drop()
        assert sandbox.execute("x = 1").error is None
