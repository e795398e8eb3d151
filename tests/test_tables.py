"""A look at tables: what is found, and that the lines which are written really clean the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_codeagent.models import tables

MAKE_SALES = Path(__file__).parent.parent / "examples" / "make_sales.py"


def read(path: Path) -> Any:
    """Execute the lines for a file, and return the frame."""
    table = tables.look(path)
    assert table is not None
    names: dict[str, Any] = {"pd": pd}
    exec(tables.reading(str(path), table), names)
    return names["df"]


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "file.csv"
    path.write_text(text, encoding)
    return path


@pytest.mark.parametrize("seed", range(25))
def test_generated_sales_files_sum_up_to_the_truth(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "sales.csv"
    command = [sys.executable, MAKE_SALES, "--seed", str(seed), "--out", path, "--truth"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    df = read(path)
    sums = df.groupby(df.columns[1])[df.columns[3]].sum().sort_values(ascending=False)
    assert sums.round(2).to_dict() == pytest.approx(told["truth"])
    assert list(sums.index) == list(told["truth"])


def test_the_example_file_is_the_same_everywhere(tmp_path: Path) -> None:
    command = [sys.executable, MAKE_SALES]
    subprocess.run(command, check=True, cwd=tmp_path)
    lines = (tmp_path / "messy_sales.csv").read_text().splitlines()
    assert lines[0] == "Date,Region,Units,Revenue "
    assert len(lines) == 3776
    assert any(',"$1,' in line for line in lines)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["$500", "$1,234.50", "$7"], [500, 1234.5, 7]),
        (["1.234,50 €", "0,99 €", "12,00 €"], [1234.5, 0.99, 12]),
        (["1 234,50 kr", "7,00 kr", "1,00 kr"], [1234.5, 7, 1]),
        (["1.234 kr.", "2.500,00 kr.", "7,50 kr."], [1234, 2500, 7.5]),
        (["USD 1,000", "USD 2,500", "USD 10"], [1000, 2500, 10]),
        (["(500)", "1,000", "25"], [-500, 1000, 25]),
        (["-$5.50", "$2.00", "$-1.00"], [-5.5, 2, -1]),
        (["−3 €", "4 €", "5 €"], [-3, 4, 5]),
        (["5%", "12.5%", "100%"], [0.05, 0.125, 1]),
        (["12 kg", "0.5 kg", "3 kg"], [12, 0.5, 3]),
        (["$1", "n/a", "?"], [1, None, None]),
        (["Rs. 1,500", "Rs. 20", "Rs. 3"], [1500, 20, 3]),
    ],
)
def test_amounts_written_as_text_become_numbers(tmp_path: Path, values: list[str], numbers: list[float | None]) -> None:
    path = written(tmp_path, "a;b\n" + "".join(f"x;{v}\n" for v in values))
    assert [None if pd.isna(v) else v for v in read(path)["b"]] == pytest.approx(numbers)


@pytest.mark.parametrize(
    "values",
    [
        ["12 kg", "500 g", "3 kg"],
        ["$5", "€5", "£5"],
        ["A12", "B13", "A14"],
        ["S-014", "S-027", "S-101"],
        ["yes", "no", "12"],
        ["2024-W01", "2024-W02", "x"],
    ],
)
def test_what_is_no_plain_amount_stays_text(tmp_path: Path, values: list[str]) -> None:
    path = written(tmp_path, "a;b\n" + "".join(f"x;{v}\n" for v in values))
    assert list(read(path)["b"]) == values


def test_dates_in_one_clear_format_become_dates_and_others_stay(tmp_path: Path) -> None:
    rows = ["31/01/2024,01/02/2024", "02/03/2024,03/04/2024"]
    df = read(written(tmp_path, "clear,unclear\n" + "\n".join(rows) + "\n"))
    assert list(df["clear"]) == [pd.Timestamp(2024, 1, 31), pd.Timestamp(2024, 3, 2)]
    assert list(df["unclear"]) == ["01/02/2024", "03/04/2024"]


def test_lines_above_the_header_totals_spaces_and_encoding(tmp_path: Path) -> None:
    text = "Bericht\n\n Ort ; Betrag \n Köln;1.000,50 €\nBonn ;2,00 €\nSumme;1.002,50 €\n"
    path = written(tmp_path, text, "cp1252")
    df = read(path)
    assert df.to_dict("list") == {"Ort": ["Köln", "Bonn"], "Betrag": [1000.5, 2.0]}


def test_many_rows_that_read_like_totals_are_records(tmp_path: Path) -> None:
    path = written(tmp_path, "kind,n\n" + "total,1\npart,2\n" * 10)
    assert len(read(path)) == 20


def test_a_tidy_file_gets_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,x\n2,y\n")
    table = tables.look(path)
    assert table is not None
    assert tables.reading("f.csv", table).splitlines() == [
        "df = pd.read_csv('f.csv')",
        "# columns of df: 'a' (number), 'b' (text, such as 'x', 'y')",
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "just a line\n", "one\ntwo\nthree\n", "\0\1\2", '"unclosed\n1,2\n'])
def test_what_is_no_table_is_none(tmp_path: Path, text: str) -> None:
    assert tables.look(written(tmp_path, text)) is None


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    table = tables.look(path)
    if table is not None:
        compile(tables.reading("x.csv", table), "cell", "exec")


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=1, max_size=6))
def test_whatever_the_cells_hold_the_lines_are_python(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    import csv

    path = tmp_path_factory.getbasetemp() / "cells.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        csv.writer(stream).writerows([["a\n'b", 'c"\\'], *rows])
    table = tables.look(path)
    if table is not None:
        compile(tables.reading("x'\n.csv", table), "cell", "exec")
