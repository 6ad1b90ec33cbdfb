#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Turn KTAP into one line per test: "ok", "not ok" or "skip", and its name.

usage: ktap.py [--leaks] PREFIX [PROGRAM...] < OUTPUT

OUTPUT holds the output of several programs, each between the lines
"#cdm begin NAME" and "#cdm end NAME STATUS". Nothing is taken on trust: a
program that is missing or without an end, a missing, short or overrun plan, a
test number out of order, and an exit status that contradicts the results are
failures too.

With --leaks a test must fail: it runs on a kernel without a fence and has to
see the leak.
"""
import re
import sys

PLAN = re.compile(r"1\.\.(\d+)(?:\s+# SKIP\s*(.*))?$")
RESULT = re.compile(r"(ok|not ok) (\d+)(?:\s+-)?\s*(.*?)(?:\s+# (SKIP|TODO|XFAIL)\b\s*(.*))?$",
                    re.IGNORECASE)
# What the harness says of an expectation that is not met, or of a test that is dead.
CAUSE = re.compile(r"# ([a-z0-9_]+\.[ch]:\d+:.*|\w+: Test terminated .*)")
SKIP_STATUS = 4


class Report:
    """Collects results; each is (verdict, name, reason)."""

    def __init__(self, prefix, leaks):
        self.prefix, self.leaks, self.results = prefix, leaks, []

    def add(self, verdict, name, reason=""):
        self.results.append((verdict, f"{self.prefix}{name}", reason))

    def case(self, verdict, name, reason):
        if self.leaks:
            if verdict == "not ok" and reason and "Test terminated by timeout" not in reason:
                verdict, reason = "ok", f"sees the leak: {reason}"
            elif verdict == "not ok":
                reason = reason or "fails, and does not say what it saw"
            else:
                verdict, reason = "not ok", "passes without a fence"
        self.add(verdict, name, reason)

    def print(self):
        for verdict, name, reason in self.results:
            print(verdict, name + (f" # {reason}" if reason else ""))


def block(lines, name, report):
    """Parse one level of KTAP. Returns its verdicts, without those of children."""
    plan, seen, verdicts, children, cause = None, 0, [], [], ""
    for line in lines + [""]:
        if line.startswith("    "):
            children.append(line[4:])
            continue
        if (match := CAUSE.match(line)) and not cause:
            cause = match[1]
        if line.startswith("Bail out!"):
            report.add("not ok", name, line)
            verdicts.append("not ok")
        elif match := PLAN.match(line):
            if plan is not None:
                report.add("not ok", name, "two plans")
            plan = int(match[1])
            if match[2] is not None:
                verdicts.append("skip")
                report.case("skip", name, match[2])
        elif match := RESULT.match(line):
            seen += 1
            verdict, case = match[1].lower(), match[3]
            if int(match[2]) != seen:
                report.add("not ok", f"{name}: {case}",
                           f"number {match[2]}, expected {seen}")
            if match[4] and match[4].upper() == "SKIP":
                verdict = "skip"
            below = []
            if any(map(str.strip, children)):
                below = block(children, f"{name}: {case}", report)
            if not below or (verdict == "not ok" and "not ok" not in below):
                report.case(verdict, f"{name}: {case}",
                            match[5] or (cause if verdict == "not ok" else ""))
            verdicts.append(verdict)
            children, cause = [], ""
    if plan is None:
        report.add("not ok", name, "no plan")
    elif plan != seen:
        report.add("not ok", name, f"{plan} tests planned, {seen} reported")
    elif plan == 0 and not verdicts:
        report.add("not ok", name, "no tests")
    return verdicts


def merge_skips(name, results, report):
    """A program that skips everything for one reason is one skip."""
    causes = {(verdict, reason) for verdict, _, reason in results}
    if len(results) > 1 and len(causes) == 1 and results[0][0] == "skip":
        report.add("skip", f"{name}: all {len(results)} tests", results[0][2])
    else:
        report.results += results


def program(lines, name, status, report):
    if status is None:
        report.add("not ok", name, "did not end")
    if not any(line.startswith(("TAP version 13", "KTAP version 1")) for line in lines):
        report.add("not ok", name, f"no KTAP, exit status {status}")
        return
    own = Report(report.prefix, report.leaks)
    verdicts = block(lines, name, own)
    merge_skips(name, own.results, report)
    failed = "not ok" in verdicts
    skipped = set(verdicts) == {"skip"}
    if status is not None and failed != (status != 0) and not (skipped and status == SKIP_STATUS):
        report.add("not ok", name, f"exit status {status} "
                   f"{'with a' if failed else 'without a'} failed test")


def split(stream):
    """Yield (name, lines, status) for each program."""
    name, lines = None, []
    for line in stream.read().decode(errors="replace").splitlines():
        if line.startswith("#cdm begin "):
            if name:
                yield name, lines, None
            name, lines = line.split()[2], []
        elif line.startswith("#cdm end ") and name == line.split()[2]:
            yield name, lines, int(line.split()[3])
            name = None
        else:
            lines.append(line)
    if name:
        yield name, lines, None


def main():
    args = sys.argv[1:]
    leaks = args[0] == "--leaks"
    prefix, *missing = args[leaks:]
    report = Report(prefix, leaks)
    for name, lines, status in split(sys.stdin.buffer):
        program(lines, name, status, report)
        if name in missing:
            missing.remove(name)
    for name in missing:
        report.add("not ok", name, "did not run")
    report.print()


if __name__ == "__main__":
    main()
