#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Where functions begin that the compiler has put into others.

usage: inlined.py OBJ OBJECT FUNCTION...    in a directory of a built kernel, as
                                            in: inlined.py OBJ mm/cdm/range.o f

Prints "FUNCTION ADDRESS" for each place. The object is compiled once more with
debug information, which changes nothing else, and that is checked. Prints nothing
if the functions are not to be found.
"""
import os
import re
import subprocess
import sys
import tempfile


def run(command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True,
                          **more).stdout


def compile_again(tree, source, out):
    """With the command that kbuild has left behind."""
    folder, name = os.path.split(source)
    with open(f"{tree}/{folder}/.{name}.cmd") as file:
        command = file.readline().split(":=", 1)[1].split(" ; ")[0]
    command = re.sub(r"-Wp,-MMD,\S+", "", command)
    command = command.replace(f"-o {source}", f"-g -o {out}")
    run(["sh", "-c", command], cwd=tree)


def functions(path):
    """(address, size, name) of those in an object."""
    table = [line.split() for line in run(["nm", "-S", path]).splitlines()]
    return sorted((int(line[0], 16), int(line[1], 16), line[3])
                  for line in table if len(line) == 4 and line[2] in "tT")


def entries(debug):
    """{name: addresses in the object} of inlined functions."""
    names, found = {}, []
    die = tag = origin = None
    for line in run(["readelf", "--debug-dump=info", debug]).splitlines():
        new = re.match(r" *<\w+><(\w+)>: .*\((DW_TAG_\w+)\)", line)
        if new:
            die, tag, origin = int(new[1], 16), new[2], None
        elif "DW_AT_name" in line and tag == "DW_TAG_subprogram":
            names.setdefault(die, line.split()[-1])
        elif "DW_AT_abstract_origin" in line:
            origin = int(re.search(r"<0x(\w+)>", line)[1], 16)
        elif "DW_AT_entry_pc" in line and tag == "DW_TAG_inlined_subroutine":
            found.append((origin, int(line.split()[-1], 16)))
    return [(names.get(origin), addr) for origin, addr in found]


def kernel_address(table, system_map, addr):
    for start, size, name in table:
        if start <= addr < start + size and name in system_map:
            return system_map[name] + addr - start
    return None


def main():
    tree, source, *wanted = sys.argv[1:]
    with open(f"{tree}/System.map") as file:
        system_map = {name: int(addr, 16)
                      for addr, _, name in map(str.split, file)}
    with tempfile.TemporaryDirectory() as folder:
        debug = folder + "/debug.o"
        compile_again(tree, source, debug)
        table = functions(debug)
        if table != functions(f"{tree}/{source}"):
            sys.exit(f"cdm: {source} is compiled differently with -g")
        for name, addr in entries(debug):
            at = kernel_address(table, system_map, addr)
            if name in wanted and at:
                print(f"{name} {at:x}")


if __name__ == "__main__":
    main()
