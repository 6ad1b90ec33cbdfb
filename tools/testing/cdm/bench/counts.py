# SPDX-License-Identifier: GPL-2.0
"""What the benchmarks that count instructions have in common: the files that
count.c and the programs with marks leave, and the names of functions."""
import bisect
import collections
import re

Count = collections.namedtuple(
    "Count", "insns nops irqs switches copies mirror user stall stopped")


def lines(path):
    with open(path) as file:
        return [line.split() for line in file]


def load(path):
    """The counts of all marks of a boot."""
    return [Count(*map(int, line)) for line in lines(path)]


def symbols(path):
    """(address, name) of the functions in a System.map or kallsyms."""
    return sorted((int(line[0], 16), line[2]) for line in lines(path)
                  if line[1] in "tTwW")


class Names:
    """Which function is an address in?"""

    def __init__(self, table):
        self.table = table
        self.starts = [addr for addr, _ in table]

    def name(self, addr):
        place = bisect.bisect(self.starts, addr) - 1
        if not 0 <= place < len(self.table) - 1:
            return "(module)"
        # What the compiler has made of it is still the same function.
        return re.sub(r"\.(constprop|isra|part|cold).*", "",
                      self.table[place][1])


def by_function(path, names):
    """For each mark, how many instructions of which function."""
    marks = collections.defaultdict(collections.Counter)
    with open(path) as file:
        for line in file:
            mark, addr, count = line.split()
            marks[int(mark)][names.name(int(addr, 16))] += int(count)
    return marks
