#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The wall-clock ratios that bench.c has printed, as CSV.

usage: wall.py FILE... > wall.csv
"""
import csv
import os
import sys

FIELDS = ["boot", "a", "b", "kind", "direction", "pages", "ratio", "low", "high",
          "us_a", "us_b"]


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(FIELDS)
    for path in sys.argv[1:]:
        with open(path) as file:
            for line in map(str.split, file):
                if line[:1] == ["wall"]:
                    out.writerow([os.path.basename(path)] + line[1:])


if __name__ == "__main__":
    main()
