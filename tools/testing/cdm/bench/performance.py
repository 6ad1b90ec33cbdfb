#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write the page of figures from the results of make bench.

usage: performance.py RESULTS > Documentation/mm/cdm/performance.rst
       performance.py RESULTS text          the same for people at a terminal
"""
import sys

from results import OURS, Results, WAYS
from targets import verdicts

SUSPICIOUS = 2.5
DIRECTIONS = "there", "back"
SHARES = {
    "private": "anonymous, one process",
    "fork": "anonymous, two processes",
    "shmem": "tmpfs file, one process",
    "file": "ext2 file, one process",
}
VARIANTS = {
    "plain": "nothing else",
    "spin": "a thread on another CPU",
    "touch": "a thread touches the pages",
    "pinned": "one page in the middle pinned",
    "full": "room for half of it",
}

HEADER = """.. SPDX-License-Identifier: GPL-2.0

=============================
Migration: figures and target
=============================

This file is written by "make performance-table" from the results of the last
"make bench"; do not edit it.
"""

METHOD = """
How it was measured
-------------------

{about}

Counts are instructions of the kernel, executed by an emulated CPU between the
begin and the end of a call, for each page of 4 KiB, as the median of the calls.
They say nothing of caches, of slow memory, of many CPUs or of copying by devices;
that takes hardware.

All ways move the same kind of memory in the same boot, from RAM to a device
("there") and back: "driver" is cdm_migrate_range() by an ioctl of cdm_test;
move_pages(2) and mbind(2) with MPOL_MF_MOVE (of all processes where pages are
shared) go to the same node, where the kernel may leave them to the driver's way;
"-ram" are the same between two nodes of RAM, "there" being the farther one, as on a
kernel without devices; migrate_vma() is called by lib/test_hmm, batches of
64 pages, to memory of type MEMORY_DEVICE_COHERENT that belongs to no node. "copy"
is a program that copies to memory that is there, for scale.

The kernel's copy routine is counted apart ("copy"): migrate_vma() users call
copy_page(), the others memcpy(), and an emulator counts each repetition as one. So
compare what is left ("rest"). Of lib/test_hmm, what it does for its own mirror is
counted apart, too ("mirror": all code of the module, with its allocator of device
pages, and xarrays), and what it reads back after the migration is not counted.

Before a number counts, the memory must be in folios of the size in question and
where it is to start from. Afterwards each word must be what it was and each page
where it should be, no page may be isolated, and the RSS must be what it was (where
there are two CPUs, within what they count each for itself). That flags of page
tables are kept, exact_test of the selftests checks.
"""


def number(value, digits=0):
    return "\\-" if value in (None, "") else f"{value:,.{digits}f}"


def table(head, rows):
    """A simple table of RST, which is as good to read as it is."""
    rows = [[str(cell) for cell in row] for row in rows]
    width = [max(len(row[i]) for row in rows + [head])
             for i in range(len(head))]
    ruler = "  ".join("=" * w for w in width)

    def line(row):
        cells = [row[0].ljust(width[0])]
        cells += [cell.ljust(w) if not cell[:1].isdigit() else cell.rjust(w)
                  for cell, w in zip(row[1:], width[1:])]
        return "  ".join(cells).rstrip()

    print("\n".join([ruler, line(head), ruler] + [line(row) for row in rows]
                    + [ruler]))


def section(title):
    print(f"\n{title}\n{'-' * len(title)}\n")


def print_targets(results):
    section("Targets")
    table(["What", "Target", "Figure", "Verdict"],
          [[v.what, v.target, v.figure, v.verdict] for v in verdicts(results)])
    print("""
What the fence costs those who do not use it has a benchmark of its own, "make
bench-fence", which judges it.""")
    rows = [results.row(way=way, kind="4K", share="private", variant="plain",
                        direction="there", pages=4096)
            for way in ("move_pages-ram", OURS)]
    if all(rows):
        ratio = rows[0]["all"] / rows[1]["all"]
        print(f"""
At the same copy, move_pages(2) between nodes of RAM executes {ratio:.2f} times what the
driver does, for 4,096 pages.""")
        if ratio > SUSPICIOUS:
            print(f"""More than {SUSPICIOUS} deserves suspicion: are accounting, notifiers or reference
counts left out? The tests of the exactness of migrations answer that.""")


def print_figures(results, pages, label, **where):
    """Each way in a row, both directions: all, copy, mirror, rest."""
    rows = []
    for nr in pages:
        for way in WAYS + ["copy"]:
            both = [results.row(way=way, direction=d, pages=nr, **where)
                    for d in DIRECTIONS]
            if any(both):
                rows.append([f"{label} {nr:,}".strip(), way]
                            + [number(row and row[field]) for row in both
                               for field in ("all", "copy", "mirror", "rest")])
    return rows


FIGURES = ["Pages", "Way", "there", "copy", "mirror", "rest", "back", "copy",
           "mirror", "rest"]


def print_sweep(results):
    for kind in "4K", "64K", "2M":
        where = {"kind": kind, "share": "private", "variant": "plain"}
        pages = results.pages(way=OURS, boot="small", **where) + \
            results.pages(way=OURS, boot="large", **where)
        section(f"Anonymous memory of one process, folios of {kind}")
        table_or_nothing(FIGURES, print_figures(results, pages, "", **where))


def print_folios(results):
    section("Large folios before and after")
    rows = [[row["kind"], row["way"], row["direction"], f"{row['pages']:,}",
             number(row["before"]), number(row["after"])]
            for kind in ("64K", "2M") for way in WAYS
            for row in results.rows(kind=kind, way=way, share="private",
                                    pages=4096)]
    table_or_nothing(["Size", "Way", "Direction", "Pages", "before", "after"],
                     rows)


def table_or_nothing(head, rows):
    if rows:
        table(head, rows)
    else:
        print("Not measured.")


def print_shared(results):
    section("Shared memory and files")
    rows = []
    for share, name in SHARES.items():
        if share == "private":
            continue
        for kind in "4K", "2M":
            where = {"kind": kind, "share": share, "variant": "plain"}
            for row in print_figures(results, results.pages(**where), "",
                                     **where):
                rows.append([f"{name}, {kind}"] + row)
    table_or_nothing(["Memory"] + FIGURES, rows)


def print_variants(results):
    section("Disturbed, on two CPUs")
    print("""Instructions of both CPUs, those of the other thread's faults among them, for
each page that was asked for. Left: pages that did not move. Flushes: remote flushes
of TLBs for 512 pages, nr_tlb_remote_flush of /proc/vmstat.
""")
    rows = []
    for row in results.rows(boot="variants"):
        flushes = row["flushes"] / row["marks"] / row["pages"] * 512
        rows.append([VARIANTS[row["variant"]], row["way"], row["direction"],
                     f"{row['pages']:,}", number(row["all"]),
                     number(row["left"] / row["marks"]),
                     number(flushes, 2) if row["flushes"] >= 0 else "?"])
    table_or_nothing(["Meanwhile", "Way", "Direction", "Pages", "all", "left",
                      "flushes"], rows)


def print_stall(results):
    section("How long the first page is not mapped")
    print("""Instructions from where a page is first taken out of the page table to where one
is first put back, which is what a thread that touches it waits at least.
""")
    where = {"kind": "4K", "share": "private", "variant": "plain",
             "direction": "there"}
    rows = []
    for nr in results.pages(**where):
        row = [results.row(way=way, pages=nr, **where) for way in WAYS]
        rows.append([f"{nr:,}"] + [number(r and r["stall"]) for r in row])
    table_or_nothing(["Pages"] + WAYS, rows)


def print_growth(results):
    section("Growth")
    rows = []
    for row in results.rows(way=OURS, kind="4K", share="private"):
        if row["variant"].startswith("nodes"):
            what = f"device nodes: {row['variant'][5:]}"
        elif row["boot"] == "growth":
            what = "a larger machine"
        else:
            continue
        rows.append([what, row["direction"], f"{row['pages']:,}",
                     number(row["all"]), number(row["rest"])])
    table_or_nothing(["Machine", "Direction", "Pages", "all", "rest"], rows)


def print_wall(results):
    section("Time, as ratios within one boot")
    print("""How many times as long A takes as B, in the order A B B A; the median of seven
rounds behind a first one that is dropped, the lowest and the highest. Of an
emulator without caches, in which a copy is cheap and code is dear. Boot "wall" has
two CPUs; "wall-hmm" has one, and lib/test_hmm, which is compared only on the way
back: on the way there it reads back what it has moved.
""")
    load = results.about.get("load before wall")
    if load:
        print(f"Load of the host before it, of {results.about.get('cpus')} CPUs:"
              f" {load}.\n")
    head = ["Boot", "A", "B", "Kind", "Direction", "Pages", "A / B", "lowest",
            "highest"]
    real = any(row["us_a"] for row in results.wall)
    if results.wall and not real:
        print("An emulator has no microseconds, so none are given.\n")
    rows = []
    for row in results.wall:
        line = [row["boot"], row["a"], row["b"], row["kind"], row["direction"],
                f"{row['pages']:,}"]
        line += [number(row[f], 2) for f in ("ratio", "low", "high")]
        if real:
            line += [number(row[f], 3) for f in ("us_a", "us_b")]
            line += [number(4.096 / row["us_b"], 2) if row["us_b"] else "\\-"]
        rows.append(line)
    table_or_nothing(head + (["A, us a page", "B", "B, GB/s"] if real else []),
                     rows)


def print_profile(results):
    section("Where it goes")
    print("The most expensive functions, instructions a page, from RAM to the "
          "device.\n")
    operations = {}
    for row in results.profile:
        if row["direction"] == "there":
            operations.setdefault((row["kind"], row["pages"]), {}) \
                .setdefault(row["way"], []).append(row)
    if not operations:
        print("Not measured.")
    for (kind, pages), ways in operations.items():
        print(f"{pages:,} page{'s' if pages > 1 else ''}, folios of {kind}:\n")
        names = [way for way in WAYS if way in ways]
        rows = []
        for place in range(max(map(len, ways.values()))):
            line = [str(place + 1)]
            for way in names:
                row = ways[way][place] if place < len(ways[way]) else None
                line += [f"{row['function']}" if row else "",
                         number(row["instructions"], 1) if row else ""]
            rows.append(line)
        table(["Rank"] + [cell for way in names for cell in (way, "count")],
              rows)
        print()


def print_missing(results):
    section("What was not measured")
    missing = {}
    for row in results.moves:
        if row["why"] and row["why"] != "refused already":
            what = (f"{row['way']}, {SHARES[row['share']]}, {row['kind']}, "
                    f"{VARIANTS.get(row['variant'], row['variant'])}, "
                    f"{row['direction']}: {row['why']}")
            missing.setdefault(what, []).append(row["pages"])
    lines = list(missing)
    for way in WAYS:
        rows = results.rows(way=way, kind="4K", variant="plain")
        if not any(row["stall"] for row in rows):
            lines.append(f"{way}: how long a page is not mapped")
    failed = results.about.get("ended early")
    lines += [f"{boot}: ended early" for boot in (failed or "").split()]
    if "not measured" in results.about:
        lines.append(results.about["not measured"])
    print("\n".join(f"- {line}" for line in lines) if lines else "Nothing.")


def print_all(results):
    print(HEADER, end="")
    print_targets(results)
    about = "\n".join(f"| {what}: {value}"
                      for what, value in results.about.items()
                      if what not in ("ended early", "not measured"))
    print(METHOD.format(about=about).rstrip())
    for part in (print_sweep, print_folios, print_shared, print_variants,
                 print_stall, print_growth, print_wall, print_profile,
                 print_missing):
        part(results)


def main():
    results = Results(sys.argv[1])
    if not results.moves:
        sys.exit("cdm: there are no results: make bench")
    if sys.argv[2:] == ["text"]:
        for v in verdicts(results):
            print(f"{v.what:58} {v.target:>12}  {v.figure:>24}  {v.verdict}")
    else:
        print_all(results)


if __name__ == "__main__":
    main()
