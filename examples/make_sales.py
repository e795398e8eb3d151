"""Write a messy sales file, the same one for the same seed, and tell what is really in it.

    python make_sales.py                                 # messy_sales.csv: Region, "Revenue ", $1,234.50
    python make_sales.py --seed 7 --out other.csv        # other names, currency, separators, junk rows
    python make_sales.py --seed 7 --out other.csv --truth    # also prints the task and the true sums as JSON

The truth is summed up from the clean amounts before any of them is made messy.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REGIONS = [
    ("Region", ["North", "South", "East", "West", "Central"]),
    ("Territory", ["Alpine", "Coastal", "Inland", "Islands"]),
    ("Branch", ["Leeds", "Bristol", "York", "Derby", "Hull", "Bath"]),
    ("Country", ["Norway", "Spain", "Poland", "Ireland", "Greece"]),
    ("Sales Channel", ["Online", "Retail", "Wholesale", "Partner"]),
    ("Department", ["Garden", "Kitchen", "Toys", "Sports", "Books", "Music"]),
    ("Store ID", ["S-014", "S-027", "S-101", "S-230"]),
]
AMOUNTS = ["Revenue", "Sales", "Amount", "Turnover", "Net Sales", "Order Value", "Income"]
BLANKS = ["", "", "N/A", "n/a", "-", "NULL", "?", "missing"]


@dataclass(frozen=True)
class Look:
    """How the file looks: names, money, separators and what was put around the table."""

    region: str
    amount: str
    regions: Sequence[str]
    money: Callable[[float], str]
    delimiter: str = ","
    padding: bool = False  # spaces around some labels
    title: bool = False  # lines above the header
    total: bool = False  # a line with the total below the table
    missing: float = 0.04  # share of the amounts


def english(value: float) -> str:
    """Return 1234.5 as 1,234.50."""
    return f"{value:,.2f}"


def continental(value: float) -> str:
    """Return 1234.5 as 1.234,50."""
    return english(value).translate(str.maketrans(",.", ".,"))


def spaced(value: float) -> str:
    """Return 1234.5 as 1 234,50."""
    return english(value).translate(str.maketrans(",.", " ,"))


def dollars(value: float) -> str:
    """Return whole amounts without cents, as people type them."""
    return f"${value:,.0f}" if value == int(value) else f"${english(value)}"


def minus(money: Callable[[float], str], brackets: bool) -> Callable[[float], str]:
    """Return `money` for amounts below zero too: -$5 or ($5)."""
    return lambda v: money(v) if v >= 0 else f"({money(-v)})" if brackets else f"-{money(-v)}"


MONEY = [
    (dollars, ","),
    (lambda v: f"£{english(v)}", ","),
    (lambda v: f"{english(v)} USD", ","),
    (lambda v: f"{continental(v)} €", ";"),
    (lambda v: f"€ {continental(v)}", "\t"),
    (lambda v: f"{spaced(v)} kr", ";"),
    (lambda v: f"{continental(v)} kr.", ";"),
    (lambda v: f"EUR {english(v)}", "|"),
]


def look(seed: int) -> Look:
    """Return the look that belongs to a seed; 0 is the one of the examples."""
    if seed == 0:
        return Look("Region", "Revenue ", REGIONS[0][1], dollars)
    draw = random.Random(f"look {seed}")
    region, regions = draw.choice(REGIONS)
    money, delimiter = draw.choice(MONEY)
    padded = draw.choice(["{}", "{} ", " {}", " {} "])
    return Look(
        region=padded.format(region) if draw.random() < 0.3 else region,
        amount=padded.format(draw.choice(AMOUNTS)),
        regions=regions,
        money=minus(money, brackets=draw.random() < 0.5),
        delimiter=delimiter,
        padding=draw.random() < 0.5,
        title=draw.random() < 0.4,
        total=draw.random() < 0.4,
        missing=draw.choice([0.02, 0.05, 0.1]),
    )


def sales(seed: int, form: Look) -> list[tuple[str, str, int, float | None]]:
    """Return the clean rows: date, region, units, amount or None."""
    draw = random.Random(f"rows {seed}")
    weights = [draw.uniform(0.5, 2) for _ in form.regions]
    rows: list[tuple[str, str, int, float | None]] = []
    for _ in range(draw.randint(2000, 4000)):
        day = f"2024-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        value = round(draw.lognormvariate(6, 1), draw.choice([0, 2]))
        value = -value if seed and draw.random() < 0.01 else value
        amount = None if draw.random() < form.missing else value
        rows.append((day, draw.choices(form.regions, weights)[0], draw.randint(1, 20), amount))
    return rows


def truth(rows: Sequence[tuple[str, str, int, float | None]]) -> dict[str, float]:
    """Return the sums by region, largest first; missing amounts count as nothing."""
    sums: dict[str, float] = defaultdict(float)
    for _, region, _, amount in rows:
        sums[region] += amount or 0.0
    return {k: round(v, 2) for k, v in sorted(sums.items(), key=lambda item: -item[1])}


def text(seed: int, form: Look, rows: Sequence[tuple[str, str, int, float | None]]) -> str:
    """Return the file's text."""
    draw = random.Random(f"mess {seed}")
    out = io.StringIO()
    if form.title:
        rule = draw.choice(["", form.delimiter * 3])
        out.write(f"Sales report 2024\nexported by the till system\n{rule}\n")
    writer = csv.writer(out, delimiter=form.delimiter, lineterminator="\n")
    writer.writerow(["Date", form.region, "Units", form.amount])
    for day, region, units, amount in rows:
        label = draw.choice([region, region, f" {region}", f"{region}  "]) if form.padding else region
        writer.writerow([day, label, units, draw.choice(BLANKS) if amount is None else form.money(amount)])
    if form.total:
        label = draw.choice([("Total", ""), ("", "Total")])
        writer.writerow([*label, sum(r[2] for r in rows), form.money(sum(truth(rows).values()))])
    return out.getvalue()


def main() -> None:
    """Write the file that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which file (default 0, the one of the examples)")
    parser.add_argument("--out", type=Path, default=Path("messy_sales.csv"), help="where to write it")
    parser.add_argument("--truth", action="store_true", help="print the task and the true sums as JSON")
    options = parser.parse_args()
    form = look(options.seed)
    rows = sales(options.seed, form)
    options.out.write_text(text(options.seed, form, rows), encoding="utf-8")
    if options.truth:
        names = form.amount.strip(), form.region.strip()
        task = "In {}, sum {} by {}, sorted descending.".format(options.out.name, *names)
        print(json.dumps({"task": task, "truth": truth(rows)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
