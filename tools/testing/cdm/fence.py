#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write the table of the fence from the results of a run.

usage: fence.py FENCED... -- UNFENCED... > Documentation/mm/cdm/fence.rst

FENCED and UNFENCED are PROGRAM=LOG, with the logs of selftest.sh with and without a fence;
what else is in a log does not count. Which row of the contract a test is for, its name
says, or for tests that an unfenced kernel passes as well, the list below.
"""
import re
import sys

import ktap

OTHER = "Lifecycle, migration and the rest"

ROWS = [
    ("F1", "Fallback zonelists, thisnode, loops over nodes"),
    ("F2", "Slab, percpu, vmalloc, page tables, kernel stacks"),
    ("F3", "Page cache, readahead, tmpfs, shmem by default policy"),
    ("F4", "Contiguous allocation, CMA, gigantic pages"),
    ("F5", "Huge pages of hugetlb"),
    ("F6", "cpusets"),
    ("F7", "Memory policies"),
    ("F8", "Reclaim"),
    ("F9", "Demotion and memory tiers"),
    ("F10", "Compaction, khugepaged, KSM"),
    ("F11", "NUMA balancing"),
    ("F12", "DAMON, page reporting, balloon, page idle"),
    ("F13", "Offlining of RAM, contiguous ranges, soft offline"),
    ("F14", "Long-term pins"),
    ("F15", "Swap-in, fork, copy on write, userfaultfd, mremap"),
    ("F16", "mlock"),
    ("F17", "Out of memory, oversubscription"),
    ("F18", "Watermarks, reserves"),
    ("F19", "zswap, zram, zsmalloc"),
    ("F20", "kexec, kdump, hibernation"),
    ("F21", "Freed pages are zeroed"),
    ("A1", "What the machine says about its RAM"),
    ("A2", "Memory cgroups, numa_maps"),
    ("A3", "Counters"),
    ("A4", "Audit"),
]

# Tests without a row in their names, by row.
PLAIN = {
    "F1": r"kernel_asks",
    "F2": r"kernel_memory_of|module_load|fork_storm",
    "F4": r"gigantic|contig",
    "F5": r"hugetlb|huge_page_pool|surplus",
    "F6": r"^cpuset\.|^outside\.|^plug\.|cpuset|mems_allowed|spread|hardwall|borrows",
    "F7": r"^policy\.(bind|get_mempolicy|interleave|preferred|weighted|second|unknown|default)|"
          r"^names\.|^matrix\.|^two\.|numactl|weight|home_node|relative|static_nodes|shared_policy|mbind",
    "F8": r"^reclaim\.|^tenants\.|evicted|pressure|mglru|lru_gen|madv_",
    "F9": r"demotion",
    "F10": r"ksm|collapse|khugepaged|compact",
    "F11": r"numa_balancing|hint_fault",
    "F12": r"damon|page_idle|idle_bitmap",
    "F13": r"offline",
    "F14": r"pin_longterm|longterm|pinned",
    "F15": r"swap_in|fork|cow|uffd|userfault|mremap",
    "F16": r"mlock|locked",
    "F17": r"^full\.|^remote\.|oversubscri|oom|full_device",
    "F18": r"watermark|reserves|last_page|min_free",
    "F19": r"zram|zswap|zsmalloc",
    "F20": r"hibernat|iomem|firmware_memmap|kexec",
    "F21": r"zeroe[ds]|are_zero",
    "A1": r"^account\.|meminfo|numastat|free_adds_up|swap_cache|sysinfo",
    "A2": r"memory_cgroup|reads_cgroups|numa_maps",
    "A3": r"counter|vmstat|tracepoint",
    "A4": r"audit|breach",
}

HEADER = """.. SPDX-License-Identifier: GPL-2.0

==============================
The fence: rows and their proof
==============================

This file is written by "make fence-table" from the results of a run of all
selftests; do not edit it. "Fenced" is with the memory as device nodes. "Unfenced"
is the same kernel with the same memory as ordinary nodes in ZONE_MOVABLE,
where a test whose name begins with its row must fail: "leaks" says that it
did. A test with "-" there guards what such a machine gets right too, or what it
does not have. Every test ends with the audit of all device nodes, which must
find no kernel page, no page without a cause and no ordinary zonelist that
leads there.
"""


def results(logs):
    """The verdicts of each test over all logs, skips left out."""
    verdicts = {}
    for program, log in (arg.split("=", 1) for arg in logs):
        with open(log, "rb") as stream:
            for name, lines, status in ktap.split(stream):
                if name != program:
                    continue
                report = ktap.Report("", False)
                ktap.program(lines, name, status, report)
                for verdict, case, _ in report.results:
                    if ": " not in case or re.search(r": all \d+ tests$", case):
                        continue  # of a program, not of a case
                    found = verdicts.setdefault(case.split(": ", 1)[1], set())
                    found.add(verdict)
    return verdicts


def row_of(test):
    """The row a test is for: by its prefix, else by the list; or None."""
    match = re.search(r"\.([A-Z]\d+)_", test)
    if match:
        return match[1]
    for row, pattern in PLAIN.items():
        if re.search(pattern, test):
            return row
    return None


def with_fence(verdicts):
    if "not ok" in verdicts:
        return "fails"
    return "holds" if "ok" in verdicts else "skipped"


def without_fence(test, verdicts):
    if not re.search(r"\.[A-Z]\d+_", test):
        return "\\-"
    if not verdicts or "skip" in verdicts:
        return "not run"
    return "leaks" if "not ok" in verdicts else "passes"


def table(tests, fenced, unfenced):
    lines = [(t, with_fence(fenced[t]), without_fence(t, unfenced.get(t))) for t in sorted(tests)]
    widths = [max(len(line[i]) for line in lines + [("Test", "Fenced", "Unfenced")])
              for i in range(3)]
    rule = "  ".join("=" * w for w in widths)
    print(rule)
    for line in [("Test", "Fenced", "Unfenced")]:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip())
    print(rule)
    for line in lines:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip())
    print(rule)


def section(heading, tests, fenced, unfenced):
    print(f"\n{heading}\n{'-' * len(heading)}\n")
    if tests:
        table(tests, fenced, unfenced)
    else:
        print("No test.")


def main():
    split = sys.argv.index("--")
    fenced = results(sys.argv[1:split])
    unfenced = results(sys.argv[split + 1:])
    print(HEADER.rstrip().replace("=" * 30, "=" * 31))
    for row, title in ROWS:
        tests = [t for t in fenced if row_of(t) == row]
        section(f"{row}: {title}", tests, fenced, unfenced)
    section(OTHER, [t for t in fenced if not row_of(t)], fenced, unfenced)


if __name__ == "__main__":
    main()
