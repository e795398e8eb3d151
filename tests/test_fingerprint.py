"""Input files as they are recorded, and what is said of them where they changed; the files may be hostile."""

import csv
import json
import os
import sqlite3

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_codeagent.fingerprint import entry, input_of, states
from jupyter_codeagent.tabular import table_of


def fingerprint(path):
    told = entry(input_of(path.name, path.parent))
    del told["name"]
    return told


CSV = 'id,name,price,day,ok,none\r\n1,"a\nb",1.5,2026-01-02,true,\r\n\r\n2,c,NaN,2026-01-03 10:00,False,NA\r\n'


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a folder with one table in each form."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "a.csv").write_bytes(CSV.encode("utf-8-sig"))
    (folder / "a.tsv").write_text("x\ty;z\tx\n1\t2\t3\n")
    (folder / "semi.csv").write_text("x;y\n1,5;2\n")
    (folder / "a.jsonl").write_text('{"x": 1, "y": [1]}\n\n{"x": 1.5, "z": null, "y": "t"}\n[1]\n')
    frame = pd.DataFrame({"n": [1, 2], "t": ["a", "b"], "d": pd.to_datetime(["2026-01-01"] * 2), "l": [[1], [2]]})
    frame.to_parquet(folder / "a.parquet")
    with sqlite3.connect(folder / "a.db") as database:
        database.execute('CREATE TABLE "odd ""name" (x INTEGER, y)')
        database.execute("CREATE TABLE other (z TEXT)")
        database.executemany("INSERT INTO other VALUES (?)", [("a",), ("b",), ("c",)])
    database.close()
    return folder


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        (
            "a.csv",
            2,
            {"id": "integer", "name": "text", "price": "number", "day": "date", "ok": "boolean", "none": "empty"},
        ),
        ("a.tsv", 1, {"x": "integer", "y;z": "integer", "x.1": "integer"}),
        ("semi.csv", 1, {"x": "text", "y": "integer"}),
        ("a.jsonl", 3, {"x": "number", "y": "mixed", "z": "empty"}),
        ("a.parquet", 2, {"n": "int64", "t": "text", "d": "timestamp", "l": "nested"}),
        ("a.db", 3, {'odd "name.x': "integer", 'odd "name.y': "any", "other.z": "text"}),
    ],
)
def test_columns_types_and_rows_are_read(tables, name, rows, columns):
    found = fingerprint(tables / name)
    assert found["rows"] == rows and found["columns"] == columns
    assert found["size"] == (tables / name).stat().st_size and len(found["blake2b"]) == 32
    assert states({"inputs": [{"name": name, **found}]}, tables)[0].state == "same"


def test_what_is_no_table_has_no_columns(tmp_path):
    for name, content in {
        "a.txt": b"x", "a.csv": b"", "b.csv": b"a" * 2_000_000, "wide.csv": b"a," * 600, "a.jsonl": b"{",
        "a.parquet": b"PAR1" + b"\xff" * 20, "a.db": b"SQLite format 3\0", "deep.jsonl": b"[" * 100_000,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert table_of(tmp_path / name) is None, name
        assert set(fingerprint(tmp_path / name)) == {"size", "blake2b"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_no_table_or_one(tables, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["a.parquet", "a.db", "a.csv", "a.jsonl"]))
    content = bytearray((tables / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged{os.path.splitext(name)[1]}"
    path.write_bytes(content)
    table = table_of(path)
    assert table is None or json.dumps(table.columns)


@settings(max_examples=100, deadline=None)
@given(footer=st.binary(min_size=1, max_size=60))
def test_a_hostile_parquet_footer_is_no_table_or_one(tmp_path_factory, footer):
    path = tmp_path_factory.getbasetemp() / "hostile.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    table_of(path)


def test_how_a_file_has_changed_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "b.bin").write_bytes(b"12")
    record = {"inputs": [{"name": n, **fingerprint(tmp_path / n)} for n in ("a.csv", "b.bin")]}
    (tmp_path / "a.csv").write_text("x,z,new\n1,a,3\n4,5,6\n")
    (tmp_path / "b.bin").write_bytes(b"13")
    first, second = states(record, tmp_path)
    assert (first.state, second.state) == ("changed", "changed")
    assert first.detail == (
        "The input a.csv has changed since it was recorded: it had 12 bytes and has 20; it had 1 row and has 2; "
        "columns removed: y; columns added: new; column z was integer and is text."
    )
    assert second.detail == "The input b.bin has changed since it was recorded: its content is another."


def test_what_cannot_be_looked_at_is_missing_and_nothing_outside_is_read(tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("x\n1\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.csv").symlink_to(outside)
    (folder / "round.csv").symlink_to(folder / "round.csv")
    os.mkfifo(folder / "pipe.csv")
    names = [
        "gone.csv",
        "link.csv",
        "round.csv",
        "pipe.csv",
        "sub/x.csv",
        str(outside),
        "../outside.csv",
        "a\0b",
        "",
        3,
    ]
    found = states({"inputs": [{"name": name, **fingerprint(outside)} for name in names]}, folder)
    assert [(s.name, s.state) for s in found] == [(name, "missing") for name in names[:5]]
    assert "leads out" in found[1].detail and "no regular file" in found[3].detail


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "size", "rows", "columns", "blake2b", "x"]), inner, max_size=5
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(entry=st.dictionaries(st.sampled_from(["size", "rows", "columns", "blake2b"]), anything), record=anything)
def test_a_hostile_record_is_answered(tables, entry, record):
    states(record, tables)
    (state,) = states({"inputs": [{"name": "a.csv", **entry}]}, tables)
    assert state.state in ("same", "changed") and state.detail.isprintable()


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet='ab,"\n\r ', max_size=30))
def test_rows_are_those_that_a_reader_of_csv_finds(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_bytes(f"x,y\n{text}".encode())
    table = table_of(path)
    with path.open(newline="") as file:
        assert table is None or table.rows == sum(1 for row in csv.reader(file) if row) - 1
