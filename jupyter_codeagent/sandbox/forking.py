"""What a fork does to libraries in use: the cures before and after it, and what has none.

Runs inside the sandbox, in the worker. Standard library only.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import fcntl
import os
import queue
import re
import selectors
import stat
import sys
import threading
import time
from typing import Any

# native threads, by name, whose libraries hang in every fork made after their first use
POOLS = {"polars": re.compile(r"polars-\d|tokio")}
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri")  # what is open on a graphics processor belongs to one process
SETTLE = 0.1  # seconds for a thread that has just done its work to say that it is idle
KEPT = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC  # flags of a file that is opened again


_numbers: Any = None  # the state of `random` at the fork: Python seeds it anew in each child


def before() -> None:
    """Get ready for a fork.

    OpenMP runtimes end their pools, and both sides build them anew (OpenMP 5.0, omp_pause_resource_all).
    """
    global _numbers
    random = sys.modules.get("random")
    _numbers = random.getstate() if random is not None else None
    with open("/proc/self/maps") as file:
        libraries = {line.split()[-1] for line in file if "omp" in line and ".so" in line}
    for library in libraries:
        if os.path.basename(library).startswith(("libgomp", "libiomp", "libomp")):
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(library).omp_pause_resource_all(2)


def hazards(copies: set[int]) -> list[str]:
    """Return why a copy of this process could not be relied on, each as the rest of "because ..."; at best nothing.

    Parameters
    ----------
    copies : set of int
        Children of this process that are copies of it, and not the code's.
    """
    names = natives()
    found = [f"{library} has started threads" for library, pattern in POOLS.items() if any(map(pattern.match, names))]
    threads = strangers()
    deadline = time.monotonic() + SETTLE
    while threads and all(name.startswith((WORKER, "waitpid-")) for name in threads) and time.monotonic() < deadline:
        time.sleep(0.001)
        threads = strangers()
    if threads:
        found.append(f"{count(len(threads), 'thread')} of the code would be missing ({', '.join(threads[:3])})")
    if children := own_children() - copies - replaceable():
        found.append(f"{count(len(children), 'process', 'processes')} that the code started would be missing")
    if on_a_device():
        found.append("a graphics processor is in use")
    return found


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def natives() -> set[str]:
    """Return the names of this process's threads, as the kernel has them."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as file:
            found.add(file.read().strip())
    return found


# -- threads ------------------------------------------------------------------------------------------

WORKER = "a pool's thread"


def strangers() -> list[str]:
    """Return the Python threads that a copy would lack and nothing would start again, by name."""
    main, idle, pooled = threading.main_thread(), idle_workers() | loky_threads(), pool_threads()
    known = {thread.ident: thread.name for thread in threading.enumerate() if thread is not main}
    ours = [t for t in threading.enumerate() if t is not main and not isinstance(t, threading._DummyThread)]
    unnamed = max(_thread._count() - len(ours), len(sys._current_frames().keys() - known.keys() - {main.ident}))
    found = [f"{WORKER} {name}" if i in pooled else name for i, name in known.items() if i not in idle]
    return sorted(name[:60] for name in [*found, *["unnamed"] * unnamed])


def pools() -> list[Any]:
    """Return all thread pools of concurrent.futures that have threads."""
    module = sys.modules.get("concurrent.futures.thread")
    # each worker thread holds a weak reference to its pool as its first argument
    threads = list(getattr(module, "_threads_queues", ()))
    references = [thread._args[0] for thread in threads if getattr(thread, "_args", None)]
    return list({id(p): p for p in (reference() for reference in references) if p is not None}.values())


def pool_threads() -> set[int | None]:
    """Return the threads of all thread pools."""
    return {thread.ident for pool in pools() for thread in pool._threads}


def idle_workers() -> set[int | None]:
    """Return the threads of pools that have nothing to do; a pool whose owner is gone has none that matter."""
    idle = [p for p in pools() if not p._work_queue.qsize() and p._idle_semaphore._value >= len(p._threads)]
    found = {thread.ident for pool in idle for thread in pool._threads}
    return found | {thread.ident for thread in list(_orphans())}


def _orphans() -> list[threading.Thread]:
    module = sys.modules.get("concurrent.futures.thread")
    return [
        thread
        for thread in list(getattr(module, "_threads_queues", ()))
        if getattr(thread, "_args", None) and thread._args[0]() is None
    ]


def loky() -> Any:
    """Return the module of joblib's own process pool, if there is one."""
    return sys.modules.get("joblib.externals.loky.reusable_executor")


def loky_threads() -> set[int | None]:
    """Return the threads of joblib's process pool, which is made anew when it is missed."""
    executor = getattr(loky(), "_executor", None)
    manager = getattr(executor, "_executor_manager_thread", None)
    feeder = getattr(getattr(executor, "_call_queue", None), "_thread", None)
    return {thread.ident for thread in (manager, feeder) if thread is not None}


# -- processes ----------------------------------------------------------------------------------------


def own_children() -> set[int]:
    """Return the living children of this process."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            found |= set(map(int, file.read().split()))
    return {pid for pid in found if living(pid)}


def living(pid: int) -> bool:
    """Say whether a process exists and has not ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def replaceable() -> set[int]:
    """Return children whose loss is noticed and made good by those who use them."""
    executor = getattr(loky(), "_executor", None)
    return {*(getattr(executor, "_processes", None) or {}), *(tracker._pid for tracker in trackers())}


def trackers() -> list[Any]:
    """Return what stands for the processes that clear away shared memory; they are started when they are needed."""
    names = ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")
    found = [getattr(sys.modules.get(name), "_resource_tracker", None) for name in names]
    return [tracker for tracker in found if tracker is not None]


def on_a_device() -> bool:
    """Say whether a graphics processor is open; a driver's state does not survive a fork (CUDA C Guide, 3.2.1)."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return True
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith(DEVICES):
                return True
    return False


# -- in the copy --------------------------------------------------------------------------------------


def after() -> None:
    """Mend in a new copy what it shares with its parent, or lacks."""
    reopen()
    if _numbers is not None:
        sys.modules["random"].setstate(_numbers)
    for pool in pools():  # their threads did not come along
        pool._threads.clear()
        pool._idle_semaphore = threading.Semaphore(0)
        pool._work_queue = queue.SimpleQueue()
        pool._shutdown_lock = threading.Lock()
    module = sys.modules.get("concurrent.futures.thread")
    if module:
        module._threads_queues.clear()
    if loky():
        loky()._executor = None
        loky()._executor_kwargs = None
    for tracker in trackers():
        if tracker._fd is not None:
            os.close(tracker._fd)
        tracker._fd = tracker._pid = None
    for loop in loops():
        with contextlib.suppress(AttributeError, OSError, ValueError, KeyError):
            part(loop)


def reopen() -> None:
    """Open regular files again: else parent and copy would move one and the same position."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with contextlib.suppress(OSError):  # it cannot be opened a second time, or was the folder just listed
            if stat.S_ISREG(os.fstat(fd).st_mode):
                own = os.open(f"/proc/self/fd/{fd}", fcntl.fcntl(fd, fcntl.F_GETFL) & KEPT | os.O_CLOEXEC)
                os.lseek(own, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
                os.dup2(own, fd, inheritable=os.get_inheritable(fd))
                os.close(own)


def loops() -> list[Any]:
    """Return the event loops that are kept from cell to cell."""
    helpers = sys.modules.get("IPython.core.async_helpers")
    policy = getattr(sys.modules.get("asyncio.events"), "_event_loop_policy", None)
    found = [getattr(helpers, "_asyncio_event_loop", None), getattr(getattr(policy, "_local", None), "_loop", None)]
    return list({id(loop): loop for loop in found if loop is not None and not loop.is_closed()}.values())


def part(loop: Any) -> None:
    """Give an event loop a selector and a wake-up pipe of its own: what one process wakes, another would miss."""
    shared, wake = loop._selector, loop._ssock.fileno()
    own = selectors.DefaultSelector()
    for key in list(shared.get_map().values()):
        if key.fd != wake:
            own.register(key.fileobj, key.events, key.data)
    loop._selector = own
    shared.close()
    loop._ssock.close()
    loop._csock.close()
    loop._internal_fds -= 1
    loop._make_self_pipe()
