"""A sandbox behind a Jupyter server: what goes wrong on the way, and servers that lie."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from jupyter_codeagent import RemoteSandbox, SandboxPolicy, ScriptedModel, solve
from jupyter_codeagent.errors import CodeAgentError, NotPlainData, SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import channels, link
from jupyter_codeagent.sandbox.channels import Channels, Lost
from jupyter_codeagent.sandbox.gateway import Gateway
from jupyter_codeagent.sandbox.messages import Message, dumps, packed
from jupyter_codeagent.trajectory import Action, Observation
from tests.sandbox.fake_server import OPENED, Fake, opening
from tests.sandbox.servers import TOKEN

EMPTY = SandboxPolicy(workspace=None, timeout=5)


def remote(server, policy=EMPTY, **options):
    return RemoteSandbox(server.url, policy, **{"token": TOKEN, **options})


def unavailable(*arguments, **options):
    with pytest.raises(SandboxUnavailable) as caught:
        RemoteSandbox(*arguments, **options).start()
    said = str(caught.value)
    assert said.startswith("No sandbox: ") and said.endswith(".") and "\n" not in said
    assert "secret-token" not in said and "secret-token" not in repr(caught.value.__context__)
    return said


def kernel_process(sandbox):
    """Return the pid of the kernel that hosts a sandbox."""
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and sandbox._link.kernel.encode() in (process / "cmdline").read_bytes():
                return int(process.name)
        except OSError:
            pass
    raise AssertionError("no kernel")


# -- getting there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "is no http"),
        ("ftp://host/", "is no http"),
        ("ftp://user:secret-token@host/", "'host/' is no http"),
        ("user:secret-token@host", "'host' is no http"),
        ("http://", "is no http"),
        ("http://host:99999999/", "is no http"),
        ("https://user:secret-token@host/", "holds a password"),
        ("http://example.org:8888/?token=secret-token", "in the clear"),
        ("http://127.0.0.1.example.org/", "in the clear"),
        ("http://localhost:1/?token=secret%0Atoken", "one line of ASCII"),
        ("http://localhost:1/?token=secret-token", "cannot be reached"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_a_sentence(url, said):
    assert said in unavailable(url, EMPTY)


@pytest.mark.parametrize(
    ("given", "url", "token"),
    [
        ("http://localhost:8888/?token=abc", "http://localhost:8888", "abc"),
        ("http://127.0.0.2:8888/lab?token=abc", "http://127.0.0.2:8888", "abc"),
        ("https://hub.example.org/user/name/", "https://hub.example.org/user/name", ""),
        ("https://hub.example.org/user/name/tree", "https://hub.example.org/user/name", ""),
        ("http://[::1]:8888", "http://[::1]:8888", ""),
    ],
)
def test_addresses_are_taken_as_people_have_them(given, url, token):
    found = Gateway.at(given)
    assert (found.url, found.token) == (url, token)
    assert not token or token not in repr(found)


def test_a_server_without_that_token_path_or_kernel_says_what_to_do(jupyter_server):
    assert "set JUPYTER_CODEAGENT_GATEWAY_TOKEN" in unavailable(jupyter_server.url, EMPTY, token="wrong")
    assert "the base path" in unavailable(f"http://127.0.0.1:{jupyter_server.port}/x/", EMPTY, token=TOKEN)
    assert "has no kernel 'no'" in unavailable(jupyter_server.url, EMPTY, token=TOKEN, kernel="no")


def test_a_kernel_that_hosts_no_sandboxes_is_ended_again(jupyter_server):
    before = len(jupyter_server.ask("kernels"))
    assert "was closed by its kernel" in unavailable(jupyter_server.url, EMPTY, token=TOKEN, kernel="python3")
    assert len(jupyter_server.ask("kernels")) == before


def test_files_outside_the_working_folder_are_refused(jupyter_server, tmp_path):
    policy = SandboxPolicy(workspace=None, files=(tmp_path,))
    assert "outside of the working folder" in unavailable(jupyter_server.url, policy, token=TOKEN)


def test_a_folder_of_the_other_machine_can_be_the_working_folder(jupyter_server, tmp_path):
    (tmp_path / "there.txt").write_text("there")
    with remote(jupyter_server, folder=str(tmp_path)) as sandbox:
        assert sandbox.execute("open('there.txt').read()").text == "'there'\n"
        assert str(tmp_path) in sandbox.files_note
    assert "is not a folder" in unavailable(jupyter_server.url, EMPTY, token=TOKEN, folder="/no/such")


def test_the_token_is_neither_shown_nor_inside(jupyter_server, monkeypatch):
    monkeypatch.setenv("JUPYTER_CODEAGENT_GATEWAY_TOKEN", TOKEN)
    with RemoteSandbox(jupyter_server.url, EMPTY) as sandbox:
        assert TOKEN not in repr(sandbox) + repr(vars(sandbox)) + repr(sandbox._link.gateway)
        found = (
            "import glob, os\ndata = b''\nfor n in ('environ', 'cmdline'):\n    for p in glob.glob('/proc/*/' + n):\n"
        )
        found += "        data += open(p, 'rb').read() if os.access(p, 4) else b''\n"
        assert sandbox.execute(f"{found}{TOKEN[:9]!r}.encode() + {TOKEN[9:]!r}.encode() in data").text == "False\n"
    assert TOKEN not in (jupyter_server.folder / "log").read_text()


def test_closing_ends_the_kernel_and_forgetting_does_too(jupyter_server):
    before = len(jupyter_server.ask("kernels"))
    with remote(jupyter_server):
        assert len(jupyter_server.ask("kernels")) == before + 1
    assert len(jupyter_server.ask("kernels")) == before
    forgotten = remote(jupyter_server)
    forgotten.start()
    del forgotten
    assert len(jupyter_server.ask("kernels")) == before


# -- a task ----------------------------------------------------------------------------------------


def test_a_task_is_solved_there(jupyter_server, tmp_path):
    (tmp_path / "sales.csv").write_text("region,sum\nnorth,3\nsouth,4\n")
    model = ScriptedModel(
        [Action("", "import pandas as pd\nx = pd.read_csv('sales.csv')['sum'].sum() + k"), Action("17")]
    )
    with remote(jupyter_server, SandboxPolicy(tmp_path)) as sandbox:
        done = solve("sum it", variables={"k": 10}, checks=["x == 17"], model=model, sandbox=sandbox)
        assert (done.status, done.answer, done.tier) == ("solved", "17", "A")
        with pytest.raises(NotPlainData, match="'lock' was not passed"):
            solve("sum it", variables={"lock": threading.Lock()}, model=model, sandbox=sandbox)


# -- what gets lost --------------------------------------------------------------------------------


class Proxy:
    """Passes connections on to a server, until it is cut."""

    def __init__(self, port):
        self.target = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.open = True
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.target))
            self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            end.close()

    def cut(self):
        """End all connections, and take no further ones."""
        self.open = False
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):  # its threads close it
                    end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.cut()
        self.listening.close()


@pytest.fixture
def proxy(jupyter_server):
    made = Proxy(jupyter_server.port)
    yield made
    made.close()


@pytest.fixture
def distant(jupyter_server, proxy):
    """A sandbox whose connection can be cut."""
    url = jupyter_server.url.replace(str(jupyter_server.port), str(proxy.port))
    with RemoteSandbox(url, SandboxPolicy(workspace=None, timeout=30), token=TOKEN) as sandbox:
        yield sandbox
        proxy.open = True


def test_code_goes_on_while_the_connection_is_lost_and_its_result_arrives(distant, proxy):
    def cut():
        proxy.cut()
        time.sleep(2)
        proxy.open = True

    code = "import time\nfor i in range(8): print(i, flush=True); time.sleep(0.5)\nx = 5"
    seen = distant.stream(code)
    assert "0" in next(seen).text
    cutting = threading.Thread(target=cut)
    cutting.start()
    last = list(seen)[-1]
    cutting.join()
    assert (last.text.split(), last.error) == (list("01234567"), None)
    assert any("connection" in note and "the code went on" in note for note in last.notes)
    assert distant.execute("x").text == "5\n"


def test_a_connection_lost_while_nothing_runs_is_made_again(distant, proxy):
    distant.execute("x = 1")
    proxy.cut()
    proxy.open = True
    assert distant.execute("x").text == "1\n"


def test_a_sandbox_that_was_idle_for_long_is_still_connected(jupyter_server, monkeypatch):
    monkeypatch.setattr(channels, "PING", 1.0)
    with remote(jupyter_server) as sandbox:
        for _ in range(2):
            assert sandbox.execute("x = 1").notes == ()
            time.sleep(2.5)  # several signs of life
        assert sandbox._link.away == 0


def test_an_interrupt_while_the_connection_is_lost_arrives_with_the_next_one(distant, proxy):
    seen = distant.stream("import time\nprint('on', flush=True)\nwhile True: time.sleep(0.1)")
    next(seen)
    proxy.cut()
    distant.interrupt()
    proxy.open = True
    assert list(seen)[-1].error.ename == "Interrupted"


def test_a_server_that_does_not_come_back_is_the_end(distant, proxy, monkeypatch):
    monkeypatch.setattr(link, "AWAY", 1.0)
    proxy.cut()
    with pytest.raises(SandboxDied, match="could not be reached again within 1 s"):
        distant.execute("1")
    with pytest.raises(SandboxDied, match="could not be reached again"):
        distant.execute("1")


def test_a_killed_kernel_is_the_end_of_the_sandbox(jupyter_server):
    with remote(jupyter_server) as sandbox:
        sandbox.execute("x = 1")
        os.kill(kernel_process(sandbox), signal.SIGKILL)
        with pytest.raises(SandboxDied, match="make a new one"):
            sandbox.execute("x")


def test_a_kernel_that_is_deleted_while_code_runs_is_the_end(jupyter_server):
    with remote(jupyter_server) as sandbox:
        gateway, kernel = sandbox.gateway, sandbox._link.kernel
        timer = threading.Timer(0.5, gateway.end, [kernel])
        timer.start()
        with pytest.raises(SandboxDied, match="make a new one"):
            sandbox.execute("import time; time.sleep(4)")
        timer.join()


# -- servers that lie ------------------------------------------------------------------------------


GOOD = ("done", {}, packed([Observation()]))


def answers(*messages):
    """Answer any request with these, with its number."""
    return lambda request, client: [client.say(Message(op, request.number, head, data)) for op, head, data in messages]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"GET kernelspecs": 302}, "answered 302"),
        ({"GET kernelspecs": 500}, "answered 500"),
        ({"GET kernelspecs": b"<html>"}, "not that of a Jupyter server"),
        ({"GET kernelspecs": []}, "not that of a Jupyter server"),
        ({"GET kernelspecs": b"[" * 10**5}, "not that of a Jupyter server"),
        ({"GET kernelspecs": b" " * 2**23}, "not that of a Jupyter server"),
        ({"POST kernels": {"id": "../../evil"}}, "started no kernel"),
        ({"POST kernels": {"id": 5}}, "started no kernel"),
    ],
)
def test_wrong_answers_over_http_are_refused_in_a_sentence(rest, said):
    with Fake(rest=rest) as server:
        assert said in unavailable(server.url, EMPTY, token="secret-token")


def test_the_token_travels_in_a_header_only():
    with Fake() as server, remote(server, token="secret-token"):
        assert all(headers["Authorization"] == "token secret-token" for headers in server.headers)
        assert not any("secret" in asked for asked in server.asked)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost that nobody knows, as a server takes it."""
    files = {name: str(tmp_path / name) for name in ("key", "certificate")}
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    made += ["-keyout", files["key"], "-out", files["certificate"], "-subj", "/CN=localhost"]
    subprocess.run([*made, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["certificate"], files["key"])
    return context, files["certificate"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_only_certificates_that_are_known_are_accepted(certificate, monkeypatch):
    context, file = certificate
    with Fake(answers(GOOD), security=context) as server:
        assert "certificate was not accepted" in unavailable(server.url, EMPTY, token="secret-token")
        assert not server.headers
        monkeypatch.setenv("SSL_CERT_FILE", file)
        with remote(server) as sandbox:
            assert sandbox.execute("1").error is None
        with remote(server) as sandbox:
            sandbox.start()
            monkeypatch.delenv("SSL_CERT_FILE")
            with pytest.raises(Lost, match=r"(?i)certificate"):
                Channels(sandbox.gateway, "k-1", "session")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({**OPENED, "tier": "B"}, "reports isolation 'B'"),
        ({**OPENED, "tier": "A\u202e"}, "reports isolation"),
        ({}, "reports isolation None"),
    ],
)
def test_a_weaker_isolation_is_refused(head, said):
    @opening
    def answer(request, client):
        client.say(Message("done", request.number, head))

    with Fake(answer) as server:
        assert said in unavailable(server.url, EMPTY, token="secret-token")


def test_a_server_without_the_protocol_is_refused():
    with Fake(protocol=None) as server:
        assert "Jupyter Server 2 or newer" in unavailable(server.url, EMPTY, token="t")


@pytest.mark.parametrize(
    "answer",
    [
        lambda request, client: client.frame(b"\xff" * 100),
        lambda request, client: client.frame(b""),
        lambda request, client: client.write_message("text"),
        lambda request, client: client.tell("comm_msg", {"comm_id": client.comm, "data": []}),
        lambda request, client: client.tell("comm_msg", {"comm_id": client.comm, "data": {"version": 2}}),
        lambda request, client: client.tell("comm_close", {"comm_id": client.comm, "data": {}}),
        lambda request, client: client.tell("status", {"execution_state": "restarting"}),
        answers(("nonsense", {}, b"")),
        answers(("execute", {}, b"")),
        answers(("done", {}, b"")),
        answers(("done", {}, b"\xff")),
        answers(("done", {}, b"[NaN]")),
        answers(("done", {}, b"[" * 10**6)),
        answers(("done", {}, b"[{}]")),
        answers(("done", {}, b"[]")),
        answers(("done", {}, packed([Observation(), Observation()]))),
        answers(("done", {}, b"x" * 2**26)),
        answers(("growing", {}, b"[1]"), GOOD),
        answers(("failed", {"kind": "Unheard\x1b[2J\n", "said": ["x"]}, b"")),
        answers(("failed", {}, b"")),
        answers(("done", {}, dumps([{"outputs": [], "notes": [], "duration": float("1e300"), "error": None}]))),
        answers(("done", {}, dumps([{"outputs": [], "notes": [], "duration": 0, "error": "x"}]))),
    ],
    ids=lambda value: None,
)
def test_what_no_host_says_is_the_end_in_a_sentence(answer):
    with Fake(answer) as server, remote(server) as sandbox:
        with pytest.raises(SandboxDied) as caught:
            sandbox.execute("1")
        said = str(caught.value)
        assert "\n" not in said and said.isprintable() and len(said) < 500


def test_a_frame_of_any_length_is_not_read(monkeypatch):
    monkeypatch.setattr(link, "AWAY", 1.0)

    def answer(request, client):
        client.raw(b"\x82\x7f" + (2**62).to_bytes(8, "big") + b"x" * 10**6)

    with Fake(answer) as server, remote(server) as sandbox, pytest.raises(SandboxDied):
        sandbox.execute("1")


def test_words_about_other_requests_and_comms_are_not_taken_for_the_answer():
    def answer(request, client):
        right = packed([Observation([{"output_type": "stream", "name": "stdout", "text": "right"}])])
        wrong = packed([Observation([{"output_type": "stream", "name": "stdout", "text": "wrong"}])])
        for number in (0, request.number - 1, request.number + 1, 10**9):
            client.say(Message("done", number, {}, wrong))
        for data, buffer in Message("done", request.number, {}, wrong).parts():
            client.tell("comm_msg", {"comm_id": "another", "data": data}, [buffer])
            client.tell("stream", {"comm_id": client.comm, "data": data}, [buffer])
        for state in ("idle", [], {"a": 1}, None):
            client.tell("status", {"execution_state": state})
        client.say(Message("done", request.number, {}, right))

    with Fake(answer) as server, remote(server) as sandbox:
        assert [sandbox.execute("1").text for _ in range(3)] == ["right"] * 3


def test_what_comes_out_passes_the_gate_once_more():
    evil = {
        "outputs": [
            {"output_type": "stream", "name": "stdin", "text": "a\x1b[2Jb\u202e"},
            {
                "output_type": "display_data",
                "data": {"text/html": "<script>x</script><b>b</b>", "application/javascript": "x"},
            },
            {"output_type": "execute_result", "data": {"image/png": "AAAA", "text/plain": "p"}, "metadata": {"x": 1}},
            {"output_type": "error", "ename": "e"},
            {"output_type": "update_display_data"},
            5,
        ],
        "error": {"ename": "\x1b[2JBad", "evalue": "v", "traceback": ["\x1b]0;title\x07t"], "frames": []},
        "duration": 1,
        "notes": ["n\x1b[31m\n", 5],
        "names": {"good": "int", "not good": "x", "x": 5},
    }
    with Fake(answers(("done", {}, dumps([evil])))) as server, remote(server) as sandbox:
        seen = sandbox.execute("1")
    assert "<script" not in str(seen) and "javascript" not in str(seen) and "\x1b[2J" not in str(seen)
    assert "\u202e" not in str(seen) and "title" not in str(seen)
    assert [o["output_type"] for o in seen.outputs] == ["stream", "display_data", "execute_result", "error"]
    assert seen.outputs[2]["data"].keys() == {"text/plain"} and seen.outputs[2]["metadata"] == {}
    assert seen.error.ename == "Bad" and set(seen.names) == {"good", "x"}


@pytest.mark.parametrize(
    "answer",
    [
        answers(("done", {}, b"")),
        answers(("done", {"points": "x"}, packed([Observation()] * 2))),
        answers(("done", {"points": [1, -2]}, packed([Observation()] * 2))),
        answers(("done", {"points": [1, 2, 3]}, packed([Observation()] * 3))),
        answers(("done", {"point": True}, packed([Observation()] * 5))),
    ],
)
def test_states_and_candidates_that_make_no_sense_are_the_end(answer):
    from jupyter_codeagent.sandbox.remote import RemoteCheckpoint

    with Fake(answer) as server, remote(server) as sandbox, pytest.raises(SandboxDied, match="protocol"):
        sandbox.candidates(RemoteCheckpoint(sandbox, 1), ["1", "2"])
    with Fake(answer) as server, remote(server) as sandbox, pytest.raises(SandboxDied, match="protocol"):
        sandbox.checkpoint()


@pytest.mark.parametrize(
    ("index", "payload"),
    [
        (None, b""),
        ([["x", 2, 2]], b"{}"),
        ([["y", 30, 30]], b'{"value": 1, "parts": []}     '),
        ([["x", 9, 99]], b"123456789"),
        ([["x", "1", 1]], b"1"),
        ([["x", 40, 40]], b'{"value": {"kind": "pickle"}, "parts":[]}'[:40]),
        ([["x", 25, 25]], b"\x80\x04N." + b" " * 21),
    ],
)
def test_fetched_values_that_are_no_plain_data_are_refused(index, payload):
    with Fake(answers(("done", {"values": index}, payload))) as server, remote(server) as sandbox:
        with pytest.raises(CodeAgentError) as caught:
            sandbox.fetch("x")
        assert isinstance(caught.value, NotPlainData | SandboxDied)


def test_a_host_that_is_silent_or_says_for_ever_that_it_works_is_left(monkeypatch):
    monkeypatch.setattr(link, "QUIET", 0.1)
    with Fake() as server, remote(server) as sandbox, pytest.raises(SandboxDied, match="does not answer"):
        sandbox.execute("1")
    monkeypatch.setattr("jupyter_codeagent.sandbox.remote.SLACK", 1.0)
    policy = SandboxPolicy(workspace=None, timeout=0.1)
    lying = Fake(answers(("working", {}, b"")))
    with lying as server, remote(server, policy) as sandbox, pytest.raises(SandboxDied, match="'execute' in time"):
        sandbox.execute("1")


def test_a_request_that_got_lost_is_sent_again():
    heard = []

    def answer(request, client):
        heard.append(request)
        if request.op == "execute" and len(heard) == 1:
            client.say(Message("unseen", request.number))
        else:
            client.say(Message(*("done", request.number, {}, GOOD[2])))

    with Fake(answer) as server, remote(server) as sandbox:
        assert sandbox.execute("1").error is None
    assert [m.op for m in heard] == ["execute", "execute"] and heard[0] == heard[1]


def test_messages_name_no_token_and_no_line_break():
    assert not re.search(r"token", repr(Gateway("http://localhost", "token")))
