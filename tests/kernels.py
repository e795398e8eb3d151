"""Real kernels driven as a notebook front end drives them: cell ids, input allowed, comms, requests in subshells."""

from __future__ import annotations

import os
import queue
import time
import uuid
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import KernelManager

LOAD = "%load_ext jupyter_codeagent"
EVENTS, CONTROL = "jupyter_codeagent", "jupyter_codeagent.control"


def clean_environment(folder):
    """Return an environment without the user's own settings; `folder` gets what Jupyter and IPython write."""
    unwanted = ("ANTHROPIC", "JUPYTER_CODEAGENT", "JPY_SESSION_NAME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "JUPYTER_DATA_DIR": str(folder / "data"), "IPYTHONDIR": str(folder / "ipython")}


class Cell:
    """What came of one cell: messages by type, and the reply."""

    def __init__(self):
        self.text, self.reply, self.displays, self.errors = "", {}, [], []


class Page:
    """A kernel as one page of a front end sees it."""

    def __init__(self, client, manager):
        self.client, self.manager = client, manager
        self.cells: dict[str, Cell] = {}
        self.replies: dict[str, Any] = {}
        self.idle: set[str] = set()
        self.events: list[dict[str, Any]] = []  # of the comm that the kernel opens, as they came, with their times
        self.control: list[dict[str, Any]] = []
        self.all: list[dict[str, Any]] = []
        self.comm = self.subshell = ""
        self.opened: list[dict[str, Any]] = []

    @property
    def session(self):
        return self.client.session.session

    def send(self, code, cell="", allow_stdin=True, **metadata):
        """Run a cell as Jupyter's front ends do, without waiting; returns the request's id."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": allow_stdin, "stop_on_error": True}
        known = {"cellId": cell or uuid.uuid4().hex, **metadata}
        message = self.client.session.msg("execute_request", content, metadata=known)
        self.client.shell_channel.send(message)
        self.cells[message["header"]["msg_id"]] = Cell()
        return message["header"]["msg_id"]

    def run(self, code, cell="", timeout=60, **metadata):
        """Run a cell and wait for its end."""
        return self.collect(self.send(code, cell, **metadata), timeout)

    def collect(self, request, timeout=60):
        """Wait for the end of a cell."""
        self.until(lambda: request in self.idle and request in self.replies, timeout)
        cell = self.cells[request]
        cell.reply = self.replies[request]
        return cell

    def until(self, ready, timeout=30):
        """Take messages until `ready`."""
        deadline = time.monotonic() + timeout
        while not ready():
            assert time.monotonic() < deadline, "it took too long"
            self.take(0.02)

    def during(self, seconds):
        """Take messages for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.take(0.02)

    def take(self, timeout):
        """Take what has arrived."""
        try:
            self._iopub(self.client.get_iopub_msg(timeout=timeout))
        except queue.Empty:
            pass
        while self.client.shell_channel.msg_ready():
            message = self.client.get_shell_msg(timeout=1)
            self.replies[message["parent_header"].get("msg_id")] = message["content"]

    def _iopub(self, message):
        self.all.append(message)
        kind, content, parent = message["msg_type"], message["content"], message["parent_header"].get("msg_id")
        if kind == "comm_open":
            self.opened.append(content)
            if content["target_name"] == EVENTS:
                self.comm = content["comm_id"]
        elif kind == "comm_msg":
            (self.events if content["comm_id"] == self.comm else self.control).append(
                {**content["data"], "at": time.monotonic()}
            )
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.add(parent)
        cell = self.cells.get(parent)
        if cell is None:
            return
        if kind == "stream":
            cell.text += content["text"]
        elif kind in ("display_data", "update_display_data", "execute_result"):
            cell.displays.append(content)
        elif kind == "error":
            cell.errors.append(content)

    # -- the control comm -------------------------------------------------------------------------

    def attach(self):
        """Open the control comm in a subshell of its own, as JupyterLab does."""
        session = self.client.session
        message = session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=10)
            if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
                break
        self.subshell = reply["content"]["subshell_id"]
        self.open_control({"version": 1, "session": self.session})

    def open_control(self, data):
        """Open the control comm with this data."""
        self.control_id = uuid.uuid4().hex
        self._comm_message("comm_open", data, target_name=CONTROL)

    def send_on(self, comm_id, data):
        """Send a message on any comm."""
        self.client.shell_channel.send(self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data}))

    def _comm_message(self, kind, data, **more):
        message = self.client.session.msg(kind, {"comm_id": self.control_id, "data": data, **more})
        message["header"]["subshell_id"] = self.subshell
        self.client.shell_channel.send(message)

    def close_comm(self, comm_id):
        """Close a comm, as a front end does that does not know it."""
        self.client.shell_channel.send(self.client.session.msg("comm_close", {"comm_id": comm_id, "data": {}}))
        self.run("pass")

    def request(self, kind, content):
        """Send another request on the shell channel and return what is replied."""
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        self.until(lambda: message["header"]["msg_id"] in self.replies)
        return self.replies[message["header"]["msg_id"]]

    def ask(self, kind, timeout=10, **payload):
        """Send a request and return its answer; what came before it on that comm stands in `control`."""
        request = uuid.uuid4().hex
        return self.ask_raw({"request": request, "type": kind, **payload}, request, timeout)

    def ask_raw(self, data, request="", timeout=10):
        """Send anything as a request."""
        before = len(self.control)
        self._comm_message("comm_msg", data)
        answers: list[dict[str, Any]] = []

        def answered():
            answers[:] = [m for m in self.control[before:] if "ok" in m and m["request"] == request]
            return bool(answers)

        self.until(answered, timeout)
        return answers[0]


class Screen:
    """What a page shows that applies the messages as the protocol says; text as UTF-16."""

    def __init__(self):
        self.tasks: dict[str, dict[str, Any]] = {}
        self.attempts: dict[tuple[str, int], dict[str, Any]] = {}

    def apply(self, message):
        if message["type"] == "task":
            self.tasks[message["task"]] = message["record"]
            return
        key = message["task"], message["record"]["attempt"]
        state = self.attempts.setdefault(key, {"code": "", "outputs": []})
        state["record"], state["phase"] = message["record"], message["phase"]
        if "code" in message:
            state["code"] = spliced(state["code"], message["code"])
        if "outputs" in message:
            change = message["outputs"]
            state["outputs"] = [*state["outputs"][: change["at"]], *change["items"]]
            if "tail" in change:
                last = state["outputs"][-1]
                state["outputs"][-1] = {**last, "text": spliced(last["text"], change["tail"])}


def spliced(old, change):
    """Return ``old.slice(0, at) + text`` as a browser computes it."""
    return old.encode("utf-16-le")[: 2 * change["at"]].decode("utf-16-le") + change["text"]


def project(folder):
    """Make a working folder with a file of numbers in `folder`, which gets what Jupyter writes too."""
    made = folder / "project"
    made.mkdir()
    (made / "sales.csv").write_text("amount\n20\n22\n")
    return made


@contextmanager
def agent_page(place, url):
    """Start a kernel in a project, with the magics loaded and the control comm open; `url` is the model's."""
    with kernel_page(place, {**clean_environment(place.parent), "ANTHROPIC_BASE_URL": url}) as made:
        made.run(LOAD)
        made.attach()
        yield made


@contextmanager
def kernel_page(folder, environment):
    """Start a kernel in `folder` and yield a page of it."""
    manager = KernelManager(
        kernel_name="python3", transport="ipc", ip=str(folder.parent / f"ipc-{uuid.uuid4().hex[:6]}")
    )
    manager.start_kernel(env=environment, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Page(client, manager)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
