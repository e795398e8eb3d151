"""The server extension in a real Jupyter Server below a base URL, asked over HTTP, and its answers as described."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
import yaml
from nbformat import v4
from openapi_spec_validator import validate

import jupyter_codeagent
from jupyter_codeagent.notebook_file import write_notebook
from tests.messages_server import serving

TOKEN = "the-token-of-the-tests"
KEY = "a-key-of-the-tests-0123456789"
BASE = "/user/someone/"
PACKAGE = Path(jupyter_codeagent.__file__).parent
SCHEMA = yaml.safe_load((PACKAGE / "schemas" / "routes.yaml").read_text())


class Server:
    """A Jupyter Server of its own, with `root` as its folder."""

    def __init__(self, folder, **environment):
        self.root = folder / "root"
        self.root.mkdir()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "JUPYTER"))}
        places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        enabled = folder / "config" / "jupyter_server_config.d"
        enabled.mkdir(parents=True)
        shutil.copy(PACKAGE / "etc" / "jupyter_codeagent.json", enabled)
        self.log = folder / "log"
        options = {
            "ServerApp.port": self.port,
            "ServerApp.base_url": BASE,
            "ServerApp.root_dir": self.root,
            "IdentityProvider.token": TOKEN,
            "ExtensionApp.open_browser": False,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser"]
                + [f"--{name}={value}" for name, value in options.items()],
                cwd=folder,
                env={**kept, **places, "NO_PROXY": "127.0.0.1", **environment},
                stdout=log,
                stderr=log,
            )
        try:
            until(self.ready, 60, self.log.read_text)
        except BaseException:
            self.stop()
            raise

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("GET", "/api")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None, token=TOKEN, headers=None):
        """Return status, headers and JSON of a request below the base URL."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            given = {"Authorization": f"token {token}"} if token else {}
            connection.request(method, BASE.rstrip("/") + path, sent, {**given, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            found = json.loads(text)
        except ValueError:
            found = text.decode(errors="replace")
        return answer.status, dict(answer.headers), found

    def call(self, method, route, body=None):
        """Return status and answer of one of our routes, after comparing them with the description."""
        status, headers, answer = self.ask(method, f"/jupyter-codeagent/{route}", body)
        assert headers["Content-Type"] == "application/json"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert KEY not in json.dumps(answer)
        check(method, route, status, answer)
        return status, answer

    def verify(self, path):
        return self.call("POST", "verify", {"path": path})

    def wait(self, job):
        return until(lambda: (a := self.call("GET", f"verify/{job}")[1])["state"] != "running" and a, 120)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def check(method, route, status, answer):
    """Compare an answer with what the description says of that route."""
    path = "/verify/{job}" if route.startswith("verify/") else f"/{route}"
    described = SCHEMA["paths"][path][method.lower()]["responses"][str(status)]
    if "$ref" in described:
        described = SCHEMA["components"]["responses"]["Refused"]
    name = described["content"]["application/json"]["schema"]["$ref"]
    jsonschema.validate(answer, {"$ref": name, "components": SCHEMA["components"]})


def until(true, seconds, why=lambda: "it took too long"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(why())


@contextmanager
def running(folder, **environment):
    server = Server(folder, **environment)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving([]) as model:
        folder = tmp_path_factory.mktemp("server")
        with running(folder, ANTHROPIC_BASE_URL=model.url, ANTHROPIC_API_KEY=KEY) as found:
            yield found


def notebook(path, *codes):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_notebook(v4.new_notebook(cells=[v4.new_code_cell(c) for c in codes]), path, overwrite=True)


def slow(path, word):
    """Write a notebook whose second cell would never end, and which can be found among the processes."""
    return notebook(path, "1", f"import time; word = {word!r}\nwhile True: time.sleep(0.1)")


def jobs_of(process):
    """Return the ids of the processes that verify something for a server."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    children = {int(pid) for pid, parent, args in rows if int(parent) == process and "verify_job" in args}
    while more := {int(pid) for pid, parent, _ in rows if int(parent) in children} - children:
        children |= more
    return children


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_description_is_openapi():
    validate(SCHEMA)


def test_every_route_refuses_who_has_no_token(server):
    job = server.verify(notebook(server.root / "auth.ipynb", "1").name)[1]["job"]
    for path, methods in SCHEMA["paths"].items():
        for method in {"get", "post", "delete"} & set(methods):
            route = f"/jupyter-codeagent{path.format(job=job)}"
            for token in ("", "wrong"):
                status, _, answer = server.ask(method.upper(), route, {"path": "auth.ipynb"}, token=token)
                assert status == 403 and KEY not in str(answer), (method, path)
    assert server.wait(job)["state"] == "done"


def test_a_cookie_alone_changes_nothing(server):
    status, headers, _ = server.ask("GET", f"/?token={TOKEN}", token="")
    assert status in (200, 302)
    cookie = headers["Set-Cookie"].partition(";")[0]
    only = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{server.port}"}
    refused = server.ask("POST", "/jupyter-codeagent/verify", {"path": "auth.ipynb"}, token="", headers=only)
    assert refused[0] == 403
    elsewhere = {"Cookie": cookie, "Origin": "https://elsewhere.example"}
    assert server.ask("GET", "/jupyter-codeagent/models", token="", headers=elsewhere)[0] in (403, 404)


def test_nothing_answers_outside_the_base_url(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/jupyter-codeagent/models", headers={"Authorization": f"token {TOKEN}"})
    assert connection.getresponse().status == 404
    connection.close()


def test_doctor_looks_once_for_all_who_ask(server):
    began = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        first, second, quick = (pool.submit(server.call, "GET", r) for r in ("doctor", "doctor", "models"))
        assert quick.result()[0] == 200
    assert first.result() == second.result()
    status, answer = first.result()
    assert status == 200 and {"Python", "memory limit", "model"} <= {f["name"] for f in answer["findings"]}
    took, again = time.monotonic() - began, time.monotonic()
    assert server.call("GET", "doctor")[1] == answer
    assert time.monotonic() - again < min(1.0, took)


def test_models_tell_what_would_be_used_and_where(server):
    status, answer = server.call("GET", "models")
    assert status == 200 and answer["problem"] == ""
    assert answer["default"]["name"] == "claude-sonnet-5-5" and "127.0.0.1" in answer["default"]["told"]
    by_name = {m["name"]: m for m in answer["models"]}
    assert by_name["claude-opus-5-5"]["where"].startswith("127.0.0.1:") and by_name["claude-opus-5-5"]["available"]
    assert by_name["local"]["where"] == by_name["local-small"]["where"] == "this machine"


def test_models_without_any_configuration_say_what_is_missing(tmp_path):
    with running(tmp_path, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache")) as bare:
        answer = bare.call("GET", "models")[1]
    assert answer["default"] is None and "model pull" in answer["problem"]
    assert not any(m["available"] for m in answer["models"])
    assert all("set ANTHROPIC_API_KEY" in m["detail"] or "model pull" in m["detail"] for m in answer["models"])


@pytest.mark.parametrize("stamp", [True, False])
def test_a_notebook_in_a_folder_is_verified_and_stamped_unless_told_otherwise(server, stamp):
    file = notebook(server.root / "a folder" / "b.ipynb", "x = 1", "assert x == 1")
    before = file.read_bytes()
    asked = {"path": "/a folder/b.ipynb", **({} if stamp else {"stamp": False})}
    status, begun = server.call("POST", "verify", asked)
    assert status == 201 and begun["state"] == "running" and begun["path"] == "a folder/b.ipynb"
    ended = server.wait(begun["job"])
    assert ended["state"] == "done" and ended["report"]["ok"] and ended["report"]["path"] == "a folder/b.ipynb"
    assert (ended["done"], ended["total"]) == (2, 2) and "verified" in ended["text"]
    assert str(server.root) not in json.dumps(ended)
    assert server.call("DELETE", f"verify/{begun['job']}")[1] == ended
    made = ended["report"]["stamp"]
    assert made["ok"] and made["executed"] == 2
    record = json.loads(file.read_bytes())["metadata"].get("jupyter_codeagent")
    assert record == {"version": 1, "verified": made} if stamp else file.read_bytes() == before


def test_a_file_that_was_just_saved_gets_the_outputs_of_the_fresh_run(server):
    file = notebook(server.root / "saved.ipynb", "print(1)", "2")
    ids = [cell["id"] for cell in json.loads(file.read_text())["cells"]]
    assert server.call("POST", "verify", {"path": "saved.ipynb", "unknown": "all"})[0] == 400
    ended = server.wait(server.call("POST", "verify", {"path": "saved.ipynb", "unknown": ids})[1]["job"])
    assert ended["report"]["ok"], ended
    found = json.loads(file.read_text())
    assert found["cells"][0]["outputs"][0]["text"] in ("1\n", ["1\n"])
    assert found["metadata"]["jupyter_codeagent"]["verified"]["ok"]


def test_a_notebook_that_fails_has_a_report(server):
    notebook(server.root / "fails.ipynb", "1/0", "2")
    ended = server.wait(server.verify("fails.ipynb")[1]["job"])
    assert ended["state"] == "done" and not ended["report"]["ok"]
    assert [c["kind"] for c in ended["report"]["cells"]] == ["error", "not run"]


def test_a_broken_notebook_fails_with_one_sentence(server):
    (server.root / "broken.ipynb").write_text("{")
    ended = server.wait(server.verify("broken.ipynb")[1]["job"])
    assert ended["state"] == "failed" and "broken.ipynb" in ended["text"] and str(server.root) not in ended["text"]
    assert "report" not in ended


def test_paths_that_are_no_notebook_of_this_server_are_refused(server, tmp_path):
    outside = notebook(tmp_path / "outside.ipynb", "1")
    (server.root / "link.ipynb").symlink_to(outside)
    (server.root / "folder-link").symlink_to(tmp_path)
    (server.root / "circle.ipynb").symlink_to("circle.ipynb")
    (server.root / "folder.ipynb").mkdir()
    notebook(server.root / ".hidden.ipynb", "1")
    notebook(server.root / ".hidden" / "n.ipynb", "1")
    (server.root / "text.txt").write_text("text")
    cases = {
        403: [
            "../outside.ipynb",
            f"..{outside}",
            f"{'../' * 20}{str(outside)[1:]}",
            "a/../../outside.ipynb",
            "link.ipynb",
            "folder-link/outside.ipynb",
        ],
        404: [
            "nothing.ipynb",
            str(outside),
            "circle.ipynb",
            "folder.ipynb",
            ".hidden.ipynb",
            ".hidden/n.ipynb",
            "a\0b.ipynb",
            "n" * 5000 + ".ipynb",
            "%2e%2e/outside.ipynb",
            "C:\\outside.ipynb",
            "\u202egnp.ipynb",
        ],
        400: ["text.txt", "", "/", ".", None, 7, ["a.ipynb"], {"a": 1}, True],
    }
    for status, paths in cases.items():
        for path in paths:
            got, answer = server.verify(path)
            assert got == status and answer["message"].endswith((".", "?")), (path, got, answer)
            assert len(answer["message"]) < 400


def test_a_link_within_the_root_is_followed(server):
    notebook(server.root / "real.ipynb", "1")
    (server.root / "alias.ipynb").symlink_to("real.ipynb")
    assert server.wait(server.verify("alias.ipynb")[1]["job"])["state"] == "done"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"a.ipynb"', b"7", b"[" * 60000, b"{}", b'{"path": {}}', b"NaN"],
    ids=lambda b: repr(b[:8]),
)
def test_garbage_is_refused(server, body):
    status, answer = server.call("POST", "verify", body)
    assert status == 400 and answer["message"]


def test_a_huge_body_is_refused(server):
    assert server.call("POST", "verify", b'{"path": "' + b"a" * 2**21 + b'.ipynb"}')[0] == 413


def test_unknown_jobs_and_methods_are_refused(server):
    for method in ("GET", "DELETE"):
        assert server.call(method, "verify/0123456789abcdef")[0] == 404
        assert server.ask(method, "/jupyter-codeagent/verify/..%2f..%2fetc")[0] == 404
    assert server.ask("PUT", "/jupyter-codeagent/verify", {})[0] == 405
    assert server.ask("POST", "/jupyter-codeagent/doctor", {})[0] == 405


def test_stopping_ends_the_process_and_its_sandbox_at_once(server):
    slow(server.root / "slow.ipynb", "a")
    job = server.verify("slow.ipynb")[1]["job"]
    until(lambda: server.call("GET", f"verify/{job}")[1]["text"] == "Cell 2 of 2", 60)
    assert server.call("GET", f"verify/{job}")[1]["done"] == 1
    processes = jobs_of(server.process.pid)
    assert len(processes) > 1
    began = time.monotonic()
    status, answer = server.call("DELETE", f"verify/{job}")
    assert status == 200 and answer["state"] == "stopped" and time.monotonic() - began < 4
    until(lambda: gone(processes), 3)
    assert server.call("GET", f"verify/{job}")[1]["state"] == "stopped"


def test_a_job_can_be_stopped_before_it_has_begun(server):
    slow(server.root / "early.ipynb", "b")
    job = server.verify("early.ipynb")[1]["job"]
    assert server.call("DELETE", f"verify/{job}")[1]["state"] == "stopped"
    until(lambda: not jobs_of(server.process.pid), 5)


def test_two_run_side_by_side_and_a_third_is_told_to_wait(server):
    slow(server.root / "one.ipynb", "c")
    slow(server.root / "two.ipynb", "d")
    jobs = [server.verify(n)[1]["job"] for n in ("one.ipynb", "two.ipynb")]
    status, answer = server.verify("one.ipynb")
    assert status == 429 and "one.ipynb" in answer["message"] and "two.ipynb" in answer["message"]
    for job in jobs:
        until(lambda job=job: server.call("GET", f"verify/{job}")[1]["done"] == 1, 60)
    server.call("DELETE", f"verify/{jobs[0]}")
    assert server.call("GET", f"verify/{jobs[1]}")[1]["state"] == "running"
    notebook(server.root / "three.ipynb", "3")
    third = server.verify("three.ipynb")[1]["job"]
    assert server.wait(third)["state"] == "done"
    server.call("DELETE", f"verify/{jobs[1]}")
    until(lambda: not jobs_of(server.process.pid), 5)


def test_limits_are_read_from_the_configuration(tmp_path):
    (tmp_path / "config").mkdir()
    limits = "c.CodeAgentServer.verifications = 1\nc.CodeAgentApp.timeout = 1.0\n"
    (tmp_path / "config" / "jupyter_codeagent_config.py").write_text(limits)
    with running(tmp_path) as own:
        slow(own.root / "slow.ipynb", "h")
        job = own.verify("slow.ipynb")[1]["job"]
        assert own.verify("slow.ipynb")[0] == 429
        assert "TimedOut" in own.wait(job)["report"]["cells"][-1]["detail"]


def test_a_process_that_is_killed_is_a_failed_job(server):
    slow(server.root / "killed.ipynb", "e")
    job = server.verify("killed.ipynb")[1]["job"]
    until(lambda: server.call("GET", f"verify/{job}")[1]["done"] == 1, 60)
    processes = jobs_of(server.process.pid)
    os.kill(min(processes), signal.SIGKILL)
    ended = server.wait(job)
    assert ended["state"] == "failed" and "ended unexpectedly" in ended["text"]
    until(lambda: gone(processes), 5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_server(tmp_path, how):
    server = Server(tmp_path)
    slow(server.root / "slow.ipynb", "f")
    job = server.verify("slow.ipynb")[1]["job"]
    until(lambda: server.call("GET", f"verify/{job}")[1]["done"] == 1, 60)
    processes = jobs_of(server.process.pid)
    server.process.send_signal(how)
    server.process.wait(30)
    assert len(processes) > 1
    until(lambda: gone(processes), 10)


def test_the_server_answers_while_it_verifies(server):
    notebook(server.root / "busy.ipynb", "sum(range(10**8))")
    job = server.verify("busy.ipynb")[1]["job"]
    waits = []
    while server.call("GET", f"verify/{job}")[1]["state"] == "running":
        began = time.monotonic()
        server.ask("GET", "/api")
        waits.append(time.monotonic() - began)
    assert sorted(waits)[len(waits) // 2] < 0.2


def test_importing_the_package_loads_no_server():
    code = "import sys, jupyter_codeagent; print({'tornado', 'jupyter_server'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
