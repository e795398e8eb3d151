"""A Jupyter server of the tests' own: JupyterLab and Notebook 7 on one port, under a prefix as JupyterHub gives."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat

PREFIX = "/user/ada/"
EXTENSION = "jupyter-codeagent-labextension"
BUNDLE = Path(__file__).parents[2] / "jupyter_codeagent" / "labextension"
KERNELSPEC = Path(__file__).parents[2] / "kernelspec"
# The toast about news covers the right panel; recovered files would come back in other tests.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension/tracker": {"recordTiming": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class JupyterServer:
    """Runs until it is closed; everything it writes stays below `place`.

    Parameters
    ----------
    place : Path
        An empty folder.
    endpoint : str
        The Messages server that kernels talk to.
    python : str
        The interpreter whose JupyterLab is started.
    bundle : Path or None
        The built extension of this checkout, put before any that is installed, and its kernel; None: what is installed.
    options : tuple of str
        Further options of the server.
    """

    def __init__(
        self,
        place: Path,
        endpoint: str,
        python: str = sys.executable,
        bundle: Path | None = BUNDLE,
        options: tuple[str, ...] = (),
    ) -> None:
        self.place, self.token, self.port = place, secrets.token_hex(8), _free_port()
        self.root = place / "work"
        self.settings_folder = place / "settings"
        folders = {
            name: place / name for name in ("config", "data", "runtime", "ipython", "workspaces", "work", "settings")
        }
        for folder in folders.values():
            folder.mkdir(parents=True)
        if bundle is not None:
            extensions = folders["data"] / "labextensions"
            extensions.mkdir()
            (extensions / EXTENSION).symlink_to(bundle.resolve(), target_is_directory=True)
            # as an installation puts it; the package of this checkout need not be installed
            kernels = folders["data"] / "kernels"
            kernels.mkdir()
            (kernels / "codeagent-sandbox").symlink_to(KERNELSPEC.resolve(), target_is_directory=True)
        # the tests of Python use it; its buttons are not what the tests of the toolbar look for
        page = folders["config"] / "labconfig" / "page_config.json"
        page.parent.mkdir()
        page.write_text(json.dumps({"disabledExtensions": {"nbdime-jupyterlab": True}}))
        self.reset_settings()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "JUPYTER", "JPY", "IPYTHON"))}
        self.environment = {
            **kept,
            "JUPYTER_CONFIG_DIR": str(folders["config"]),
            "JUPYTER_DATA_DIR": str(folders["data"]),
            "JUPYTER_PREFER_ENV_PATH": "0",  # else an installed extension goes before the one of this checkout
            "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
            "IPYTHONDIR": str(folders["ipython"]),
            "JUPYTERLAB_SETTINGS_DIR": str(folders["settings"]),
            "JUPYTERLAB_WORKSPACES_DIR": str(folders["workspaces"]),
            "ANTHROPIC_BASE_URL": endpoint,
            "ANTHROPIC_API_KEY": "not-a-real-key",
        }
        self.log = (place / "server.log").open("w")
        command = [python, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self.port}"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.root}"]
        command += [f"--ServerApp.base_url={PREFIX}", "--ServerApp.port_retries=0"]
        command += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
        self.process = subprocess.Popen(
            [*command, *options], env=self.environment, cwd=self.root, stdout=self.log, stderr=subprocess.STDOUT
        )
        self._await_answer()

    @property
    def url(self) -> str:
        """The address, with the prefix."""
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    def address(self, path: str, query: str = "") -> str:
        """Return the address of a page, with the token."""
        return f"{self.url}{path}?{query}{'&' if query else ''}token={self.token}"

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the server's own interface and return what it answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}api/{path}", data, method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def shut_down_kernels(self) -> None:
        """End every session, as closing each notebook with its kernel does."""
        for session in self.api("GET", "sessions"):
            try:
                self.api("DELETE", f"sessions/{session['id']}")
            except urllib.error.HTTPError as error:
                if error.code not in (404, 410):
                    raise

    def reset_settings(self, **more: dict[str, Any]) -> None:
        """Write the settings that every test begins with, and no others."""
        shutil.rmtree(self.settings_folder, ignore_errors=True)
        for name, values in {**SETTINGS, **more}.items():
            file = self.settings_folder / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))

    def write(self, path: str, cells: list[Any], **metadata: Any) -> Path:
        """Write a notebook of code cells (text) or of cells as nbformat has them; returns where it lies."""
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, **metadata})
        notebook.cells = [nbformat.v4.new_code_cell(c) if isinstance(c, str) else nbformat.from_dict(c) for c in cells]
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        return file

    def close(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def _await_answer(self) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                self.api("GET", "status")
                return
            except OSError:
                time.sleep(0.1)
        said = (self.place / "server.log").read_text()[-2000:]
        raise RuntimeError(f"JupyterLab did not start within a minute. Its log ends with:\n{said}")


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
