"""Cells on the sandboxed kernel: outputs, states, questions, interrupts, and ends."""

import os
import signal

import pytest

from tests.sandboxed_kernel.notebook import descendants, gone, notebook_on


def value(notebook, code):
    """Return the text of the value of `code`."""
    return notebook.run(code).displays[-1]["data"]["text/plain"]


def test_a_cell_has_its_streams_value_and_number(notebook):
    cell = notebook.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert cell.text == "out\nerr\n"
    assert cell.displays[-1]["data"] == {"text/plain": "42"}
    assert cell.reply["status"] == "ok"
    assert cell.displays[-1]["execution_count"] == cell.reply["execution_count"]


def test_values_are_kept_under_the_number_that_the_cell_shows(notebook):
    count = notebook.run("'kept'").reply["execution_count"]
    notebook.run("1 / 0")
    assert value(notebook, f"Out[{count}], _{count}, In[{count}]") == "('kept', 'kept', \"'kept'\")"


def test_an_error_has_its_traceback_and_keeps_what_was_set(notebook):
    cell = notebook.run("set_before = 1\nundefined_name")
    assert cell.reply["status"] == "error" and cell.errors[0]["ename"] == "NameError"
    assert "undefined_name" in "".join(cell.errors[0]["traceback"])
    assert value(notebook, "set_before") == "1"


def test_a_silent_cell_shows_nothing_and_has_no_number(notebook):
    before = notebook.run("1").reply["execution_count"]
    reply = notebook.request("execute_request", {"code": "print('x'); quietly = 5; quietly", "silent": True})
    assert reply["status"] == "ok"
    after = notebook.run("quietly")
    assert after.reply["execution_count"] == before + 1
    assert not [m for m in notebook.all if m["msg_type"] == "stream" and m["content"]["text"] == "x\n"]


def test_expressions_are_evaluated_inside_and_change_nothing(notebook):
    notebook.run("items = [1, 2]")
    content = {"code": "pass", "user_expressions": {"n": "len(items)", "bad": "nope", "pop": "items.pop()"}}
    found = notebook.request("execute_request", content)["user_expressions"]
    assert found["n"]["data"] == {"text/plain": "2"} and found["bad"]["ename"] == "NameError"
    assert value(notebook, "items") == "[1, 2]"


def test_a_queued_cell_is_left_out_after_an_error(notebook):
    first, second = notebook.send("import time; time.sleep(0.3); 1 / 0"), notebook.send("after_error = 1")
    notebook.collect(first)
    notebook.until(lambda: second in notebook.replies)
    assert notebook.replies[second]["status"] == "aborted"
    assert notebook.run("'after_error' in globals()").displays[-1]["data"]["text/plain"] == "False"


def test_the_notebooks_folder_is_the_working_folder(notebook):
    assert notebook.run("print(open('data.csv').read())").text == "amount\n20\n22\n\n"


def test_a_progress_bar_and_a_display_are_updated_in_place(notebook):
    code = (
        "import time\nfrom IPython.display import display\nh = display('one', display_id='known')\ntime.sleep(0.3)\n"
        "h.update('two')\nprint('0%', end='')\ntime.sleep(0.3)\nprint('\\r99%')"
    )
    cell = notebook.run(code)
    assert [d["data"]["text/plain"] for d in cell.displays] == ["'one'", "'two'"]
    ids = {d["transient"]["display_id"] for d in cell.displays}
    assert len(ids) == 1 and "known" not in ids
    assert cell.text == "0%\r99%\n"


def test_help_is_for_the_pager(notebook):
    cell = notebook.run("len?")
    assert "Return the number of items" in cell.reply["payload"][0]["data"]["text/plain"]


def test_input_is_refused_in_one_sentence(notebook):
    assert "input() is not available in the sandbox" in notebook.run("input('name')").errors[0]["evalue"]


def test_widgets_say_that_they_do_not_work(notebook):
    pytest.importorskip("ipywidgets")
    cell = notebook.run("import ipywidgets\nipywidgets.IntSlider()")
    assert cell.text.count("Interactive widgets do not work") == 1
    assert cell.displays[-1]["data"]["text/plain"] == "IntSlider(value=0)"


ODD = """
class Odd:
    def __dir__(self):
        looked.append(1)
        return ['alpha', 'beta']
looked = []
odd = Odd()
"""
BAD = """
class Bad:
    def __dir__(self):
        {body}
    def __getattr__(self, name):
        raise SystemExit
bad = Bad()
kept = 3
"""


def test_questions_are_answered_by_a_copy(notebook):
    notebook.run(ODD)
    reply = notebook.ask_shell("complete", code="odd.al", cursor_pos=6)
    assert [m.lstrip(".") for m in reply["matches"]] == ["alpha"]
    assert value(notebook, "looked") == "[]"
    assert "Odd" in notebook.ask_shell("inspect", code="odd", cursor_pos=3)["data"]["text/plain"]
    assert notebook.ask_shell("is_complete", code="for x in y:") == {"status": "incomplete", "indent": "    "}


@pytest.mark.parametrize(
    "body", ["while True: pass", "import os; os._exit(1)", "return [3, None]", r"return ['\x1b[2Ja' * 9]"]
)
def test_hostile_completions_are_bounded_and_clean(notebook, body):
    notebook.run(BAD.format(body=body))
    reply = notebook.ask_shell("complete", code="bad.", cursor_pos=4)
    assert reply["status"] == "ok" and not any("\x1b" in match for match in reply["matches"])
    assert value(notebook, "kept") == "3"


def test_undo_takes_back_the_last_cells(notebook):
    notebook.run("table = [1]")
    notebook.run("table.append(2)")
    count = notebook.run("table = None").reply["execution_count"]
    assert notebook.run("%undo").text == f"Undone: cell [{count}].\n"
    assert value(notebook, "table") == "[1, 2]"
    notebook.run("%undo 2")
    assert value(notebook, "table") == "[1]"


def test_undo_leaves_out_what_a_front_end_runs_unseen(notebook):
    notebook.run("seen = 1")
    count = notebook.run("seen = 2").reply["execution_count"]
    notebook.request("execute_request", {"code": "unseen = 3", "silent": True})
    assert notebook.run("%undo").text == f"Undone: cell [{count}].\n"
    assert value(notebook, "seen") == "1"


def test_undo_of_nothing_or_nonsense_is_one_sentence(own):
    assert "nothing to undo" in own.run("%undo").text
    assert own.run("%undo {x}").text.startswith("UsageError: %undo is followed by a number of cells")


def test_a_thread_of_the_code_forbids_neither_questions_nor_undo(own):
    own.run("import threading, time\nkept = [1]")
    own.run("worker = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nworker.start()")
    reply = own.ask_shell("complete", code="kep", cursor_pos=3)
    assert reply["matches"] == ["kept"]
    own.run("kept.append(2)")
    cell = own.run("%undo")
    assert "Undone: cell [3]" in cell.text and "again" in cell.text  # there was no copy to go back to
    assert value(own, "kept, worker.is_alive()") == "([1], True)"


def test_a_lost_process_costs_one_cell(notebook):
    notebook.run("kept = 'before'")
    cell = notebook.run("kept = 'after'\nimport os\nos.kill(os.getpid(), 9)")
    assert cell.errors[0]["ename"] == "Crashed" and "as it was before this code" in cell.text
    assert value(notebook, "kept") == "'before'"


def test_the_stop_button_ends_the_cell_and_keeps_the_state(notebook):
    request = notebook.send("import time\nsteps = 0\nprint('go')\nwhile True:\n    steps += 1; time.sleep(0.01)")
    cell = notebook.interrupt_when("go", request)
    assert cell.errors[0]["ename"] == "Interrupted"
    assert value(notebook, "steps > 0") == "True"


def test_a_restart_begins_anew_and_a_shutdown_leaves_no_process(environment, tmp_path):
    with notebook_on(environment, tmp_path) as notebook:
        notebook.run("kept = 1")
        first = descendants(notebook.pid)
        notebook.manager.restart_kernel()
        notebook.client.wait_for_ready(timeout=60)
        assert gone(first)
        assert notebook.run("kept").errors[0]["ename"] == "NameError"
        pids = [notebook.pid, *descendants(notebook.pid)]
        notebook.manager.shutdown_kernel()
        assert len(pids) > 2 and gone(pids)


def test_a_killed_kernel_leaves_no_process(environment, tmp_path):
    with notebook_on(environment, tmp_path) as notebook:
        notebook.run("import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)")
        pids = descendants(notebook.pid)
        os.kill(notebook.pid, signal.SIGKILL)
        assert len(pids) > 3 and gone(pids)


def test_two_kernels_do_not_meet(environment, tmp_path):
    with notebook_on(environment, tmp_path) as one, notebook_on(environment, tmp_path) as other:
        one.run("mine = 1\nopen('written.txt', 'w').write('x')")
        assert other.run("mine").errors[0]["ename"] == "NameError"
        assert value(other, "__import__('os').path.exists('written.txt')") == "False"
        one.manager.shutdown_kernel(now=True)
        assert value(other, "6 * 7") == "42"


def test_limits_come_from_the_configuration(environment, tmp_path):
    arguments = ["--SandboxKernel.timeout=1", "--SandboxKernel.memory=536870912"]
    with notebook_on(environment, tmp_path, arguments) as notebook:
        assert notebook.run("while True: pass").errors[0]["ename"] == "TimedOut"
        assert notebook.run("x = bytearray(10**9)").errors[0]["ename"] == "MemoryError"
