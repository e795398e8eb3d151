"""Code that speaks for the worker: a forged, broken or endless message is judged from outside."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os
import time
from pathlib import Path

import nbformat
import pytest

from tests.sandbox.conftest import MIB
from tests.sandbox.test_abuse_output import notebook, size

POLICY = {"timeout": 1}  # seconds; many of these attacks last as long as they may

FIND = """
import json, os, socket, struct, sys, time
worker = sys.stdout.worker
wire = worker.channel.socket
def say(message): raw(json.dumps(message).encode())
def raw(data, kind=b'j'): wire.sendall(kind + struct.pack('>I', len(data)) + data)
"""

FORGED = {
    "done_before_the_end": "say({'op': 'done', 'id': 0, 'error': None, 'names': {}})\nimport time; time.sleep(1)\n1 / 0",
    "done_twice": "say({'op': 'done', 'id': 0, 'error': None, 'names': {}}); say({'op': 'done', 'id': 0, 'error': None, 'names': {}})",
    "done_with_lies": "say({'op': 'done', 'id': 0, 'error': {'ename': 1, 'evalue': [], 'traceback': {}, 'frames': 3}, 'names': [1]})",
    "done_with_a_large_error": (
        "say({'op': 'done', 'id': 0, 'error': {'ename': 'x' * 10**6, 'evalue': 'y' * 10**6, 'traceback': ['z' * 60000] * 200,"
        " 'frames': [{'file': 'f' * 10**6, 'line': True, 'function': None, 'source': 's' * 10**6}] * 100}, 'names': {'a': 'b' * 10**6}})"
    ),
    "output_of_wrong_types": (
        "for data in (None, 1, 'x', [], {'text/plain': 1}, {1: 2}, {'image/png': 'x'}, {'text/html': ['x']}, {'text/plain': '\\ud800'}):\n"
        "    say({'op': 'output', 'kind': 5, 'data': data, 'display_id': [], 'update': 'yes'})"
    ),
    "output_with_a_strange_mime": "say({'op': 'output', 'kind': 'display_data', 'data': {'application/javascript': 'alert(1)', 'x' * 10**6: 'y'}})",
    "update_of_what_is_not_there": "say({'op': 'output', 'kind': 'display_data', 'data': {}, 'display_id': 'other', 'update': True})",
    "unknown_operations": "for op in ('hello', 'forked', 'reaped', 'ready', 'x', None, 3, []): say({'op': op, 'ended': [[1, 2]], 'threads': 3})",
    "no_object": "for data in (b'[]', b'3', b'null', b'\"x\"', b''): raw(data)",
    "no_json": "raw(b'\\xff\\xfe{')",
    "not_a_number": "raw(b'{\"op\": NaN}')",
    "infinite": "raw(b'{\"op\": \"done\", \"error\": {\"frames\": [{\"line\": 1e999}]}}')",
    "huge_number": "raw(b'{\"op\": ' + b'9' * 10**6 + b'}')",
    "deep": "raw(b'[' * 10**6)",
    "deep_objects": "raw(b'{\"a\":' * 10**5 + b'1' + b'}' * 10**5)",
    "same_key_many_times": "raw(b'{' + b','.join([b'\"op\":\"x\"'] * 10**5) + b'}')",
    "many_empty_lists": "raw(b'{\"op\":\"x\",\"y\":[' + b','.join([b'[]'] * (4 << 20)) + b']}')",
    "a_frame_too_large": "wire.sendall(b'j' + struct.pack('>I', 2**32 - 1) + bytes(2**20))",
    "half_a_frame": "wire.sendall(b'j' + struct.pack('>I', 1000) + b'{')\ntime.sleep(100)",
    "half_a_header": "wire.sendall(b'j\\0\\0')\ntime.sleep(100)",
    "a_byte_at_a_time": "wire.sendall(b'o' + struct.pack('>I', 2**20))\nwhile True: wire.sendall(b'x'); time.sleep(0.01)",
    "unknown_kinds": "for kind in range(256): raw(b'{}', bytes([kind]))",
    "garbage": "wire.sendall(os.urandom(2**20))",
    "empty_frames": "while True: wire.sendall((b'o' + struct.pack('>I', 0)) * 10000)",
    "endless_unknown": "while True: say({'op': 'nothing', 'x': 'y' * 10**6})",
    "endless_late_text": "while True: raw(b'x' * 10**5, b'l')",
    "endless_clear": "while True: say({'op': 'clear', 'wait': True})",
    "out_of_band": "wire.send(b'x', socket.MSG_OOB)",
    "closed": "wire.close()",
    "closed_for_writing": "wire.shutdown(socket.SHUT_WR)\ntime.sleep(100)",
    "closed_for_reading": "wire.shutdown(socket.SHUT_RD)",
    "every_descriptor_closed": "os.closerange(0, 1024)",
    "pipes_closed": "os.close(1); os.close(2); print('x')",
    "channel_replaced": "worker.channel.socket = socket.socketpair()[0]",
    "send_replaced": "worker.send = lambda message: None",
    "answer_replaced": "type(worker).answer = lambda self: time.sleep(100)\ntype(worker).execute = None",
    "protect_replaced": "type(worker).protect = lambda self, filters: None",
    "fork_replaced": "type(worker).fork = lambda self, fds: self.channel.send({'op': 'forked', 'threads': []})",
    "fork_never_answers": "type(worker).fork = lambda self, fds: time.sleep(100)",
    "hello_by_itself": (
        "def fork(self, fds):\n    s = socket.socket(fileno=fds[0]); d = json.dumps({'op': 'hello'}).encode()\n"
        "    s.sendall(b'j' + struct.pack('>I', len(d)) + d); self.channel.send({'op': 'forked', 'threads': []})\n"
        "type(worker).fork = fork"
    ),
    "json_replaced": "json.dumps = lambda *a, **k: '{\"op\": \"done\", \"error\": null, \"names\": {}}'",
    "flush_hangs": "sys.stdout.flush = lambda: time.sleep(100)",
    "stdout_replaced": "sys.stdout = sys.stderr = None",
    "main_thread_ends": "import threading; threading.Thread(target=time.sleep, args=(100,)).start()\nimport ctypes; ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)",
    "another_program": "os.execv('/bin/sleep', ['sleep', '100'])",
    "exit": "os._exit(0)",
    "abort": "os.abort()",
    "stops_itself": "import signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "ignores_everything": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
    "catches_everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "filter_that_fakes_success": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "program = struct.pack('HBBI', 0x20, 0, 0, 0) + struct.pack('HBBI', 0x15, 0, 1, 317) + struct.pack('HBBI', 6, 0, 0, 0x50000)"
        " + struct.pack('HBBI', 6, 0, 0, 0x7fff0000)\n"
        "b = ctypes.create_string_buffer(program, len(program)); f = struct.pack('HxxxxxxQ', 4, ctypes.addressof(b))\nlibc.syscall(317, 1, 1, f)"
    ),
}  # fmt: skip


def resident():
    """Return the bytes of memory that the supervisor's process, this one, uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_never_gets_past_the_supervisor(victim, name):
    before, began = resident(), time.monotonic()
    seen = victim.execute(f"{FIND}\n{FORGED[name]}")
    assert time.monotonic() - began < 8
    assert size(seen) < 3 * MIB
    nbformat.validate(notebook(seen))
    assert seen.error is None or seen.error.ename
    # whatever became of this state, the next executions answer in time, and going back brings the state of before
    began = time.monotonic()
    victim.execute("later = 1")
    victim.execute("later = 2")
    assert time.monotonic() - began < 25
    assert resident() - before < 400 * MIB


def test_success_can_be_forged_only_for_the_state_itself(victim):
    """Code may say that it worked: so success is never taken from its word where it counts, but from a fork without it."""
    point = victim.checkpoint()
    seen = victim.execute(f"{FIND}\nworker.failed = lambda *a: setattr(worker, 'caught', None)\nvalue = 1\n1 / 0")
    assert seen.error is None or seen.error.ename == "ZeroDivisionError"
    [first, check] = victim.rehearse(point, ["value = 1", "assert value == 2"])
    assert first.error is None
    assert check.error.ename == "AssertionError"
    point.drop()


def test_a_fork_made_by_the_code_does_not_speak_for_its_parent(victim):
    seen = victim.execute("""
import os
child = os.fork()
name = 'child' if child == 0 else 'parent'
print(name)
if child: os.waitpid(child, 0)
""")
    assert seen.error is None
    assert seen.names["name"].endswith("'parent'")
    assert victim.execute("name").text == "'parent'\n"


def test_a_fork_that_goes_on_answers_no_request(victim):
    victim.execute("import os, time\nif os.fork() == 0:\n    time.sleep(0.5)\nwho = os.getpid()")
    time.sleep(0.8)
    first = victim.execute("who == os.getpid()")
    assert first.text == "True\n"


def test_output_of_a_thread_of_the_cell_before_is_not_this_cells(victim):
    victim.execute("""
import threading, time
def speak():
    time.sleep(0.3)
    for _ in range(20): print('late', flush=True); time.sleep(0.02)
threading.Thread(target=speak, daemon=True).start()
""")
    seen = victim.execute("import time; time.sleep(0.7); print('mine')")
    assert "mine" in seen.text
    assert "late" not in seen.text
    assert any("threads of earlier code" in note for note in seen.notes)


def test_names_the_code_gives_are_only_names(victim):
    seen = victim.execute(f"{FIND}\nglobals()['x\\x1b]52;c;aGk=\\x07'] = 1\nglobals()['a b'] = 2\nfine = 3")
    assert all(name.isidentifier() for name in seen.names)
    assert "fine" in seen.names


def test_a_value_passed_in_cannot_be_changed_outside(victim):
    numpy = pytest.importorskip("numpy")
    mine = numpy.arange(1000)
    seen = victim.execute("theirs[:] = 7; theirs.sum()", values={"theirs": mine})
    assert seen.error is None
    assert mine.sum() == 499500
