"""A second Jupyter server, started for a test: with a token, behind a base path, on this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-the-tests"
BASE = "/hub/user/somebody/"


class Server:
    """A running server."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{BASE}"
        self.process = None

    def start(self):
        """Start it, and wait until it answers."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY"))}
        for name in ("CONFIG", "DATA", "RUNTIME"):
            environ[f"JUPYTER_{name}_DIR"] = str(self.folder / name)
        options = {
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.base_url": BASE,
            "ServerApp.root_dir": self.folder / "root",
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": TOKEN,
        }
        (self.folder / "root").mkdir(exist_ok=True)
        spec = self.folder / "DATA" / "kernels" / "codeagent-sandbox"
        if not spec.exists():
            shutil.copytree(ROOT / "kernelspec", spec)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", *(f"--{name}={value}" for name, value in options.items())],
                env=environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                return self.ask("status")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def ask(self, path):
        """Return what it says below /api/."""
        request = urllib.request.Request(f"{self.url}api/{path}", headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def stop(self):
        """End it and its kernels."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
