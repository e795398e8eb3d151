"""What the loop itself costs, and what it sends: a scripted model behind real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import httpx2

from benchmarks.kernel import Kernel
from benchmarks.measure import Row, interleave
from benchmarks.starting import TABLE
from jupyter_codeagent import Agent, Sandbox, SandboxPolicy, Trajectory
from jupyter_codeagent.context import describe, inputs
from jupyter_codeagent.models.anthropic import MessagesModel, profile_for
from jupyter_codeagent.models.endpoint import Endpoint

SERVER = Path(__file__).parent.parent / "tests" / "messages_server.py"
TASK = "Sum the revenue by region in sales.csv, sorted from the largest to the smallest."
FAILING = (3, 6)  # these turns' code raises, in the script with failures
TOOLS = [
    {
        "name": "run_python",
        "description": "Execute Python.",
        "input_schema": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
    {
        "name": "finish",
        "description": "End the task.",
        "input_schema": {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]},
    },
]


def script(turns: int, failing: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Return what the model says: code that takes microseconds, and last the answer."""
    said = []
    for number in range(1, turns):
        code = f"rows_{number} = [{{'region': r, 'total': n * {number}}} for n, r in enumerate('NSEW')]\n"
        code += f"print('step {number}:', len(rows_{number}), 'regions')\n"
        code += f"rows_{number}[0]['Region']" if number in failing else f"rows_{number}[0]"
        said.append({"text": f"Step {number}: look at the sums by region.", "code": code})
    return [*said, {"answer": "**North** leads with 500."}]


class Server:
    """The scripted server, in a process of its own so that it takes no time from the loop's."""

    def __init__(self) -> None:
        command = [sys.executable, str(SERVER)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def load(self, turns: list[dict[str, Any]]) -> None:
        """Give it the turns to play, and forget earlier requests."""
        request = urllib.request.Request(f"{self.url}/load", json.dumps(turns).encode())
        urllib.request.urlopen(request).read()

    def log(self) -> list[dict[str, Any]]:
        """Return the requests since then."""
        with urllib.request.urlopen(f"{self.url}/log") as reply:
            requests: list[dict[str, Any]] = json.load(reply)
        return requests

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def served() -> Iterator[Server]:
    """Run a scripted server."""
    server = Server()
    try:
        yield server
    finally:
        server.close()


@dataclass
class Ours:
    """The project's loop, with a running sandbox and an open connection."""

    server: Server
    sandbox: Sandbox
    model: MessagesModel

    def run(self, turns: int) -> None:
        """Solve the scripted task."""
        trajectory = Trajectory(TASK, limit=turns)
        for _ in Agent(self.model, self.sandbox).run(trajectory):
            pass
        assert trajectory.status == "solved", (trajectory.status, trajectory.failure)
        assert len(trajectory.attempts) == turns - 1


@dataclass
class Bare:
    """The least loop: the SDK, a list of messages, and a Jupyter kernel."""

    server: Server
    kernel: Kernel
    client: anthropic.Anthropic
    streamed: bool

    def run(self, turns: int) -> None:
        """Solve the scripted task."""
        messages: list[Any] = [{"role": "user", "content": TASK}]
        for _ in range(turns):
            reply = self.ask(messages)
            messages.append({"role": "assistant", "content": reply.content})
            call = next(block for block in reply.content if block.type == "tool_use")
            if call.name == "finish":
                return
            result = {
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": text(self.kernel.execute(call.input["code"])),
            }
            messages.append({"role": "user", "content": [result]})
        raise AssertionError("the script did not end")

    def ask(self, messages: list[Any]) -> Any:
        """Return the model's next message."""
        given: dict[str, Any] = {"model": "scripted", "max_tokens": 8192, "messages": messages, "tools": TOOLS}
        if not self.streamed:
            return self.client.messages.create(**given)
        with self.client.messages.stream(**given) as stream:
            return stream.get_final_message()


def text(published: list[dict[str, Any]]) -> str:
    """Return what the model is told of an execution."""
    said = []
    for message in published:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                said.append(content["text"])
            case "execute_result" | "display_data":
                said.append(content["data"].get("text/plain", ""))
            case "error":
                said += content["traceback"]
    return "".join(said)


def overhead(loop: Ours | Bare, failing: tuple[int, ...], turns: int) -> float:
    """Return milliseconds a turn that the loop spends outside the server; the scripted code takes next to none."""
    loop.server.load(script(turns, failing))
    started = time.perf_counter()
    loop.run(turns)
    wall = time.perf_counter() - started
    return (wall - sum(request["seconds"] for request in loop.server.log())) * 1000 / turns


def attempts(quick: bool) -> Iterator[Row]:
    """Time a turn of `Agent.run`, all of it, against the least loop on a kernel."""
    with served() as server, Sandbox(SandboxPolicy(workspace=None)) as sandbox, Kernel() as kernel:
        client = anthropic.Anthropic(api_key="none", base_url=server.url, max_retries=0, http_client=direct())
        loops = {
            "ours": Ours(server, sandbox, MessagesModel("scripted", server.url, "none")),
            "streamed": Bare(server, kernel, client, streamed=True),
            "whole": Bare(server, kernel, client, streamed=False),
        }
        for failing, what in (((), "10 turns"), (FAILING, "10 turns, 2 attempts fail and are rolled back")):
            subjects = {n: lambda one=one, f=failing: overhead(one, f, turns=10) for n, one in loops.items()}
            found = interleave(5 if quick else 25, warm=2, **subjects)
            for name, kind in (("streamed", "SDK streaming"), ("whole", "SDK not streaming")):
                bar = 1.0 if name == "streamed" and not failing else None
                against = f"bare loop on an ipykernel, {kind}"
                yield Row(f"overhead a turn, {what}", "ms", found["ours"], against, found[name], bar=bar)
        client.close()


def direct() -> httpx2.Client:
    """Return an HTTP client that knows no proxies."""
    return anthropic.DefaultHttpxClient(trust_env=False)


def prompts(quick: bool) -> Iterator[Row]:
    """What is sent: how long the first request is, how it grows, and whether each is the beginning of the next."""
    with served() as server, tempfile.TemporaryDirectory(prefix="bench") as folder:
        Path(folder, "sales.csv").write_text(TABLE)
        with Sandbox(SandboxPolicy(workspace=folder)) as sandbox:
            for kind in ("anthropic", "tools", "fences"):
                sent = requests(server, sandbox, Path(folder), kind)
                bare = kind == "fences"
                size = [float(len(json.dumps(body, ensure_ascii=False))) for body in sent]
                yield Row(f"first request, profile {kind}", "characters", size[:1], bar=6000.0)
                yield Row(f"sum of 10 requests, profile {kind}", "characters", [sum(size)])
                shares = [kept(a, b) for a, b in pairwise(sent)]
                what = f"common prefix of consecutive requests, profile {kind}"
                yield Row(what, "share", [min(shares)], bar=None if bare else 1.0, least=True, note="the smallest of 9")


def requests(server: Server, sandbox: Sandbox, folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the bodies of the ten requests of one task with two failures."""
    endpoint = Endpoint(server.url, "scripted", "none")
    model = MessagesModel("scripted", server.url, "none", profile=profile_for(endpoint, kind))
    server.load(script(10, FAILING))
    sandbox.start()
    context = describe(
        cells=["import pandas as pd", "sales = pd.read_csv('sales.csv')\nsales.head()"],
        files=["sales.csv"],
        folder=folder,
        notes=[sandbox.files_note],
    )
    trajectory = Trajectory(TASK, context, limit=10, inputs=inputs(["sales.csv"], folder))
    for _ in Agent(model, sandbox).run(trajectory):
        pass
    assert trajectory.status == "solved", trajectory.failure
    model.close()
    return [request["body"] for request in server.log()]


def kept(body: dict[str, Any], following: dict[str, Any]) -> float:
    """Return how much of a request the next one begins with: tools, system prompt and messages, as they are cached."""
    one, two = serial(body), serial(following)
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return same / len(one)


def serial(body: dict[str, Any]) -> str:
    """Return what a cache sees of a request, in its order."""
    parts = [body.get("tools"), body.get("system"), *body["messages"]]
    return "\n".join(json.dumps(part, ensure_ascii=False) for part in parts)
