"""Comparing bytes in memory with those of a file in memory, as fast as the memory is."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator, Sequence

PIECE = 8 * 2**20  # bytes compared at a time
THREADS = 4
MAP_POPULATE = 0x8000

# called with the lock of the interpreter released, unlike what Python itself has for this
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Buffer(ctypes.Structure):
    """Py_buffer, as the C API of Python 3 lays it out."""

    _fields_ = (
        ("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    )  # fmt: skip


def address(view: memoryview | mmap.mmap) -> int:
    """Return where the bytes of a contiguous buffer lie; it must be kept as long as that is used."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    place = int(buffer.buf or 0)
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return place


def mapped(fd: int) -> mmap.mmap:
    """Return a sealed file as memory, to be read."""
    return mmap.mmap(fd, os.fstat(fd).st_size, flags=mmap.MAP_PRIVATE | MAP_POPULATE, prot=mmap.PROT_READ)


def equal(content: bytes | mmap.mmap, pieces: Sequence[tuple[int, memoryview]]) -> bool:
    """Say whether `content` holds the same bytes as `pieces`.

    Parameters
    ----------
    content : bytes or mmap
        Bytes, or a file that is mapped.
    pieces : sequence of tuple
        Where each belongs in the content, and its bytes.
    """
    if isinstance(content, bytes):
        return all(content[place : place + piece.nbytes] == bytes(piece) for place, piece in pieces)
    if any(place + piece.nbytes > len(content) for place, piece in pieces):
        return False
    jobs = _jobs(address(content), pieces)
    lock, different = threading.Lock(), threading.Event()

    def work() -> None:
        while not different.is_set():
            with lock:
                job = next(jobs, None)
            if job is None:
                return
            if _memcmp(*job) != 0:
                different.set()

    size = sum(piece.nbytes for _, piece in pieces)
    helpers = [threading.Thread(target=work) for _ in range(min(THREADS, os.cpu_count() or 1, size // PIECE))]
    for helper in helpers:
        helper.start()
    try:
        work()
    finally:
        for helper in helpers:  # they read what is unmapped after this
            helper.join()
    return not different.is_set()


def _jobs(start: int, pieces: Sequence[tuple[int, memoryview]]) -> Iterator[tuple[int, int, int]]:
    """Yield two addresses and a length at a time."""
    for place, piece in pieces:
        if not piece.nbytes:
            continue
        other = address(piece)
        for done in range(0, piece.nbytes, PIECE):
            yield start + place + done, other + done, min(PIECE, piece.nbytes - done)
