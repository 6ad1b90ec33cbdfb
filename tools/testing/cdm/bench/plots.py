#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draw the results of make bench with gnuplot.

usage: plots.py RESULTS

Writes cost.svg, stall.svg and profile.svg to that directory.
"""
import subprocess
import sys

from results import Results, WAYS

PLAIN = {"kind": "4K", "share": "private", "variant": "plain"}
HEAD = """set terminal svg size 800,500 font "sans,12"
set output "{out}"
set title "{title}"
set grid
set key outside right top
"""
MAX_FUNCTIONS = 7
MIN_LABEL = 100  # of less there is no room for a name


def gnuplot(script):
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def block(name, points):
    return f"${name} << END\n" + "\n".join(points) + "\nEND\n"


def lines(results, out, title, field, label, ways):
    """A line for each way and direction over the number of pages."""
    script, plots = "", []
    for color, way in enumerate(ways, 1):
        for direction in "there", "back":
            rows = [row for row in results.rows(way=way, direction=direction,
                                                **PLAIN) if row[field] != ""]
            points = sorted({row["pages"]: f"{row['pages']} {row[field]}"
                             for row in rows}.items())
            if not points:
                continue
            name = f"{way}_{direction}".replace("-", "_")
            script += block(name, [text for _, text in points])
            dash = 1 if direction == "there" else 2
            plots.append(f'${name} using 1:2 with linespoints lc {color} '
                         f'dashtype {dash} '
                         f'title "{way} {direction}" noenhanced')
    if not plots:
        print(f"not drawn: {out}, nothing measured")
        return
    gnuplot(HEAD.format(out=out, title=title) + script
            + "set logscale x 2\nset logscale y\nset xlabel 'pages in a call'\n"
            + f"set ylabel '{label}'\nplot " + ", ".join(plots))


def top(results, way):
    rows = [row for row in results.profile if row["way"] == way
            and row["kind"] == "4K" and row["direction"] == "there"
            and row["pages"] > 1]
    return rows[:MAX_FUNCTIONS]


def profile(results, out):
    """A stack for each way: its functions, and the rest."""
    ways = [way for way in WAYS if top(results, way)]
    if not ways:
        print(f"not drawn: {out}, nothing measured")
        return
    points, labels = [], []
    for x, way in enumerate(ways):
        base = 0
        for color, row in enumerate(top(results, way)):
            end = base + row["instructions"]
            points.append(f"{x} {base} {end} {color + 1}")
            if row["instructions"] >= MIN_LABEL:
                labels.append(f'set label "{row["function"]}" at {x},'
                              f'{(base + end) / 2} center front noenhanced '
                              'font ",8"')
            base = end
        total = results.row(way=way, direction="there", pages=4096, **PLAIN)
        if total:
            points.append(f"{x} {base} {total['all']} 8")
            labels.append(f'set label "others" at {x},'
                          f'{(base + total["all"]) / 2} center front')
    ticks = ", ".join(f'"{way}" {x}' for x, way in enumerate(ways))
    gnuplot(HEAD.format(out=out, title="the most expensive functions, 4 KiB, "
                        "RAM to device") + block("bars", points)
            + "\n".join(labels) + f"""
unset key
set style fill solid 0.5 border
set xrange [-0.6:{len(ways) - 0.4}]
set xtics ({ticks}) noenhanced
set ylabel "instructions a page"
plot $bars using 1:2:($1-0.4):($1+0.4):2:3:4 with boxxyerror lc variable
""")


def main():
    directory = sys.argv[1]
    results = Results(directory)
    lines(results, f"{directory}/cost.svg", "cost of a migration, 4 KiB pages",
          "all", "kernel instructions a page", WAYS + ["copy"])
    lines(results, f"{directory}/stall.svg",
          "how long the first page is not mapped", "stall",
          "kernel instructions", WAYS)
    profile(results, f"{directory}/profile.svg")


if __name__ == "__main__":
    main()
