#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Placement by use: a table, and a plot for each workload.

usage: placement.py RESULTS
       placement.py RESULTS rst > Documentation/mm/cdm/placement.rst

Reads RESULTS/place.txt, what place.c has printed, and writes placement.csv,
placement.txt and placement-WORKLOAD.svg there; or the table as a page.
"""
import csv
import subprocess
import sys
from collections import defaultdict

from counts import load

PAGE = """.. SPDX-License-Identifier: GPL-2.0

===========================
Placement by use: a measure
===========================

This file is written by "make performance-table" from the results of the last
"make bench" or "make bench-place"; do not edit it.

A program and accelerators pass over memory, in steps. Each access to a cache line
costs the latency that firmware (HMAT) gives for it: 100 ns where it is near, 200 ns
or what the topology says where it is far; a device is taken to be as far from RAM as
CPUs are from the device, and two devices from each other as both ways together. A
page that migrates costs a read of all its lines here and a write there. The accesses
are counted by the program, and where the memory is, is looked at before and after each
step; no times are measured.

"to the best" is the cost, with all migrations, in relation to the best static
placement for the same accesses: each 64 KiB for itself where it costs least, as far
as the device has room, known in advance. "RAM" and "device" are the same for all in
RAM, and for as much as fits on the (first) device. "balancing" is
kernel.numa_balancing. Memory is in RAM at the begin. A target for (d) is that what
both use stays: how much moves a second, in the second half of the run.

::

{table}
{scan}
The workloads: (a) CPUs write to a bit of the input, the device computes on all of it,
most on its first half, CPUs look at a bit of the result, again and again, with room
for half of it on the device; (b) CPUs write to a window, the device reads it 12 times,
and the window moves on, round and round; (c) both sides look at memory at random, each
most often at a fifth of it, the device more often; (d) both use anything, as much;
(e) one half is used by the device, the other by CPUs, and in the middle of the run they
change; (f) each of two devices and the CPUs have a third.

A static placement cannot follow a change, which is why (e) may be below 1.
"""

WHAT = {
    "steps": "(a) five steps, more than fits",
    "window": "(b) a window moves on",
    "search": "(c) search from both sides",
    "random": "(d) both at random",
    "phases": "(e) phases change",
    "two": "(f) two devices",
}
TARGET = {"steps": 1.05, "window": 1.05, "search": 1.10, "phases": 1.05,
          "two": 1.05}
STEP = ["workload", "mode", "step", "ms", "chunks_1", "chunks_2", "cost",
        "migrated"]
TOTAL = ["workload", "mode", "cost", "migrated", "oracle", "ram", "device",
         "chunks", "ms"]


def read(path):
    steps, totals = defaultdict(list), []
    with open(path, encoding="ascii") as file:
        for line in file:
            kind, *fields = line.split()
            if kind == "step":
                row = dict(zip(STEP, fields))
                steps[row["workload"], row["mode"]].append(row)
            elif kind == "total":
                totals.append(dict(zip(TOTAL, fields)))
    return steps, totals


def ratio(row, what):
    return float(row[what]) / float(row["oracle"])


def moved_per_second(rows, total):
    """In the second half, when it is known that both sides use it."""
    first, last = rows[len(rows) // 2], rows[-1]
    seconds = (float(last["ms"]) - float(first["ms"])) / 1000
    moved = int(last["migrated"]) - int(first["migrated"])
    return moved / (int(total["chunks"]) * 16) / seconds


def verdict(row, rows):
    """Of the target for what the workload is about."""
    name = row["workload"]
    if row["mode"] != "4":
        return ""
    if name == "random":
        rate = moved_per_second(rows, row)
        return f"<= 1% of folios a second: {rate:.2%} " + (
            "kept" if rate <= 0.01 else "missed")
    return "kept" if ratio(row, "cost") <= TARGET[name] else "missed"


def table(steps, totals):
    yield (f"{'workload':32} {'balancing':>9} {'to the best':>11} "
           f"{'RAM':>6} {'device':>6} {'migrated':>9}  target")
    for row in totals:
        name = row["workload"]
        goal = f"<= {TARGET[name]:.2f} " if name in TARGET else ""
        yield (f"{WHAT[name]:32} {row['mode']:>9} {ratio(row, 'cost'):11.3f} "
               f"{ratio(row, 'ram'):6.2f} {ratio(row, 'device'):6.2f} "
               f"{row['migrated']:>9}  {goal}"
               + verdict(row, steps[name, row["mode"]]))


def scan_overhead(out):
    """What balancing costs a program at the worst, as a part of all that it does."""
    counts, at, total = load(f"{out}/scan.counts"), 0, {}
    with open(f"{out}/scan.txt", encoding="ascii") as file:
        for name, marks in (line.split() for line in file):
            total[name] = sum(c.insns + c.user
                              for c in counts[at:at + int(marks)])
            at += int(marks)
    return total["balancing"] / total["off"] - 1


def scan_text(out):
    try:
        more = scan_overhead(out)
    except OSError:
        return "What finding out about CPUs costs them was not measured.\n"
    return (f"Finding out what CPUs use costs them {more:.2%} more instructions "
            "(target: 3%): of\na program that does nothing but use 64 MiB on a "
            "device, whose owner keeps it\nthere, on a CPU with an instruction in "
            "a nanosecond. That counts the faults and\nthe worker.\n")


def plot(out, name, rows, total):
    start = float(rows[0]["ms"])
    points = "\n".join(
        f"{(float(row['ms']) - start) / 1000} {int(row['chunks_1']) / 16} "
        f"{int(row['chunks_2']) / 16} {float(row['cost']) / float(total['oracle'])} "
        f"{float(row['step']) / len(rows)}" for row in rows)
    second = (', $d using 1:3 with lines lw 2 title "on device 2"'
              if name == "two" else "")
    script = f"""set terminal svg size 800,450 font "sans,12"
set output "{out}"
set title "{WHAT[name]}"
set grid
set key outside right top
set xlabel "seconds"
set ylabel "MiB on a device"
set y2label "cost so far, of the best static placement in all"
set y2tics
set ytics nomirror
$d << END
{points}
END
plot $d using 1:2 with lines lw 2 title "on device 1"{second}, \\
  $d using 1:4 axes x1y2 with lines dt 2 title "cost", \\
  $d using 1:5 axes x1y2 with lines dt 3 title "best, evenly"
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    out = sys.argv[1]
    steps, totals = read(f"{out}/place.txt")
    if sys.argv[2:] == ["rst"]:
        lines = "".join(f"\t{line}".rstrip() + "\n"
                        for line in table(steps, totals))
        print(PAGE.format(table=lines, scan=scan_text(out)), end="")
        return
    with open(f"{out}/placement.csv", "w", encoding="ascii", newline="") as file:
        writer = csv.DictWriter(file, STEP)
        writer.writeheader()
        for rows in steps.values():
            writer.writerows(rows)
    text = "\n".join(table(steps, totals)) + "\n"
    with open(f"{out}/placement.txt", "w", encoding="ascii") as file:
        file.write(text)
    print(text + scan_text(out), end="")
    for total in totals:
        if total["mode"] == "4":
            name = total["workload"]
            plot(f"{out}/placement-{name}.svg", name, steps[name, "4"], total)


if __name__ == "__main__":
    main()
