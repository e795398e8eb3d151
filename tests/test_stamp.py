"""The stamp of a verified notebook: what it is bound to, and how it comes into the file."""

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import v4

from jupyter_codeagent import stamp
from jupyter_codeagent.notebook_file import read_notebook, write_notebook

VECTORS = json.loads((Path(__file__).parent / "data" / "stamps.json").read_text())["vectors"]
SAME = [
    ("one cell", "one cell: counts, ids and other metadata do not count"),
    ("one cell", "one cell: texts as lists"),
    ("streams that follow each other", "streams in one: the same as before"),
    ("what was written over", "what was written over: as it is seen"),
    ("a record: inputs and environment", "a record: the rest of it does not count"),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def notebook(*sources):
    return v4.new_notebook(cells=[v4.new_code_cell(s, outputs=[printed(s)]) for s in sources or ["1"]])


def printed(text):
    return v4.new_output("stream", name="stdout", text=text)


def stamped(folder, *sources, ok=True):
    path = write_notebook(notebook(*sources), folder / "n.ipynb", overwrite=True)
    assert stamp.write_stamp(path, stamp.make(read_notebook(path), ok, ["cell 1: it differs."])) == ""
    return path


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_hash_is_the_one_of_the_published_vectors(vector):
    assert stamp.content_hash(vector["notebook"]) == vector["hash"]


def test_what_does_not_count_changes_no_hash_and_all_else_does():
    hashes = {v["name"]: v["hash"] for v in VECTORS}
    assert all(hashes[one] == hashes[other] for one, other in SAME)
    assert len(set(hashes.values())) == len(VECTORS) - len(SAME)


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.cells[0].update(source="2"),
        lambda n: n.cells[0].outputs[0].update(text="2"),
        lambda n: n.cells[0].outputs[0].update(name="stderr"),
        lambda n: n.cells[0].outputs.clear(),
        lambda n: n.cells[0].metadata.update(tags=["skip-execution"]),
        lambda n: n.cells.reverse(),
        lambda n: n.cells.append(v4.new_markdown_cell("")),
        lambda n: n.metadata["jupyter_codeagent"].update(environment={"python": "3.0.0"}),
        lambda n: n.metadata["jupyter_codeagent"].update(inputs=[]),
    ],
)
def test_an_edit_makes_the_stamp_worthless(tmp_path, change):
    found = read_notebook(stamped(tmp_path, "1", "3"))
    assert stamp.state_of(found) == "verified"
    assert re.fullmatch(r"The file's own stamp says that it was verified on [0-9: -]{16} UTC\.", stamp.told(found))
    change(found)
    assert stamp.state_of(found) == "edited" and "that stamp counts for nothing" in stamp.told(found)


def test_stamp_survives_saving_elsewhere_and_says_what_failed(tmp_path):
    path = stamped(tmp_path, "a\nb", ok=False)
    found = read_notebook(path)
    assert stamp.state_of(found) == "failed" and stamp.stamp_of(found)["reasons"] == ["cell 1: it differs."]
    write_notebook(found, path, overwrite=True)
    assert stamp.state_of(read_notebook(path)) == "failed"
    assert stamp.state_of(notebook()) == "none" and stamp.told(notebook()) == ""


def test_stamp_fits_the_published_schema(tmp_path):
    schema = json.loads(Path(stamp.__file__).with_name("schemas").joinpath("metadata.json").read_text())
    record = read_notebook(stamped(tmp_path)).metadata["jupyter_codeagent"]
    part = {**schema["$defs"]["notebook"], "$defs": schema["$defs"]}
    jsonschema.validate(record, part)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record, "verified": {"ok": True}}, part)


def test_all_but_the_stamp_stays_as_it_was(tmp_path):
    path = tmp_path / "n.ipynb"
    text = json.dumps({"nbformat": 4, "z": 1, "metadata": {"b": 1, "a": 2}, "cells": [], "nbformat_minor": 2}, indent=2)
    path.write_text(text)
    path.chmod(0o640)
    assert stamp.write_stamp(path, stamp.make(json.loads(text), True)) == ""
    found = json.loads(path.read_text())
    assert found["metadata"].pop("jupyter_codeagent")["version"] == 1
    assert json.dumps(found, indent=2) == text and path.stat().st_mode & 0o777 == 0o640
    assert '\n  "z": 1' in path.read_text() and os.listdir(tmp_path) == ["n.ipynb"]


@pytest.mark.parametrize("text", ['"text/plain": "1", "application/json": {"a": NaN, "b": 1e999}', '"text/plain": "1"'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_with_what_is_no_json_or_a_byte_order_mark_is_stamped(tmp_path, text, mark):
    path = write_notebook(v4.new_notebook(cells=[v4.new_code_cell("1")]), tmp_path / "n.ipynb")
    output = f'"outputs": [{{"output_type": "display_data", "metadata": {{}}, "data": {{{text}}}}}]'
    path.write_text(mark + path.read_text().replace('"outputs": []', output), "utf-8")
    assert stamp.write_stamp(path, stamp.make(read_notebook(path), True)) == ""
    json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    assert stamp.state_of(read_notebook(path)) == "verified" and '\n "metadata"' in path.read_text("utf-8")


def test_file_that_changed_meanwhile_is_not_stamped(tmp_path):
    path = write_notebook(notebook(), tmp_path / "n.ipynb")
    made = stamp.make(read_notebook(path), True)
    path.write_bytes(before := path.read_bytes().replace(b'"1"', b'"2"'))
    assert "changed while it was verified" in stamp.write_stamp(path, made)
    assert path.read_bytes() == before
    path.write_text("{")
    assert "not stamped" in stamp.write_stamp(path, made) and path.read_text() == "{"
    path.unlink()
    assert "not stamped" in stamp.write_stamp(path, made)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder_leaves_the_file_as_it_was(tmp_path):
    path = write_notebook(notebook(), tmp_path / "n.ipynb")
    before, made = path.read_bytes(), stamp.make(read_notebook(path), True)
    tmp_path.chmod(0o500)
    try:
        assert "not stamped" in stamp.write_stamp(path, made)
    finally:
        tmp_path.chmod(0o700)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["n.ipynb"]


@given(ANYTHING, ANYTHING, ANYTHING)
def test_nothing_in_a_notebook_trips_the_hash(outputs, record, verified):
    record = {**record, "verified": verified} if isinstance(record, dict) else record
    cell = {"cell_type": "code", "source": "1", "outputs": outputs}
    found = {"cells": [cell, outputs], "metadata": {"jupyter_codeagent": record}}
    assert stamp.content_hash(found) == stamp.content_hash(json.loads(json.dumps(found)))
    assert stamp.state_of(found) in ("none", "edited") and len(stamp.told(found)) < 200


def test_deep_data_has_a_hash():
    deep = current = []
    for _ in range(100_000):
        current.append([])
        current = current[0]
    cell = {"cell_type": "code", "outputs": [{"output_type": "display_data", "data": {"application/json": deep}}]}
    assert len(stamp.content_hash({"cells": [cell]})) == 32
