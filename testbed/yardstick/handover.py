#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
handover.py BENCH HOW RUNS RAM... - how long a guest stands still, and how long its whole move
takes, by the size of its RAM, untouched and all written; the rows interleaved run by run.
HOW: copy or fd. Prints a table in Markdown: min, median, max.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile


def migrate(bench, how, ram, fill, where):
    row, timeline = os.path.join(where, "row"), os.path.join(where, "timeline")
    command = [bench, "run", "--profile", "instant", "--vfs", "1", "--transitions", "parallel",
               "--runs", "1", "--handover", how, "--ram", ram, "--json", row, "--timeline", timeline]
    subprocess.run(command + (["--fill-ram"] if fill else []), check=True, stdout=subprocess.DEVNULL)
    with open(row) as file:
        blackout = json.loads(file.readline())["blackout_ms"]["median"]
    with open(timeline) as file:
        spans = [s for s in json.load(file)["spans"] if s["side"] == "source"]
    begin = min(s["start_ns"] for s in spans if s["name"] == "setup")
    end = max(s["end_ns"] for s in spans if s["name"] == "GO to STARTED")
    return blackout, (end - begin) / 1e6


def spread(values, digits):
    return " ".join(f"{v:.{digits}f}" for v in (min(values), statistics.median(values), max(values)))


def main():
    if len(sys.argv) < 5 or sys.argv[2] not in ("copy", "fd") or not sys.argv[3].isdigit():
        sys.exit(__doc__.strip())
    bench, how, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rows = {(ram, fill): [] for ram in sys.argv[4:] for fill in (False, True)}
    with tempfile.TemporaryDirectory() as where:
        for _ in range(runs):
            for ram, fill in rows:
                rows[ram, fill].append(migrate(bench, how, ram, fill, where))
    print("| RAM | handover | blackout, ms | from `migrate` to STARTED, ms |\n|---|---|---|---|")
    for (ram, fill), samples in rows.items():
        print(f"| {ram}{', all written' if fill else ''} | {how} "
              f"| {spread([s[0] for s in samples], 1)} | {spread([s[1] for s in samples], 0)} |")


main()
