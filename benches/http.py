#!/usr/bin/env python3
"""One HTTP service on soloio and on tokio: the same hyper, and `hyper-util` beside it on tokio.

    python3 benches/http.py                    prints all tables (takes minutes)
    python3 benches/http.py --check            fails if a bound of what is exact is broken
    python3 benches/http.py instructions memory stop size cpu

It needs h2load (Debian: nghttp2-client), and valgrind for the instructions. A server is on one core,
its clients on another one, and the sides alternate. Instructions are those of user space for a
request, the difference of two runs under callgrind; memory is resident, for a connection that has
had an answer and waits; a stop is SIGTERM with 1,000 such connections. `bare` is tokio with hyper's
HTTP/1 and a limit for heads alone: no choice of the version, no graceful end. A size is that of
the stripped program, and the seconds are those of all processors for its clean build, downloads
apart. Seconds of CPU and of the clock depend on the machine, and are not checked.
"""

import argparse
import functools
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "http"
SIDES = ["soloio", "tokio"]
# What h2load does: the options of a kind of connection.
KINDS = {
    "HTTP/1": ([], ["--h1", "-c", "64"]),
    "HTTP/1 over TLS": (["tls"], ["--h1", "-c", "64"]),
    "HTTP/2": ([], ["-c", "8", "-m", "16"]),
}
# The most that soloio may take, as a part of what tokio takes.
INSTRUCTIONS = {"HTTP/1": 0.98, "HTTP/1 over TLS": 0.99, "HTTP/2": 1.00, "httparse": 0.90}
MEMORY = 0.85
# Seconds of the processor for a stop, and idle connections.
STOP, IDLE = 0.1, 1000
# The goal is 1.00: benches/README.md.
SIZE = 1.065
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


MANIFEST = ["--manifest-path", str(ROOT / "benches" / "http" / "Cargo.toml")]


def build():
    build = ["cargo", "build", "--release", "--quiet", "--target-dir", str(TARGET)]
    subprocess.run(build + MANIFEST, check=True)
    example = ["--package", "soloio-examples", "--example", "http_server"]
    subprocess.run(build + example, check=True, cwd=ROOT)


class Server:
    """A server of one side on the first core, killed at the end."""

    def __init__(self, side, arguments=(), wrapper=()):
        program = str(TARGET / "release" / f"{side}_hyper")
        if side == "httparse":
            program, arguments = str(TARGET / "release" / "examples" / "http_server"), ["0"]
        command = ["taskset", "-c", "0", *wrapper, program, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r"(\d+)\s*$", self.process.stdout.readline()).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def load(self, count, options, scheme="http"):
        url = f"{scheme}://127.0.0.1:{self.port}/"
        command = ["taskset", "-c", "1", "h2load", "-n", str(count), *options, url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if f"{count} 2xx" not in text:
            raise SystemExit(f"not all of {count} requests succeeded:\n{text}")

    def cpu(self):
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def finish(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit(f"a server ended with {self.process.returncode}")

    def idle(self, count):
        """Connections that have had an answer."""
        clients = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(count)]
        for client in clients:
            client.sendall(GET)
            while b"Hello" not in client.recv(4096):
                pass
        return clients


def of(kind, side):
    """The arguments of a side's server for a kind, its h2load options, and the scheme."""
    arguments, options = KINDS[kind]
    return arguments, options, "https" if arguments == ["tls"] else "http"


def counted(kind, side, keep):
    arguments, options, scheme = of(kind, side)
    if side == "bare":
        side, arguments = "tokio", ["bare"]
    totals = []
    for count in (2_048, 12_288):
        name = f"{kind}-{side}-{'-'.join(arguments)}-{count}".replace("/", "").replace(" ", "-")
        out = Path(keep) / name
        wrapper = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with Server(side, arguments, wrapper) as server:
            server.load(count, options, scheme)
            server.finish()
        totals.append(int(re.search(r"^totals: (\d+)", out.read_text(), re.M).group(1)))
    return (totals[1] - totals[0]) / 10_240


def instructions(check, keep):
    print(f"\n{'instructions a request':24} {'soloio':>8} {'tokio':>8} {'ratio':>6} {'at most':>8}")
    reached = True
    with tempfile.TemporaryDirectory() as folder:
        count = functools.partial(counted, keep=keep or folder)
        first = {side: count("HTTP/1", side) for side in ["soloio", "tokio", "bare", "httparse"]}
        for kind, most in INSTRUCTIONS.items():
            if kind == "HTTP/1":
                sides = first["soloio"], first["tokio"]
            elif kind == "httparse":
                sides = first["httparse"], first["tokio"]
            else:
                sides = (count(kind, side) for side in SIDES)
            reached &= row(kind, *sides, most)
        row("HTTP/1, bare tokio", first["soloio"], first["bare"], None)
    return reached or not check


def row(title, ours, theirs, most):
    ratio = ours / theirs
    bound = "" if most is None else f"{most:8.2f}  {'ok' if ratio <= most else 'MISS'}"
    print(f"{title:24} {ours:8.0f} {theirs:8.0f} {ratio:6.3f} {bound}", flush=True)
    return most is None or ratio <= most


def memory(check, _):
    print(f"\n{'bytes a connection':24} {'soloio':>8} {'tokio':>8} {'ratio':>6} {'at most':>8}")
    found = {}
    for side in SIDES:
        with Server(side) as server:
            few = server.idle(10)
            before = server.resident()
            clients = server.idle(IDLE)
            busy = server.resident() - before
            time.sleep(3)
            found[side] = busy / IDLE, (server.resident() - before) / IDLE
            del clients, few
    row("just after an answer", found["soloio"][0], found["tokio"][0], None)
    return row("idle for 3 s", found["soloio"][1], found["tokio"][1], MEMORY) or not check


def stop(check, _):
    print(f"\n{'a stop, ms':24} {'clock':>8} {'CPU':>8}")
    reached = True
    for wait in (0, 3):
        for side in SIDES:
            with Server(side) as server:
                clients = server.idle(IDLE)
                time.sleep(wait)
                before, began = server.cpu(), time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                _, status, used = os.wait4(server.process.pid, 0)
                took = time.monotonic() - began
                server.process.returncode = os.waitstatus_to_exitcode(status)
                cpu = used.ru_utime + used.ru_stime - before
                title = f"{side}, idle for {wait} s"
                print(f"{title:24} {took * 1e3:8.1f} {cpu * 1e3:8.1f}", flush=True)
                if side == "soloio":
                    reached &= cpu <= STOP
                del clients
    return reached or not check


def alone(side):
    """The bytes of one side's program, and the seconds of its build, without the other side."""
    target = TARGET / "alone"
    shutil.rmtree(target, ignore_errors=True)
    options = ["--no-default-features", "--features", f"{side}-side", "--bin", f"{side}_hyper"]
    command = ["cargo", "build", "--release", "--quiet", "--offline", "--target-dir", str(target)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    stripped = dict(os.environ, CARGO_PROFILE_RELEASE_STRIP="symbols")
    subprocess.run(command + options + MANIFEST, check=True, env=stripped)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (target / "release" / f"{side}_hyper").stat().st_size, seconds


def size(check, _):
    print(f"\n{'a program':24} {'soloio':>8} {'tokio':>8} {'ratio':>6} {'at most':>8}")
    found = {side: alone(side) for side in SIDES}
    reached = row("bytes, stripped", found["soloio"][0], found["tokio"][0], SIZE)
    row("seconds of a build", found["soloio"][1], found["tokio"][1], None)
    return reached or not check


def cpu(_, __):
    print(f"\n{'µs of CPU a request':24} {'soloio':>8} {'tokio':>8} {'ratio':>6}  min..max")
    count = 100_000
    for kind in [*KINDS, "httparse"]:
        ratios, times = [], {}
        for _ in range(5):
            for side in SIDES:
                name = kind if kind in KINDS else "HTTP/1"
                arguments, options, scheme = of(name, side)
                which = "httparse" if (kind, side) == ("httparse", "soloio") else side
                with Server(which, arguments) as server:
                    server.load(5_000, options, scheme)
                    before = server.cpu()
                    server.load(count, options, scheme)
                    times.setdefault(side, []).append((server.cpu() - before) / count * 1e6)
            ratios.append(times["soloio"][-1] / times["tokio"][-1])
        ours, theirs = (statistics.median(times[side]) for side in SIDES)
        ratio = statistics.median(ratios)
        print(f"{kind:24} {ours:8.2f} {theirs:8.2f} {ratio:6.3f}  {min(ratios):.2f}..{max(ratios):.2f}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    tables = {"instructions": instructions, "memory": memory, "stop": stop, "size": size, "cpu": cpu}
    parser.add_argument("tables", nargs="*", choices=[*tables, []], help="these alone")
    parser.add_argument("--check", action="store_true", help="fail if a bound is broken")
    parser.add_argument("--keep", help="a folder for callgrind's files")
    given = parser.parse_args()
    if not shutil.which("h2load"):
        print("h2load is not installed: nothing is compared")
        return
    build()
    chosen = given.tables or [name for name in tables if name != "cpu" or not given.check]
    reached = [tables[name](given.check, given.keep) for name in chosen]
    if not all(reached):
        sys.exit("a bound is broken")


if __name__ == "__main__":
    main()
