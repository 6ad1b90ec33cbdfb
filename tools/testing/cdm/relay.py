#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run a virtual machine and pass on what its init reports (see init.c).

usage: relay.py TIMEOUT CONSOLE-LOG QEMU ARGUMENT...
       relay.py --status FILE

The standard output of QEMU is the report. The exit status is that of the
command in the guest, or
   98  the machine ended without a status
   99  the kernel printed a splat, whatever the command returned
  124  timeout
With --status the report is read from FILE after the machine has ended.
"""
import fcntl
import os
import signal
import subprocess
import sys
import threading

DEAD, SPLAT, TIMEOUT = 98, 99, 124
PIPE_SIZE = 1 << 20


def frames(stream):
    """Yield (type, payload) for each complete frame."""
    while head := stream.readline():
        kind, length = head.split()
        payload = stream.read(int(length))
        if len(payload) == int(length):
            yield kind.decode(), payload


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def pass_on(stream):
    """Copy the report to our own streams. Returns the status, or None."""
    splats = []
    for kind, payload in frames(stream):
        if kind == "O":
            write_all(1, payload)
        elif kind == "E":
            write_all(2, payload)
        elif kind == "S":
            splats.append(payload.decode(errors="replace"))
        elif kind == "X":
            if not splats:
                return int(payload)
            break
    if not splats:
        return None
    print("cdm: the guest kernel complained:", *splats[:25], sep="\n  ",
          file=sys.stderr)
    return SPLAT


def tail(path, lines=25):
    with open(path, errors="replace") as log:
        return [line.rstrip() for line in log.readlines()[-lines:]]


def run(timeout, log, command):
    expired = threading.Event()
    # An end of file on its standard input would close the guest's port.
    machine = subprocess.Popen(command, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)

    def expire():
        expired.set()
        machine.kill()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        # A guest that reports is not to wait until we have a CPU.
        fcntl.fcntl(machine.stdout, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        status = pass_on(machine.stdout)
    finally:
        timer.cancel()
        machine.kill()
        machine.wait()
    if expired.is_set():
        print(f"cdm: timeout after {timeout:g} s, console in {log}",
              file=sys.stderr)
        return TIMEOUT
    if status is None:
        print("cdm: the machine died:", *tail(log), f"console in {log}",
              sep="\n  ", file=sys.stderr)
        return DEAD
    return status


def main():
    if sys.argv[1] == "--status":
        with open(sys.argv[2], "rb") as report:
            status = pass_on(report)
        return DEAD if status is None else status
    try:
        return run(float(sys.argv[1]), sys.argv[2], sys.argv[3:])
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
