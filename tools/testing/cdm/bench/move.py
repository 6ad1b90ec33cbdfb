#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Print what bench-move.sh has counted: instructions for each page of 4 KiB.

usage: move.py FILE

FILE has a line "instructions nops interrupts switches copies" for each mark, and
FILE.operations a line "name marks pages-per-mark" for each operation.
"""
import statistics
import sys


def lines(path):
    with open(path) as file:
        return [line.split() for line in file]


def main():
    counts = [tuple(map(int, line)) for line in lines(sys.argv[1])]
    print(f"{'':28}{'all':>9}{'copy':>9}{'rest':>9}")
    for name, marks, pages in lines(sys.argv[1] + ".operations"):
        part, counts = counts[:int(marks)], counts[int(marks):]
        if len(part) != int(marks):
            sys.exit(f"cdm: {sys.argv[1]}: fewer counts than marks")
        total = statistics.median(count[0] for count in part) / int(pages)
        copy = statistics.median(count[4] for count in part) / int(pages)
        print(f"{name:28}{total:9,.0f}{copy:9,.0f}{total - copy:9,.0f}")


if __name__ == "__main__":
    main()
