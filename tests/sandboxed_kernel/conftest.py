"""Real kernels with the sandbox, as Jupyter starts them, without an installation."""

import os
import shutil
from pathlib import Path

import pytest

from tests.sandboxed_kernel.notebook import notebook_on

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """An environment in which the kernel is found under its name, without the user's own settings."""
    place = tmp_path_factory.mktemp("jupyter")
    shutil.copytree(ROOT / "kernelspec", place / "share" / "kernels" / "codeagent-sandbox")
    unwanted = ("ANTHROPIC", "JUPYTER_CODEAGENT", "JPY_SESSION_NAME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    paths = {"JUPYTER_DATA_DIR": "data", "JUPYTER_CONFIG_DIR": "config", "IPYTHONDIR": "ipython"}
    folders = {name: str(place / folder) for name, folder in paths.items()}
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**kept, **folders, "JUPYTER_PATH": str(place / "share"), "PYTHONPATH": search}


@pytest.fixture(autouse=True)
def found(environment, monkeypatch):
    """Jupyter in this process looks for kernels there, too."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a notebook."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "data.csv").write_text("amount\n20\n22\n")
    return folder


@pytest.fixture(scope="module")
def shared(environment, folder):
    """A notebook that the tests of a file share."""
    with notebook_on(environment, folder) as notebook:
        yield notebook


@pytest.fixture
def notebook(shared):
    """That notebook; afterwards it must work."""
    yield shared
    assert shared.run("print('still here')").text == "still here\n"


@pytest.fixture
def own(environment, tmp_path):
    """A notebook of the test's own."""
    with notebook_on(environment, tmp_path) as notebook:
        yield notebook
