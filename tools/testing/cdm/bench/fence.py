#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Print what bench-fence.sh has counted.

usage: fence.py table DIRECTORY    the table
       fence.py judge DIRECTORY    also whether the contract is kept; if not: 1
       fence.py profile DIRECTORY  the functions that make the difference

A machine is FLAVOUR-TOPOLOGY. Its files are FLAVOUR.map and, for each boot,
FLAVOUR-TOPOLOGY.BOOT with a line of counts for each mark as in count.c,
.BOOT.operations with a line "name marks pages-per-mark" for each operation, and
.BOOT.profile with a line "mark address count" for each instruction.

Operations in which somebody else ran are left out: an interrupt, or more
context switches than it takes. Of the others, the number at the tenth
percentile is shown: the way that most of them take, without filling up a list.
It is the same in each boot where a mean or a median is not.
"""
import collections
import os
import sys

import counts as common
from counts import lines

# The contract, for an anonymous fault: this much more with a device, and
# nothing but nops without.
MORE_WITH_DEVICE = 3

MAX_FUNCTIONS = 25  # of a profile

BASE, OFF, ABSENT = "base-plain", "off-plain", "default-plain"
RIVAL, DEVICE = "base-single", "default-single"
MACHINES = BASE, OFF, ABSENT, RIVAL, DEVICE

ROWS = {
    "unnamed-anon": "anonymous fault, 4 KiB",
    "unnamed-thp": "anonymous fault, 2 MiB",
    "unnamed-unmap": "unmap and free a page",
    "unnamed-write": "write a new page, tmpfs",
    "unnamed-miss": "read a new page, disk",
    "unnamed-hit": "read a cached page",
    "unnamed-fork": "fork, exit, wait",
    "named-anon": "bound: fault, 4 KiB",
    "named-thp": "bound: fault, 2 MiB",
}


class Operation:
    """The counts of one operation in one boot."""

    def __init__(self, counts, pages):
        self.counts = counts
        quiet = [c for c in counts if not c.irqs]
        switches = min(c.switches for c in quiet)
        self.quiet = sorted(c for c in quiet if c.switches == switches)
        self.pages = pages

    def usual(self):
        return self.quiet[len(self.quiet) // 10].insns / self.pages

    def nops(self):
        return self.quiet[len(self.quiet) // 10].nops / self.pages

    def mean(self):
        total = sum(count.insns for count in self.quiet)
        return total / len(self.quiet) / self.pages


def load(path):
    """The operations of a boot, by name; none if it was not booted."""
    if not os.path.exists(path):
        return {}
    counts = common.load(path)
    operations = {}
    for name, marks, pages in lines(path + ".operations"):
        part, counts = counts[:int(marks)], counts[int(marks):]
        if len(part) != int(marks):
            sys.exit(f"cdm: {path}: fewer counts than marks")
        operations[name] = Operation(part, int(pages))
    if counts or not operations:
        sys.exit(f"cdm: {path}: counts and marks do not agree")
    return operations


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def change(value, reference, digits):
    if value is None or reference is None:
        return ""
    return f"{value - reference:+,.{digits}f}"


def print_row(name, boots, digits, value):
    at = {m: value(boots[m][name]) if name in boots[m] else None
          for m in MACHINES}
    digits = max(digits, 2 if "unmap" in name else 0)
    row = [number(at[BASE], digits), number(at[OFF], digits),
           number(at[ABSENT], digits), change(at[ABSENT], at[BASE], digits),
           number(at[RIVAL], digits), number(at[DEVICE], digits),
           change(at[DEVICE], at[RIVAL], digits),
           change(at[DEVICE], at[BASE], digits)]
    print(f"{ROWS[name]:24}" + "".join(f"{c:>11}" for c in row).rstrip())


def print_table(title, boots, digits, value):
    print()
    print(f"{title:24}{'one RAM node':>44}{'and a node of 2 GiB':>44}")
    print(" " * 24 + "".join(f"{head:>11}" for head in (
        "base", "off", "no device", "to base",
        "base: RAM", "device", "to RAM", "to base")))
    for name in ROWS:
        print_row(name, boots, digits, value)


def print_repeatability(first, second):
    """Is every count of a boot the same in the next one?"""
    print()
    for machine in MACHINES:
        if not first[machine]:
            print(f"{machine}: not built")
            continue
        same = marks = quiet = 0
        moved = []
        for name, one in first[machine].items():
            two = second[machine][name]
            pairs = list(zip(one.counts, two.counts))
            marks += len(pairs)
            same += sum(a.insns == b.insns for a, b in pairs)
            quiet += len(one.quiet)
            if one.usual() != two.usual():
                moved.append(f"{name} {two.usual() - one.usual():+.2f}")
        print(f"{machine}: {same} of {marks} counts are the same in a second "
              f"boot ({marks - quiet} were left out); the table is"
              + (" not: " + ", ".join(moved) if moved else ", too"))


def verdict(text, good):
    print(f"{text}: " + ("kept" if good else "NOT KEPT"))
    return good


def check_contract(first, second):
    name = "unnamed-anon"
    base, absent, rival, device = (
        first[m][name] for m in (BASE, ABSENT, RIVAL, DEVICE))
    more = absent.usual() - base.usual()
    nops = absent.nops() - base.nops()
    with_device = device.usual() - rival.usual()
    repeats = all(first[m][name].usual() == second[m][name].usual()
                  for m in (BASE, ABSENT, RIVAL, DEVICE))
    print()
    return all([
        verdict("anonymous fault, the same in both boots", repeats),
        verdict(f"no device: {more:+.0f} a fault, of them {nops:+.0f} nops; "
                "nothing but nops is allowed", more <= nops),
        verdict(f"unnamed, with a device: {with_device:+.0f} a fault to a base"
                f" with as many nodes; {MORE_WITH_DEVICE} are allowed",
                with_device <= MORE_WITH_DEVICE),
    ])


def profile(directory, machine):
    """Instructions per operation by function."""
    path = f"{directory}/{machine}.1"
    if not os.path.exists(path):
        return None
    table = common.symbols(f"{directory}/{machine.split('-')[0]}.map")
    per_function = collections.Counter()
    for mark in common.by_function(path + ".profile",
                                   common.Names(table)).values():
        per_function.update(mark)
    marks = len(lines(path))
    return {name: count / marks for name, count in per_function.items()}


def print_profile(directory):
    profiles = {m: profile(directory, m) for m in MACHINES}
    profiles = {m: p for m, p in profiles.items() if p}
    names = set().union(*profiles.values())

    def spread(name):
        values = [p.get(name, 0) for p in profiles.values()]
        return max(values) - min(values)

    print()
    print(f"{'mean, by function':34}"
          + "".join(f"{machine:>16}" for machine in profiles))
    for name in sorted(names, key=spread, reverse=True)[:MAX_FUNCTIONS]:
        print(f"{name:34}"
              + "".join(f"{p.get(name, 0):16,.2f}" for p in profiles.values()))
    print(f"{'all':34}"
          + "".join(f"{sum(p.values()):16,.2f}" for p in profiles.values()))


def main():
    what, directory = sys.argv[1:]
    if what == "profile":
        print_profile(directory)
        return 0
    first, second = ({m: load(f"{directory}/{m}.{boot}") for m in MACHINES}
                     for boot in (1, 2))
    print_table("kernel instructions", first, 0, Operation.usual)
    print_table("the same, mean", first, 1, Operation.mean)
    print_repeatability(first, second)
    if what == "judge" and not check_contract(first, second):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
