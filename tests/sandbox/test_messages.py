"""What a remote sandbox and its user say to each other: every message may be anything."""

import io
import json
import os
import queue
import tarfile
import threading

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_codeagent.errors import NotPlainData, SandboxDied, SandboxUnavailable
from jupyter_codeagent.packed import pack as copied
from jupyter_codeagent.sandbox import hosting, plain
from jupyter_codeagent.sandbox.channels import decode, encode
from jupyter_codeagent.sandbox.hosted import spread
from jupyter_codeagent.sandbox.messages import (
    PART,
    REPLIES,
    REQUESTS,
    Assembler,
    BadMessage,
    Message,
    dumps,
    failure,
    observations,
    packed,
    raise_failure,
)
from jupyter_codeagent.trajectory import Observation

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(1) | ANY,
        "op": st.sampled_from(REPLIES) | ANY,
        "id": st.integers(0, 3) | ANY,
        "part": st.integers(0, 3) | ANY,
        "parts": st.integers(0, 4) | ANY,
        "head": st.just({}) | ANY,
    },
)
OUTPUT = st.fixed_dictionaries(
    {"output_type": st.sampled_from(["stream", "display_data", "execute_result", "error"]) | ANY},
    optional={"name": ANY, "text": st.text() | ANY, "data": ANY, "metadata": ANY, "ename": ANY},
)
SEEN = st.fixed_dictionaries(
    {
        "outputs": st.lists(OUTPUT, max_size=4),
        "notes": st.lists(st.text() | ANY, max_size=3),
        "duration": st.floats(0, 9),
    },
    optional={"error": ANY, "names": ANY},
)


# -- parts -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(NEARLY | ANY, st.lists(st.binary(max_size=40), max_size=2)), max_size=8))
def test_parts_that_may_be_anything_give_messages_or_a_sentence(parts):
    reading = Assembler(REPLIES, 100)
    for data, buffers in parts:
        try:
            found = reading.take(data, buffers)
        except BadMessage as error:
            assert str(error).isprintable() and str(error).endswith(".")
            continue
        assert found is None or (found.op in REPLIES and len(found.payload) <= 100 and isinstance(found.head, dict))
        assert reading.size <= 140


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART])
def test_a_message_arrives_as_it_was_sent(size):
    message = Message("done", 7, {"a": [1, "\ud800"]}, os.urandom(size))
    reading = Assembler(REPLIES, 4 * PART)
    found = [reading.take(json.loads(json.dumps(data)), [buffer]) for data, buffer in message.parts()]
    assert found[-1] == message and found[:-1] == [None] * (len(found) - 1)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_message_with_a_lost_part_is_dropped_and_the_next_one_read(lost):
    message = Message("done", 7, {}, os.urandom(2 * PART + 5))
    reading = Assembler(REPLIES, 4 * PART)
    parts = [part for number, part in enumerate(message.parts()) if number != lost]
    assert all(reading.take(data, [buffer]) is None for data, buffer in parts)
    assert [reading.take(data, [buffer]) for data, buffer in message.parts()][-1] == message


def test_a_message_that_is_too_large_is_refused_before_it_has_come():
    reading = Assembler(REPLIES, 3 * PART)
    data = {"version": 1, "op": "done", "id": 1, "part": 0, "parts": 5, "head": {}}
    with pytest.raises(BadMessage):
        reading.take(data, [b""])
    for part in range(3):
        assert reading.take({**data, "part": part, "parts": 4}, [bytes(PART)]) is None
    with pytest.raises(BadMessage, match="bytes"):
        reading.take({**data, "part": 3, "parts": 4}, [b"x"])


def test_a_head_is_small_and_of_json():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    data = {"version": 1, "op": "done", "id": 1, "part": 0, "parts": 1}
    for head in (None, [], {"x": "y" * 2**21}, {"x": deep}):
        with pytest.raises(BadMessage):
            Assembler(REPLIES, 100).take({**data, "head": head}, [b""])


# -- observations and frames -----------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(SEEN | ANY, max_size=3) | ANY)
def test_observations_that_may_be_anything_pass_the_gate_or_are_refused(data):
    payload = json.dumps(data).encode()
    try:
        found = observations(payload)
    except BadMessage:
        return
    for seen in found:
        cell = nbformat.v4.new_code_cell(outputs=seen.outputs)
        nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
        assert "\x1b" not in seen.text and all(name.isidentifier() for name in seen.names)
        assert observations(packed([seen])) == [seen]  # once through the gate, it stays as it is


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_are_no_observations(payload):
    try:
        observations(payload)
    except BadMessage:
        pass


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_frames_that_may_be_anything_give_messages_or_a_sentence(frame):
    try:
        decode(frame)
    except BadMessage:
        pass


@settings(deadline=None)
@given(st.data())
def test_frames_with_changed_bytes_give_messages_or_a_sentence(data):
    frame = bytearray(encode("iopub", {"msg_type": "comm_msg"}, {"comm_id": "x", "data": {"a": 1}}, [b"12", b""]))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        told = decode(bytes(frame))
    except BadMessage:
        return
    assert sum(buffer.nbytes for buffer in told.buffers) <= len(frame)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=5), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_a_frame_is_read_as_jupyter_writes_it(buffers, content):
    from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1

    frame = encode("shell", {"msg_type": "comm_msg"}, content, buffers)
    channel, parts = deserialize_msg_from_ws_v1(frame)
    assert (channel, json.loads(parts[3]), parts[4:]) == ("shell", content, buffers)
    told = decode(serialize_msg_to_ws_v1(parts, "iopub"))
    assert (told.kind, told.content, [bytes(b) for b in told.buffers]) == ("comm_msg", content, buffers)


# -- values ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "1"]), st.integers(-5, 90), st.integers(-5, 90)) | ANY) | ANY,
    st.binary(),
)
def test_an_index_of_values_that_may_be_anything_gives_plain_data_or_a_sentence(index, payload):
    try:
        plain.unpack(payload, json.loads(json.dumps(index)))
    except (BadMessage, NotPlainData):
        pass


def test_values_arrive_as_they_were_sent():
    values = {"a": [1, {"k": (2.5, None)}], "b": b"\x00" * 100, "c": "text", "d": {}}
    index, payload = plain.pack(values)
    assert plain.unpack(payload, json.loads(json.dumps(index))) == values
    assert plain.pack({}) == ([], b"")
    kept = {name: copied(name, value) for name, value in {**values, "e": list(range(10**6))}.items()}
    assert plain.unpack(*reversed(plain.pack(kept))) == {**values, "e": list(range(10**6))}
    with pytest.raises(NotPlainData, match="'f' was not passed"):
        plain.pack({"a": 1, "f": open})


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (SandboxUnavailable("No sandbox: x."), SandboxUnavailable, "No sandbox: x."),
        (SandboxDied("gone"), SandboxDied, "gone"),
        (ValueError("the checkpoint was dropped"), ValueError, "the checkpoint was dropped"),
        (NotPlainData("x", "it is a lock"), NotPlainData, "'x' was not passed: it is a lock."),
        (BadMessage("A message is bad."), SandboxDied, "A message is bad."),
        (ZeroDivisionError("oops"), SandboxDied, "oops"),
    ],
)
def test_a_failure_is_raised_as_what_it_was(error, kind, said):
    with pytest.raises(kind) as caught:
        raise_failure(json.loads(json.dumps(failure(error))))
    assert said in str(caught.value)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["kind", "said", "name", "reason"]), ANY))
def test_a_failure_that_may_be_anything_is_one_line(head):
    with pytest.raises((SandboxDied, SandboxUnavailable, ValueError, NotPlainData)) as caught:
        raise_failure(head)
    assert "\n" not in str(caught.value)


# -- the host --------------------------------------------------------------------------------------


class Comm:
    """A comm that keeps what is sent."""

    def __init__(self):
        self.said = queue.Queue()
        self.parts = Assembler(REPLIES, 2**30)
        self.closed = False

    def send(self, data, buffers=()):
        message = self.parts.take(data, buffers)
        if message is not None:
            self.said.put(message)

    def close(self):
        self.closed = True

    def on_msg(self, take):
        self.take = take

    def on_close(self, close):
        self.gone = close

    def tell(self, message):
        for data, buffer in message.parts():
            self.take({"content": {"data": data}, "buffers": [buffer]})

    def answer(self):
        return self.said.get(timeout=60)


@pytest.fixture
def comm():
    """A comm to a host that has not opened its sandbox."""
    made = Comm()
    hosting.open_host(made, {})
    yield made
    made.gone({})


@settings(max_examples=50, deadline=None)
@given(st.lists(NEARLY | ANY | st.fixed_dictionaries({"content": ANY, "buffers": ANY}), max_size=5))
def test_a_host_answers_whatever_comes_in_a_sentence(messages):
    comm = Comm()
    hosting.open_host(comm, {})
    try:
        for message in messages:
            content = message if isinstance(message, dict) else {}
            comm.take({"content": {"data": message}, "buffers": []})
            comm.take(content)
        comm.tell(Message("ask", 1))
        said = comm.answer()
        while said.op == "failed":
            assert said.head["said"].isprintable()
            said = comm.answer()
        assert said.op in ("unseen", "working")
    finally:
        comm.gone({})


@pytest.mark.parametrize("op", [op for op in REQUESTS if op != "open"])
def test_a_host_does_nothing_before_it_is_opened(comm, op):
    comm.tell(Message(op, 1))
    said = comm.answer()
    assert (said.op, said.head["kind"]) == ("failed", "BadMessage")


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        ({}, b""),
        ({"policy": {"workspace": "/etc"}}, b""),
        ({"policy": {"files": ["/etc/passwd"]}}, b""),
        ({"policy": {"memory": "much"}}, b""),
        ({"policy": {"network": ["host"]}}, b""),
        ({"policy": {"timeout": 1}, "folder": 5}, b""),
        ({"policy": {"timeout": 1}, "folder": "/no/such"}, b""),
        ({"policy": {"timeout": 1}}, b"no tar file"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_and_a_good_one_taken_after_it(comm, head, payload):
    comm.tell(Message("open", 1, head, payload))
    assert comm.answer().op == "failed"
    comm.tell(Message("open", 2, {"policy": {"timeout": 2.0}}))
    assert comm.answer().head["tier"] == "A"
    comm.tell(Message("open", 3, {"policy": {"timeout": 2.0}}))
    assert comm.answer().head["kind"] == "BadMessage"


@pytest.mark.parametrize(
    ("op", "head", "payload"),
    [
        ("execute", {}, b""),
        ("execute", {"timeout": 1, "output": 10**6, "code": 5, "values": []}, b""),
        ("execute", {"timeout": 10**9, "output": 10**6, "code": "1"}, b""),
        ("execute", {"timeout": 1, "output": -1, "code": "1"}, b""),
        ("execute", {"timeout": 1, "output": 10**6, "code": "1", "values": [["x", 5, 5]]}, b"12345"),
        ("execute", {"timeout": 1, "output": 10**6, "code": "1", "dropped": ["x"]}, b""),
        ("put", {"values": [["x", 25, 25]]}, b"\x80\x04N." + b" " * 21),
        ("fetch", {"name": "no name"}, b""),
        ("fetch", {}, b""),
        ("rollback", {"point": 99}, b""),
        ("rollback", {"point": "1"}, b""),
        ("rehearse", {"timeout": 1, "output": 10**6, "point": 1, "size": 2}, b""),
        ("candidates", {"timeout": 1, "output": 10**6, "point": 1}, b"[1]"),
    ],
)
def test_requests_that_make_no_sense_fail_and_the_sandbox_goes_on(comm, op, head, payload):
    comm.tell(Message("open", 1, {"policy": {"timeout": 2.0}}))
    assert comm.answer().op == "done"
    comm.tell(Message("checkpoint", 2))
    assert comm.answer().head == {"point": 1}
    comm.tell(Message(op, 3, head, payload))
    said = comm.answer()
    assert said.op == "failed" and json.dumps(said.head)
    comm.tell(Message("execute", 4, {"timeout": 2, "output": 10**6, "code": "6 * 7"}))
    while (said := comm.answer()).op == "growing":
        pass
    assert observations(said.payload)[0].text == "42\n"


def test_an_answer_can_be_asked_for_again(comm):
    comm.tell(Message("ask", 1))
    assert comm.answer().op == "unseen"
    comm.tell(Message("fetch", 1))
    first = comm.answer()
    comm.tell(Message("fetch", 1))  # sent again, since its answer seemed lost: nothing is done twice
    comm.tell(Message("ask", 1))
    assert comm.answer() == first


def test_too_many_clients_and_requests_are_refused():
    comms = [Comm() for _ in range(hosting.CLIENTS + 1)]
    for comm in comms:
        hosting.open_host(comm, {})
    try:
        assert comms[-1].closed
        for number in range(1, 60):
            comms[0].tell(Message("fetch", number))
        assert all(comms[0].answer().op == "failed" for _ in range(59))
    finally:
        for comm in comms[:-1]:
            comm.gone({})


def test_closing_while_code_runs_ends_the_sandbox(comm):
    before = set(threading.enumerate())
    comm.tell(Message("open", 1, {"policy": {"timeout": 60.0}}))
    assert comm.answer().op == "done"
    comm.tell(Message("execute", 2, {"timeout": 60, "output": 10**6, "code": "print(1, flush=True)\nwhile True: pass"}))
    assert comm.answer().op == "growing"
    comm.gone({})
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive() or "codeagent-host" not in thread.name


# -- the working folder ----------------------------------------------------------------------------


def tar(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                archive.addfile(member)
    return buffer.getvalue()


def test_only_what_stays_inside_is_unpacked(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = tar(
        ("good", tarfile.REGTYPE, b"1"),
        ("../evil", tarfile.REGTYPE, b"2"),
        ("link", tarfile.SYMTYPE, "../.."),
        ("link/evil", tarfile.REGTYPE, b"3"),
        ("near", tarfile.SYMTYPE, "good"),
    )
    assert spread(archive, inside) >= 2
    assert (inside / "good").read_bytes() == b"1" and os.readlink(inside / "near") == "good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE, tarfile.BLKTYPE])
def test_devices_pipes_and_hard_links_are_refused(tmp_path, kind):
    with pytest.raises(BadMessage):
        spread(tar(("x", kind, "/etc/passwd")), tmp_path)


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_are_no_working_folder(tmp_path_factory, data):
    try:
        spread(data, tmp_path_factory.mktemp("x"))
    except BadMessage:
        pass


def test_texts_with_lone_surrogates_travel():
    seen = Observation(notes=("x",), names={"a": "\ud800"})
    assert json.loads(dumps(["\ud800"])) == ["\ud800"]
    assert observations(packed([seen]))[0].names == {"a": "\ufffd"}
