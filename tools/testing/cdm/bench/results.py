# SPDX-License-Identifier: GPL-2.0
"""The results of make bench, as CSV files in a directory: move.csv, profile.csv (see
move.py), wall.csv (see wall.py), about.csv. What is not there reads as nothing
measured."""
import csv
import os

WAYS = ["move_pages-ram", "mbind-ram", "migrate_vma", "move_pages", "mbind",
        "driver"]
OURS = "driver"
NUMBERS = ["pages", "marks", "all", "copy", "mirror", "rest", "spread", "stall",
           "left", "flushes", "before", "after", "instructions", "ratio",
           "low", "high", "us_a", "us_b"]


def convert(row):
    for name in NUMBERS:
        if row.get(name):
            row[name] = float(row[name])
    if row.get("pages"):
        row["pages"] = int(row["pages"])
    return row


def read(directory, name):
    path = f"{directory}/{name}.csv"
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return [convert(row) for row in csv.DictReader(file)]


class Results:
    def __init__(self, directory):
        self.moves = read(directory, "move")
        self.profile = read(directory, "profile")
        self.wall = read(directory, "wall")
        self.about = {row["what"]: row["is"]
                      for row in read(directory, "about")}

    def rows(self, **where):
        """What has been measured and fits."""
        return [row for row in self.moves if not row["why"]
                and all(row[name] == value for name, value in where.items())]

    def row(self, **where):
        """The first one: boots that measure the same thing agree."""
        rows = self.rows(**where)
        return rows[0] if rows else None

    def pages(self, **where):
        return sorted({row["pages"] for row in self.rows(**where)})
