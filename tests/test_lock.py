"""Locks of a notebook's packages, made by uv with a package index of our own, and what is said where there is none."""

import hashlib
import io
import re
import threading
import time
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jupyter_codeagent import lock

NAME = "tiny_package-1.0-py3-none-any.whl"


def wheel():
    """Return a wheel that says that it requires what is nowhere."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        info = "tiny_package-1.0.dist-info"
        text = "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\nRequires-Dist: nowhere\n"
        archive.writestr(f"{info}/METADATA", text)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return held.getvalue()


WHEEL = wheel()


@pytest.fixture
def index(monkeypatch, tmp_path):
    """Return the package index that uv asks: one wheel, or what is put into its `link`; `slow` makes it wait."""
    digest = hashlib.sha256(WHEEL).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            while self.server.slow and not self.server.over.wait(0.05):
                pass
            page = f'<a href="{self.server.link}#sha256={digest}">{NAME}</a>'.encode()
            known = {"/simple/tiny-package/": page, f"/files/{NAME}": WHEEL}
            self.send_response(200 if self.path in known else 404)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/zip")
            self.send_header("Content-Length", str(len(known.get(self.path, b""))))
            self.end_headers()
            self.wfile.write(known.get(self.path, b""))

        def do_HEAD(self):
            self.send_error(405)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.slow, server.over, server.link = False, threading.Event(), f"/files/{NAME}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name in ("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://me:opensesame@127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_lock_has_the_recorded_versions_with_addresses_and_hashes(index):
    made = lock.make({"python": "3.11.7", "Tiny.Package": "1.0", "mine": "0.1 @ local"})
    assert made.problem == "The lock leaves out what was installed from a folder or file: mine."
    (package,) = tomllib.loads(made.text)["packages"]
    assert (package["name"], package["version"]) == ("tiny-package", "1.0")
    assert package["wheels"][0]["hashes"]["sha256"] == hashlib.sha256(WHEEL).hexdigest()
    assert "opensesame" not in made.text and str(Path.cwd()) not in made.text


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"tiny-package": "2.0"}, r"No lock was made: uv says: .*tiny-package==2\.0.*"),
        ({"absent": "1.0"}, r"No lock was made: uv says: .*absent.*"),
        ({"python": "3.12"}, r"No lock was made: there is no package in it that an index has\."),
        ({"mine": "1 @ local"}, r"No lock was made: there is no package in it that an index has\."),
    ],
)
def test_where_there_is_no_lock_one_sentence_says_why(index, environment, said):
    made = lock.make(environment)
    assert made.text == "" and re.fullmatch(said, made.problem) and "opensesame" not in made.problem


def test_a_lock_that_is_waited_for_too_long_or_stopped_is_none(index):
    index.slow = True
    assert lock.make({"tiny-package": "1.0"}, timeout=0.3).problem.endswith("did not answer within 0 s.")
    began = time.monotonic()
    stopped = lock.make({"tiny-package": "1.0"}, stopping=lambda: time.monotonic() - began > 0.2)
    assert stopped == lock.Lock(problem="No lock was made: it was stopped.")


def test_a_lock_that_names_files_of_this_machine_is_none(index, tmp_path, monkeypatch):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / NAME).write_bytes(WHEEL)
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "links"))
    made = lock.make({"tiny-package": "1.0"})
    assert "files of this machine" in made.problem and str(tmp_path) not in made.problem


def test_a_lock_lies_beside_the_notebook_under_an_allowed_name():
    names = {"a.ipynb": "pylock.a.toml", "a.solved.ipynb": "pylock.a-solved.toml", ".ipynb": "pylock.toml"}
    for notebook, name in names.items():
        assert lock.lock_path(Path("folder", notebook)) == Path("folder", name)


def test_a_script_block_pins_what_an_index_has():
    text = lock.script_block({"python": "3.12.1", "b": "1.0", "a": "2 @ git+https://host/a@0f", "mine": "1 @ local"})
    block = re.fullmatch(r"# /// script\n((?:#(?: .*)?\n)+)# ///", text)
    data = tomllib.loads("".join(line[2:] for line in block[1].splitlines(keepends=True)))
    assert data == {"requires-python": "==3.12.*", "dependencies": ["a @ git+https://host/a@0f", "b==1.0"]}
    assert "requires-python" not in lock.script_block({"python": "3\nx", "b": "1"})
