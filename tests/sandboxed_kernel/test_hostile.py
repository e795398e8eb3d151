"""Cells and clients that try to have something executed, expanded or imported outside the sandbox."""

import json
import uuid
from pathlib import Path

import pytest

from jupyter_codeagent.kernel.lines import commands
from jupyter_codeagent.kernel.shell import Refused, Shell
from tests.sandboxed_kernel.notebook import notebook_on

OUTSIDE = "open({path!r}, 'w').write('x')"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%agent accept {1+1}", "'{1+1}' is not an attempt"),
        ("%agent accept $x", "'$x' is not an attempt"),
        ("%%agent --attempts {x}\ntask", "invalid whole number value: '{x}'"),
        ("%%attempt {x}\ncode", "is followed by TASK.NUMBER, not by '{x}'"),
        ("%config CodeAgent.attempts = __import__('os').getpid()", "cannot be \"__import__('os').getpid()\""),
        ("%config CodeAgent.log = 1", "the names are: attempts"),
        ("%agent status\u2028import os", "%agent has no command 'status"),
    ],
)
def test_nothing_in_the_line_of_a_magic_is_expanded(notebook, cell, said):
    notebook.run("x = 'expanded'")
    seen = notebook.run(cell)
    assert seen.reply["status"] == "error" and said in seen.text and "expanded" not in seen.text


@pytest.mark.parametrize(
    "cell",
    [
        "get_ipython().run_line_magic('agent', 'status')",
        "get_ipython().run_cell_magic('agent', '', 'task')",
        "%agent status\nx = 1",
        "if True:\n    %undo",
        "agent status",
    ],
)
def test_code_has_only_stand_ins_for_the_magics(notebook, cell):
    seen = notebook.run(cell)
    assert "is carried out outside the sandbox; write it in a cell of its own" in str(seen.errors[0]["traceback"])


def test_the_shell_of_a_cell_is_not_that_of_the_kernel(notebook):
    seen = notebook.run(
        "kernel = get_ipython().kernel\nprint([n for n in dir(kernel) if n[0] != '_'])\n__import__('os').getppid()"
    )
    assert seen.text == "['comm_manager']\n" and seen.displays[-1]["data"]["text/plain"] != str(notebook.pid)


def test_expressions_of_a_request_are_not_evaluated_outside(notebook):
    content = {
        "code": "",
        "user_expressions": {"pid": "__import__('os').getpid()", "k": "get_ipython().kernel.x"},
    }
    found = notebook.request("execute_request", content)["user_expressions"]
    assert found["k"]["ename"] == "AttributeError" and found["pid"]["data"]["text/plain"] != str(notebook.pid)


def test_code_cannot_write_the_users_next_cell(notebook):
    seen = notebook.run("get_ipython().set_next_input('%agent save x', replace=True)")
    assert seen.reply["payload"] == []
    assert seen.displays[-1]["data"]["text/plain"] == "%agent save x"


def test_no_output_of_another_cell_can_be_updated(notebook):
    shown = notebook.run("from IPython.display import *\nhandle = display('mine', display_id='same')")
    own = shown.displays[-1]["transient"]["display_id"]
    before = len(notebook.all)
    notebook.run(f"handle.update('theirs')\nupdate_display('theirs', display_id={own!r})")
    assert not [m for m in notebook.all[before:] if m["msg_type"] == "update_display_data"]


def test_the_kernels_connection_is_not_seen_inside(notebook):
    path = notebook.manager.connection_file
    assert "key" in json.loads(Path(path).read_text())
    assert notebook.run(f"open({path!r})").errors[0]["ename"] == "FileNotFoundError"


def test_only_known_comms_are_opened_and_nothing_is_debugged(notebook):
    opened = uuid.uuid4().hex
    content = {"comm_id": opened, "target_name": "os.system", "target_module": "os", "data": {}}
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_open", content))
    notebook.until(
        lambda: any(m["msg_type"] == "comm_close" and m["content"]["comm_id"] == opened for m in notebook.all)
    )
    request = {"type": "request", "seq": 1, "command": "evaluate", "arguments": {"expression": "1"}}
    message = notebook.client.session.msg("debug_request", request)
    notebook.client.control_channel.send(message)
    reply = notebook.client.get_control_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == message["header"]["msg_id"]
    assert reply["content"]["success"] is False
    assert "debugger" not in notebook.ask_shell("kernel_info")["supported_features"]


def test_no_module_configuration_or_startup_file_of_the_folder_is_loaded_outside(environment, tmp_path):
    folder, marker = tmp_path / "project", tmp_path / "marker"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    folder.mkdir()
    startup.mkdir(parents=True)
    names = ("comm", "zmq", "psutil", "tornado", "ipykernel", "traitlets", "ipython_config", "ipython_kernel_config")
    for name in (*names, "jupyter_codeagent", "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(OUTSIDE.format(path=str(marker)))
    (startup / "00.py").write_text(OUTSIDE.format(path=str(marker)))
    with notebook_on({**environment, "IPYTHONDIR": str(tmp_path / "ipython")}, folder) as notebook:
        assert notebook.run("6 * 7").displays[-1]["data"]["text/plain"] == "42"
        assert notebook.run("%agent status").text.startswith("Sandbox: running")
    assert not marker.exists()


def test_the_trusted_shell_refuses_to_execute():
    for name in ("run_cell", "run_line_magic", "ex", "ev", "system", "getoutput", "user_expressions", "var_expand"):
        with pytest.raises(Refused, match="in its sandbox only"):
            getattr(Shell, name)(None, "1")


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("%undo", ["undo"]),
        ("\n  \n%%agent -h\nx", ["agent"]),
        ("# now\n%agent status\n\n%undo 2", ["agent", "undo"]),
        ("%load_ext jupyter_codeagent\n%config CodeAgent.model = 'x'", ["load_ext", "config"]),
        ("%load_ext jupyter_codeagent_other", []),
        ("%load_ext autoreload", []),
        ("%config Application", []),
        ("%%agents\nx", []),
        ("%agentx", []),
        ("x = 1\n%undo", []),
        ("%%time\n%undo", []),
        ("", []),
        ("# only words", []),
    ],
)
def test_only_cells_that_hold_nothing_else_are_ours(code, names):
    assert [command.name for command in commands(code)] == names
