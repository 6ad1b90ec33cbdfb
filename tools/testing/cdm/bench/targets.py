# SPDX-License-Identifier: GPL-2.0
"""What migrations are meant to cost, and whether the results keep to it. A verdict
is words: no benchmark passes or fails."""
import collections

from results import OURS

Verdict = collections.namedtuple("Verdict", "what target figure verdict")

LEAST, BULK = 512, 4096
BULK_REST = 1200
SINGLE_ALL = 4000
HUGE_REST = 88
FLUSHES = 1
GROWTH = 0.05
MOST_PAGES = 1048576
FASTER = 2

PLAIN = {"kind": "4K", "share": "private", "variant": "plain"}


def verdict(what, target, figure, kept):
    return Verdict(what, target, figure, "kept" if kept else "missed")


def unknown(what, target):
    return Verdict(what, target, "\\-", "not measured")


def at_most(what, limit, values, unit=""):
    """The worse direction decides."""
    if not values:
        return unknown(what, f"<= {limit:,}{unit}")
    return verdict(what, f"<= {limit:,}{unit}", f"{max(values):,.0f}{unit}",
                   max(values) <= limit)


def bulk(results):
    return at_most("4 KiB in bulk: rest", BULK_REST,
                   [row["rest"] for row in results.rows(
                       way=OURS, boot="small", **PLAIN)
                    if row["pages"] >= LEAST])


def single(results):
    return at_most("one page: all", SINGLE_ALL,
                   [row["all"] for row in results.rows(
                       way=OURS, boot="small", pages=1, **PLAIN)])


def huge(results):
    return at_most("2 MiB folios: rest", HUGE_REST,
                   [row["rest"] for row in results.rows(
                       way=OURS, kind="2M", share="private", variant="plain")
                    if row["pages"] >= BULK])


def never_split(results):
    what, target = "large folios are split", "never"
    rows = [row for kind in ("64K", "2M")
            for row in results.rows(way=OURS, kind=kind)]
    if not rows:
        return unknown(what, target)
    split = sum(row["after"] != row["before"] for row in rows)
    return verdict(what, target, f"in {split} of {len(rows)}", not split)


def against(results, row, way):
    other = results.row(**{name: row[name] for name in (
        "kind", "share", "variant", "direction", "pages", "boot")}, way=way)
    return row["all"] / other["all"] if other else None


def shared(results, share, name):
    """migrate_pages() has no way of its own: mbind(2) is close to it, between
    nodes of RAM, where the feature has no part in it."""
    what, target = f"{name}: to mbind(2)", "<= 1.00 times"
    ratios = [against(results, row, "mbind-ram")
              for row in results.rows(way=OURS, share=share, variant="plain")
              if row["pages"] >= BULK]
    ratios = [ratio for ratio in ratios if ratio]
    if not ratios:
        return unknown(what, target)
    return verdict(what, target, f"{max(ratios):.2f} times", max(ratios) <= 1)


def flushes(results):
    what, target = "remote flushes of TLBs for 512 pages", f"<= {FLUSHES}"
    rates = [row["flushes"] / row["marks"] / row["pages"] * 512
             for row in results.rows(way=OURS, variant="spin")
             if row["flushes"] >= 0]
    if not rates:
        return unknown(what, target)
    return verdict(what, target, f"{max(rates):.2f}", max(rates) <= FLUSHES)


def spread(rows):
    """How far apart they are, the directions each for itself."""
    apart = []
    for direction in "there", "back":
        costs = [row["all"] for row in rows if row["direction"] == direction]
        if len(costs) > 1:
            apart.append(max(costs) / min(costs) - 1)
    return max(apart, default=None)


def growth(results):
    what = "growth from 512 pages on"
    target = f"<= {GROWTH:.0%} to {MOST_PAGES:,}"
    rows = [row for row in results.rows(way=OURS, **PLAIN)
            if row["pages"] >= LEAST and row["boot"] in ("small", "growth")]
    # Each machine for itself, and the worse one decides.
    apart = max((apart for boot in ("small", "growth")
                 if (apart := spread([row for row in rows
                                      if row["boot"] == boot])) is not None),
                default=None)
    if apart is None:
        return unknown(what, target)
    most = max(row["pages"] for row in rows)
    figure = f"{apart:.1%} to {most:,}"
    if most < MOST_PAGES and apart <= GROWTH:
        return Verdict(what, target, figure, "kept so far as measured")
    return verdict(what, target, figure, apart <= GROWTH)


def nodes(results):
    what, target = "with the number of device nodes", f"<= {GROWTH:.0%}"
    rows = [row for row in results.rows(way=OURS, boot="nodes")
            if row["pages"] == BULK]
    apart = spread(rows)
    if apart is None:
        return unknown(what, target)
    return verdict(what, target, f"{apart:.1%}", apart <= GROWTH)


def time(results):
    what, target = "time, 4 KiB in bulk: move_pages(2)", f">= {FASTER} times"
    ratios = [row["ratio"] for row in results.wall
              if row["boot"] == "wall" and row["kind"] == "4K"
              and (row["a"], row["b"]) == ("move_pages-ram", OURS)
              and row["pages"] >= BULK]
    if not ratios:
        return unknown(what, target)
    return verdict(what, target, f"{min(ratios):.2f} times",
                   min(ratios) >= FASTER)


def verdicts(results):
    return [
        bulk(results), single(results), huge(results), never_split(results),
        shared(results, "fork", "shared by two processes"),
        shared(results, "shmem", "tmpfs file"),
        shared(results, "file", "ext2 file"),
        flushes(results), growth(results), nodes(results), time(results),
    ]
