#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What bench-move.sh has counted: instructions for each page of 4 KiB.

usage: move.py table DIRECTORY          for people
       move.py csv DIRECTORY            one line for each operation
       move.py profile DIRECTORY MAP    one line for each function of the most
                                        expensive ones

For each boot NAME there is NAME with the counts of count.c, one line for each mark,
and NAME.operations with what move.c has printed.
"""
import csv
import glob
import os
import statistics
import sys

import counts

FIELDS = ["boot", "way", "kind", "share", "variant", "direction", "pages",
          "marks", "all", "copy", "mirror", "rest", "spread", "stall",
          "left", "flushes", "before", "after", "why"]
KEY = FIELDS[1:7]
MAX_FUNCTIONS = 15


def figures(row, part):
    """Medians of the marks, by page."""
    pages = int(row["pages"])

    def per_page(value):
        return statistics.median(map(value, part)) / pages

    row["all"] = per_page(lambda c: c.insns)
    row["copy"] = per_page(lambda c: c.copies)
    # Everybody calls modules and xarrays; only one of them does it for a mirror.
    row["mirror"] = per_page(lambda c: c.mirror) \
        if row["way"] == "migrate_vma" else 0
    row["rest"] = row["all"] - row["copy"] - row["mirror"]
    if row["way"] == "copy":
        row["copy"] = per_page(lambda c: c.user)
        row["rest"] = row["all"]
        row["all"] += row["copy"]
    each = [c.insns / pages for c in part]
    row["spread"] = (max(each) - min(each)) / row["all"]
    stalls = [c.stall for c in part if c.stall]
    row["stall"] = statistics.median(stalls) if stalls else ""
    if any(c.stopped for c in part) and \
            (row["way"], row["direction"]) != ("migrate_vma", "there"):
        sys.exit(f"cdm: {row['way']} called what ends a count")


def operations(path):
    """The operations of a boot, each with its counts; then what was skipped."""
    left = counts.load(path) if os.path.exists(path) else []
    boot = os.path.basename(path)
    mark = 0
    for line in counts.lines(path + ".operations"):
        if line[:1] not in (["op"], ["skip"]):
            continue
        row = dict.fromkeys(FIELDS, "")
        row["boot"] = boot
        row.update(zip(KEY, line[1:7]))
        if line[0] == "skip":
            row["why"] = " ".join(line[7:])
            yield row, mark
            continue
        row.update(zip(["marks", "left", "flushes", "before", "after"],
                       line[7:]))
        part, left = left[:int(row["marks"])], left[int(row["marks"]):]
        if len(part) != int(row["marks"]):
            print(f"cdm: {boot}: fewer counts than marks", file=sys.stderr)
            return
        figures(row, part)
        yield row, mark
        mark += len(part)


def boots(directory):
    return sorted(path.removesuffix(".operations")
                  for path in glob.glob(f"{directory}/*.operations"))


def all_rows(directory):
    return [row for path in boots(directory) if not path.endswith("/profile")
            for row, _ in operations(path)]


def rounded(row):
    return {name: round(value, 4) if isinstance(value, float) else value
            for name, value in row.items()}


def print_csv(directory):
    out = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    out.writeheader()
    for row in all_rows(directory):
        out.writerow(rounded(row))


def print_table(directory):
    print(f"{'':52}{'all':>9}{'copy':>9}{'mirror':>9}{'rest':>9}")
    for row in all_rows(directory):
        name = " ".join(row[field] for field in KEY)
        if row["why"]:
            print(f"{name:52} not measured: {row['why']}")
            continue
        print(f"{name:52}" + "".join(f"{row[field]:9,.0f}" for field in (
            "all", "copy", "mirror", "rest"))
            + (f"  {row['left']} left" if row["left"] != "0" else ""))


def names(path, system_map):
    """Of the kernel and of the modules of that boot."""
    modules = [(int(line[1], 16), line[3])
               for line in counts.lines(path + ".operations")
               if line[:1] == ["symbol"] and line[2] in "tTwW"]
    # Behind the last function there is none.
    return counts.Names(sorted(counts.symbols(system_map) + modules
                               + [((1 << 64) - 1, "(end)")]))


def print_profile(directory, system_map):
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(KEY + ["function", "instructions"])
    path = directory + "/profile"
    if not os.path.exists(path + ".profile"):
        return
    marks = counts.by_function(path + ".profile", names(path, system_map))
    for row, first in operations(path):
        if row["why"]:
            continue
        nr = int(row["marks"])
        total = sum((marks[mark] for mark in range(first, first + nr)),
                    start=type(marks[first])())
        for function, count in total.most_common(MAX_FUNCTIONS):
            out.writerow([row[field] for field in KEY]
                         + [function, round(count / nr / int(row["pages"]), 2)])


def main():
    what, directory = sys.argv[1:3]
    if what == "csv":
        print_csv(directory)
    elif what == "profile":
        print_profile(directory, sys.argv[3])
    else:
        print_table(directory)


if __name__ == "__main__":
    main()
