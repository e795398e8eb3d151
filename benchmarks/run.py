"""Measure jupyter_codeagent against its baselines on this machine.

    python benchmarks/run.py                    # everything, about 10 minutes
    python benchmarks/run.py --quick            # fewer repetitions, about 2 minutes
    python benchmarks/run.py --only loop start  # some of it; --list names them
    python benchmarks/run.py --json FILE        # every figure, with the machine and its load
    python benchmarks/run.py --table FILE       # what such a file holds, as the table of docs/benchmarks.md

What is compared is measured in turn within one run. Exit status 0, whether bars are kept or not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # this checkout's `benchmarks` and `tests`, from any folder

from benchmarks import executing, filing, loop, memory, passing, saving, starting, trying, ui, undoing, verifying  # noqa: E402
from benchmarks.measure import Row, load, machine  # noqa: E402

Benchmark = Callable[[bool], Iterator[Row]]

ALL: dict[str, Benchmark] = {
    "start": starting.sandbox_start,
    "kernel": starting.kernel_start,
    "import": starting.imports,
    "execute": executing.round_trip,
    "states": undoing.states,
    "files": filing.folder,
    "candidates": trying.candidates,
    "pool": trying.waiting,
    "loop": loop.attempts,
    "prompts": loop.prompts,
    "memory": memory.idle,
    "values": passing.values,
    "save": saving.notebook,
    "live": saving.live,
    "verify": verifying.verifying,
    "ui": ui.front_end,
}


def main() -> None:
    """Run what was asked for, print a table, and write the figures."""
    options = arguments()
    if options.list:
        print(*(f"{name:10}{(job.__doc__ or '').splitlines()[0]}" for name, job in ALL.items()), sep="\n")
        return
    if options.table:
        print("\n".join(table(json.loads(options.table.read_text()))))
        return
    report: dict[str, Any] = {"machine": machine(), "load_before": load(), "quick": options.quick, "rows": []}
    print(f"{report['machine']['system']}, Python {report['machine']['python']}, {report['machine']['cores']} cores")
    print(f"load {' '.join(map(str, report['load_before']))}\n")
    missed = []
    for name in options.only or ALL:
        started = time.perf_counter()
        for row in ALL[name](options.quick):
            report["rows"].append({"benchmark": name, **row.data()})
            missed += [row.what] if row.met is False else []
            print(line(row), flush=True)
        print(f"  ({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    report["load_after"] = load()
    print(f"load {' '.join(map(str, report['load_after']))}")
    print(f"{len(missed)} bars missed: {', '.join(missed)}" if missed else "All bars were kept.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ALL), help="these benchmarks")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print a file that --json wrote as Markdown")
    return parser.parse_args()


def line(row: Row) -> str:
    """Return a row as a line or two of text."""
    found = row.data()
    text = f"{row.what}\n    {number(found)} {row.unit}"
    if row.baseline:
        text += f"   x{found['ratio']['median']:.2f} of {row.against}: {number(found['baseline'])}"
    if row.bar is not None:
        sign = ">=" if row.least else "<="
        text += f"   {'ok' if row.met else 'MISSED'}: bar {sign} {'x' if row.baseline else ''}{row.bar:g}"
    return f"{text}\n    {row.note}" if row.note else text


def table(report: dict[str, Any]) -> Iterator[str]:
    """Yield a report as lines of Markdown."""
    machine, before, after = report["machine"], report["load_before"], report["load_after"]
    who = "root" if machine["root"] else "an ordinary user"
    yield (
        f"{machine['system']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, Python {machine['python']}, as "
        f"{who}; load {before[0]:g} before and {after[0]:g} after. "
        + ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if name != "jupyter-codeagent")
        + "."
    )
    yield ""
    yield "| what | median (10th to 90th percentile) | against | ratio | bar |"
    yield "| --- | --- | --- | --- | --- |"
    for row in report["rows"]:
        against = f"{row['against']}: {number(row['baseline'])}" if row.get("against") else ""
        ratio = f"{row['ratio']['median']:.2f}" if row.get("ratio") else ""
        bar = "" if row["bar"] is None else f"{row['bar']:,g}, {'kept' if row['met'] else 'missed'}"
        yield f"| {row['what']} | {number(row)} {row['unit']} | {against} | {ratio} | {bar} |"


def number(found: dict[str, Any]) -> str:
    """Return a median with its spread."""
    if found["n"] == 1:
        return f"{found['median']:,.6g}"
    return f"{found['median']:,.1f} ({found['p10']:,.1f} to {found['p90']:,.1f})"


if __name__ == "__main__":
    main()
