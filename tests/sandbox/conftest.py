"""A small sandbox for attacks; its limits are low so that no test can hurt the machine."""

import os

import pytest

from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from tests.sandbox.servers import Server

MIB = 2**20


def small(workspace=None, **changes):
    """Return a policy with low limits."""
    values = {"memory": 512 * MIB, "processes": 64, "timeout": 3, "disk": 32 * MIB, "output": MIB, **changes}
    return SandboxPolicy(workspace=workspace, **values)


@pytest.fixture(scope="module")
def target(request):
    """A sandbox that a whole file of attacks is made on; the file may change its policy by POLICY."""
    with Sandbox(small(**getattr(request.module, "POLICY", {}))) as found:
        yield found


@pytest.fixture
def victim(target):
    """That sandbox with a state worth keeping; afterwards it must work, and hold it."""
    target.reset()
    assert target.execute("kept = [1, 2, 3]").error is None
    point = target.checkpoint()
    yield target
    target.rollback(point)
    seen = target.execute("kept")
    assert (seen.text, seen.error) == ("[1, 2, 3]\n", None)
    point.drop()


@pytest.fixture
def own():
    """A sandbox of the test's own, for what may end it."""
    with Sandbox(small()) as found:
        yield found


@pytest.fixture
def descriptors():
    """No descriptor may be left open by the test."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture(scope="session")
def jupyter_server(tmp_path_factory):
    """A second Jupyter server on this machine, which hosts sandboxes."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
