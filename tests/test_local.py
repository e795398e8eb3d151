"""The embedded model, for real: the smaller file, its server, and every way in which that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anthropic
import pytest

from jupyter_codeagent.errors import ModelError, NoModel, WeightsError
from jupyter_codeagent.models import machine, process, weights
from jupyter_codeagent.models.local import LocalModel
from jupyter_codeagent.models.process import ServerProcess, environment
from jupyter_codeagent.trajectory import Trajectory

pytestmark = pytest.mark.model
LEASE = """
import os, sys, time
from jupyter_codeagent.models import process, weights
server = process.lease(*weights.find(weights.known("0.5b")))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def file() -> Path:
    """The 0.5b file; fetched (0.5 GB) where it is not here yet."""
    known = weights.known("0.5b")
    try:
        for _ in weights.pull(known):
            pass
    except WeightsError as error:
        pytest.fail(f"the embedded model's file cannot be fetched: {error}")
    return weights.find(known)[1]


@pytest.fixture
def server(file: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(weights.known("0.5b"), file)
    yield server
    server.stop()


@pytest.fixture
def model(file: Path, tmp_path: Path) -> Iterator[LocalModel]:
    model = LocalModel("0.5b", folder=tmp_path)
    yield model
    model.close()


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends in time; a zombie has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_a_task_gives_code_as_it_is_written(model: LocalModel) -> None:
    grown = list(model.stream(Trajectory("Print the sum of the numbers from 1 to 10.")))
    assert grown[0].text.startswith("Loading the local model Qwen2.5-Coder-0.5B-Instruct (0.5 GB)")
    codes = [a.code or "" for a in grown[1:]]
    assert len(set(codes)) > 3
    assert "print" in codes[-1]
    compile(codes[-1], "code", "exec")
    assert grown[-1].model == model.name == "Qwen2.5-Coder-0.5B-Instruct"
    assert grown[-1].usage.output_tokens > 3
    assert grown[-1].usage.cost == 0


def test_models_share_one_server_and_the_last_one_ends_it(model: LocalModel) -> None:
    other = LocalModel("0.5b")
    task = Trajectory("Print 1.")
    model.query(task)
    other.query(task)
    assert model._server is other._server
    pid = model._server.pid if model._server else None
    assert pid is not None
    other.close()
    assert not gone(pid, 0.5)
    model.close()
    assert gone(pid)
    assert model.query(task).code  # it is started again


def test_a_server_that_dies_is_one_sentence_and_comes_back(model: LocalModel) -> None:
    task = Trajectory("Write a very long program with many functions.")
    stream = model.stream(task)
    for action in stream:
        if action.code:
            assert model._server is not None and model._server.pid is not None
            os.kill(model._server.pid, signal.SIGKILL)
            break
    with pytest.raises(ModelError) as caught:
        list(stream)
    assert "\n" not in str(caught.value)
    assert model.query(Trajectory("Print 1.")).code


def test_key_and_secrets_are_seen_nowhere(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret")
    monkeypatch.setenv("SOME_TOKEN", "another-secret")
    server.start()
    place = Path(f"/proc/{server.pid}")
    seen = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
    assert server.key.encode() not in seen
    assert b"secret" not in seen
    assert os.getsid(server.pid or 0) == server.pid
    assert os.getpriority(os.PRIO_PROCESS, server.pid or 0) >= 5


def test_another_key_is_refused_and_no_other_address_is_served(server: ServerProcess) -> None:
    server.start()
    assert server.url.startswith("http://127.0.0.1:")
    client = anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0)
    with client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="x", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    port = int(server.url.rpartition(":")[2])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert {w[1] for w in lines if w[1].endswith(f":{port:04X}") and w[3] == "0A"} == {f"0100007F:{port:04X}"}


def test_nothing_stays_when_the_parent_is_killed(file: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", LEASE], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert gone(pid)


def test_nothing_stays_when_the_parent_is_killed_while_loading(file: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", LEASE], stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    end = time.monotonic() + 30
    while not (found := children.read_text().split()) and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    parent.kill()
    parent.communicate()
    assert gone(int(found[0]), 30)


def test_interrupting_the_group_of_the_parent_does_not_reach_the_server(server: ServerProcess) -> None:
    server.start()
    assert os.getpgid(server.pid or 0) != os.getpgid(0)
    os.kill(server.pid or 0, signal.SIGINT)
    time.sleep(0.3)
    assert server.running


def test_a_server_without_use_ends_and_comes_back(file: Path) -> None:
    server = ServerProcess(weights.known("0.5b"), file, idle=1.0)
    server.start()
    first = server.pid
    assert first is not None and gone(first, 10)
    end = time.monotonic() + 5
    while server.running and time.monotonic() < end:  # its first thread has ended; the runtime's others are about to
        time.sleep(0.02)
    assert not server.running
    server.start()
    assert server.running and server.pid != first
    server.stop()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("ModuleNotFoundError('no', name='xllamacpp')", "run `pip install 'jupyter-codeagent[local]'`."),
        ("ImportError('libgomp.so.1: cannot open shared object file')", "run `apt-get install libgomp1`"),
        ("ImportError('libother.so: wrong')", "runtime cannot be loaded: libother.so: wrong."),
    ],
)
def test_what_is_missing_is_one_sentence(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, sentence: str
) -> None:
    (tmp_path / "xllamacpp.py").write_text(f"raise {error}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(NoModel) as caught:
        server.start()
    assert sentence in str(caught.value)
    assert server.pid is None


def test_too_little_memory_is_one_sentence(file: Path) -> None:
    large = replace(weights.known("0.5b"), memory=1 << 60)
    with pytest.raises(NoModel, match=r"needs .* GB of memory and .* GB are free"):
        ServerProcess(large, file).start()


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(1000))
    server = ServerProcess(weights.known("0.5b"), broken)
    with pytest.raises(ModelError) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert server.pid is None


def test_serving_for_other_programs_tells_both_variables_and_ends_with_a_signal(file: Path) -> None:
    code = (
        "import sys; from argparse import Namespace; from jupyter_codeagent.models import manage; "
        "sys.exit(manage.serve(Namespace(name='0.5b', json=True)))"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    told = json.loads(program.stdout.readline())
    assert told["ANTHROPIC_API_KEY"] not in " ".join(Path(f"/proc/{program.pid}/cmdline").read_text().split("\0"))
    with anthropic.Anthropic(
        base_url=told["ANTHROPIC_BASE_URL"], api_key=told["ANTHROPIC_API_KEY"], max_retries=0
    ) as client:
        message = client.messages.create(model="x", max_tokens=3, messages=[{"role": "user", "content": "Say hi."}])
    assert message.usage.output_tokens > 0
    child = int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()[0])
    program.terminate()
    program.communicate(timeout=20)
    assert program.returncode == 0
    assert gone(child)


def test_the_environment_of_the_server_is_a_short_list() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "ANTHROPIC_API_KEY": "x", "AWS_SECRET_ACCESS_KEY": "y", "HF_TOKEN": "z"}
    assert environment(given) == {"PATH": "/bin", "LC_ALL": "C", "GOMP_SPINCOUNT": "500"}
    assert environment({"GOMP_SPINCOUNT": "7"}) == {"GOMP_SPINCOUNT": "7"}


def test_the_machine_has_a_core_and_some_memory() -> None:
    assert 1 <= machine.cores() <= len(os.sched_getaffinity(0))
    assert (machine.memory() or 0) > 1 << 20


def test_a_model_is_shared_within_a_process_only() -> None:
    assert process._shared == {}
