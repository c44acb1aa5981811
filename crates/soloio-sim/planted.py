#!/usr/bin/env python3
"""Plants bugs in soloio, one at a time, and tells which of them the tests in the world find.

    python3 crates/soloio-sim/planted.py             all of them, in a copy of HEAD below target/
    python3 crates/soloio-sim/planted.py 'EMFILE'    those with this text in their names
    python3 crates/soloio-sim/planted.py --check     only whether each can still be planted

Each bug has the test that has to fail. One that is not done within the limit has failed, too: what
never waits is no hang that the world could report. A bug that does not compile is an error of
this script.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "planted"
LIMIT = 120

CALM = "laws they_hold_in_a_calm_world"
FULL = "laws serving::a_full_server"
STORM = "machines in_a_storm"
RELAY = "proxy a_relay_keeps_every_byte"
DOCUMENTS = "tls documents_come_whole"

# By the layers of the README's table, each with the file in src, the text and what replaces it, and
# the test: a file of tests/, and the tests in it.
BUGS = {
    "reactor, poller, timers": [
        ("a listener that is never armed again", "reactor/mod.rs",
         "poller.disarm(source.fd).is_err()", "poller.disarm(source.fd).is_ok()", FULL),
        ("a listener with an edge", "sys/poller.rs",
         "libc::EPOLLIN | if shared", "libc::EPOLLIN | libc::EPOLLET | if shared", FULL),
        ("an end that wakes no receiver", "reactor/readiness.rs",
         "match bits & direction.bit() {\n",
         "match bits & direction.bit() & !((bits & ready::ENDED) >> 2) {\n", CALM),
        ("no event for a send", "reactor/readiness.rs",
         "match bits & direction.bit() {\n",
         "match bits & direction.bit() & !(!(bits & ready::ENDED) >> 1 & ready::WRITE) {\n",
         "laws serving::a_handler_that_drops"),
        ("a short receive that counts as all", "reactor/readiness.rs",
         "After::Short => !self.is_prior(),", "After::Short => true,", CALM),
        ("a receive that fills its memory and counts as all", "sys/room.rs",
         "stopped || is_full", "stopped && is_full", CALM),
        ("deadlines far too late", "sys/poller.rs",
         "Duration::from_millis(left / MILLISECOND)", "Duration::from_secs(left / MILLISECOND)",
         "time a_lone_timer_is_exact"),
        ("deadlines 50 ms too late", "reactor/mod.rs",
         "const SLACK: Nanos = 400_000;", "const SLACK: Nanos = 50_000_000;",
         "time no_timer_is_early_and_none_is_late"),
        ("a hang-up as neither", "sys/poller.rs",
         "bits = rarely(bits, ready::READ | ready::WRITE | ready::ENDED);", "return ready::ENDED;",
         CALM),
        ("EAGAIN that clears nothing", "runtime/operation.rs",
         "                core.reactor().clear(socket.slot(), direction);\n", "",
         "laws idle::an_operation_that_waits"),
        ("an event of an earlier source", "reactor/sources.rs",
         "(token(key) == event).then_some(source)", "(token(key) != 0).then_some(source)",
         "laws idle::an_event_of_a_socket"),
        ("a timer that is due 1 ms early", "reactor/mod.rs",
         "self.timers.pop_due(now)", "self.timers.pop_due(now + 1_000_000)",
         "time no_timer_is_early_and_none_is_late"),
    ],
    "operations, scopes, threads": [
        ("an interrupted call as an error", "runtime/operation.rs",
         "            io::ErrorKind::Interrupted => return Poll::Ready(Ok(None)),\n", "",
         "laws they_hold_with_latency"),
        ("a dropped operation that keeps its socket", "runtime/operation.rs",
         "        socket.release(direction);\n        // Last,", "        // Last,",
         "laws idle::an_operation_that_waits"),
        ("a scope's deadline doubled", "runtime/scoped.rs",
         "        // Under another runtime it continues,",
         "        let deadline = deadline.saturating_add(deadline.saturating_sub(now));\n"
         "        // Under another runtime it continues,",
         "time a_keep_alive"),
        ("a limit that names no operation", "runtime/scopes.rs",
         '*doing = format!("waiting for {what}");', "doing.clear();", "limits a_limit_says"),
        ("a limit that tells another's length", "runtime/sleep.rs",
         "TimedOut::new(limit, String::new())", "TimedOut::new(limit.map(|it| it * 2), String::new())",
         "limits a_limit_says"),
        ("a wake from another thread without the bell", "executor/remote.rs",
         "if was == ASLEEP {", "if was != ASLEEP {", "machines in_calm_weather"),
    ],
    "streams, servers, connecting": [
        ("a partial send as the whole", "stream/futures.rs",
         "taken = data.parts().as_ref().iter().all(|part| part.is_empty());", "taken = true;",
         CALM),
        ("a reset as an end", "net/stream_socket.rs",
         "self.broken(operation, cause)", "Error::EndOfStream", RELAY),
        ("no end sent", "net/stream_socket.rs",
         "sys::socket::shutdown_write(self.socket.fd());", "io::Result::Ok(());", CALM),
        ("a failed connect as made", "net/connect.rs",
         "ended => Ok((ended, After::Ready)),",
         "ended => Ok((ended.or(Ok(*address)), After::Ready)),",
         "signals a_server_ends_by_a_signal"),
        ("ECONNABORTED that ends a server", "sys/errno.rs",
         "Some(libc::EBADF | libc::EFAULT", "Some(libc::ECONNABORTED | libc::EBADF | libc::EFAULT",
         STORM),
        ("EMFILE that ends a server", "sys/errno.rs",
         "libc::ENFILE) => AcceptFailure::Descriptors", "libc::ENFILE) => AcceptFailure::Listener",
         STORM),
        ("a pause after it without limit", "stream/accepting.rs",
         "move_on_after(BACK_OFF, serving.until(&goes_on)).await?;",
         "serving.until(&goes_on).await?;", STORM),
        ("no wake of a stream in memory", "stream/memory.rs",
         "        drop(bytes);\n        self.sender.wake();\n", "        drop(bytes);\n", CALM),
        ("an end that is not kept", "net/stream_socket.rs",
         "                self.end.store(ENDED, Relaxed);\n", "",
         "laws idle::a_stream_that_has_ended"),
        ("a close that drops unread data", "net/stream_close.rs",
         "self.unacknowledged() > 0 || unread();", "self.unacknowledged() > 0;",
         "laws serving::a_handler_that_drops"),
        ("a close that does not wait", "net/stream_close.rs",
         "if peer_ended || !finished {", "if peer_ended || !finished || true {",
         "laws serving::a_close_waits"),
        ("a full server that frees no place", "stream/serving.rs",
         "        add(&self.counters.0.active, -1);\n", "", FULL),
        ("a byte twice from a Buffered", "stream/buffered/mod.rs",
         "            ahead.skip(got);", "            ahead.skip(got.max(2) - 1);",
         "laws buffered::each_byte_comes_once"),
        ("unsent bytes that are dropped without a reset", "stream/send_buffer.rs",
         "if self.unsent() > 0 {", "if self.unsent() > 1 << 40 {",
         "laws collected::bytes_that_are_dropped"),
        ("the rest of a partial send forgotten", "stream/futures.rs",
         "self.drain(..sent)", "self.drain(..if sent > 0 { self.as_slices().0.len() } else { 0 })",
         "laws collected::what_is_written"),
        ("one datagram of several that counts as all", "net/udp_core.rs",
         "buf, &mut from)?, After::Ready", "buf, &mut from)?, After::Short",
         "laws datagrams::several"),
    ],
    "relay, TLS": [
        ("a break passed on as an end", "stream/relay/sockets.rs",
         "failed if failed.error.is_end_of_stream() => self.way.ended",
         "failed if !failed.error.is_cancelled() => self.way.ended",
         RELAY),
        ("bytes doubled after a partial send", "stream/relay/sockets.rs",
         'held.at += lawful(sent, held.length(), "send to")?;',
         "held.at += sent.saturating_sub(usize::from(sent < held.length()));",
         RELAY),
        ("an idle limit that bytes do not put off", "runtime/silence.rs",
         "(self.seen, self.changed) = (seen, now);", "self.seen = seen;",
         "laws relaying::a_relay_ends"),
        ("a half-open relay without its limit", "stream/relay/mod.rs",
         "self.half_open_limit.min(self.idle_limit)", "self.idle_limit",
         "laws relaying::a_relay_waits"),
        ("a cut-off TLS connection as an end", "tls/state.rs",
         "if compatible || !self.incoming.is_empty() {",
         "if compatible && !self.incoming.is_empty() {", DOCUMENTS),
        ("the rest of a partial send dropped", "tls/sending.rs",
         "out.discard(sent);", "out.discard(sent.max(out.len()));", DOCUMENTS),
        ("no pipe left is an error", "stream/relay/sockets.rs",
         "*pipe = core.stores.take_pipe().ok();", "*pipe = Some(core.stores.take_pipe()?);",
         "laws relaying::without_a_descriptor"),
        ("alerts not handed over", "tls/machine.rs",
         "while !self.finished && self.common", "while self.finished && self.common",
         "tls_alerts a_"),
    ],
}


def planted(root, bug):
    """The file of a bug below `root`, its text and that with the bug."""
    name, file, old, new, _ = bug
    path = root / "src" / file
    text = path.read_text()
    if (count := text.count(old)) != 1:
        sys.exit(f"{name}: its text is {count} times in src/{file}:\n{old}")
    return path, text, text.replace(old, new)


def copy_of_head():
    tree = TARGET / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    head = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    # With new times, since an earlier run may have compiled a bug.
    subprocess.run(["tar", "-xm", "-C", tree], input=head.stdout, check=True)
    return tree


def run(tree, test):
    """Returns what has failed; nothing if the test has passed."""
    file, *tests = test.split()
    env = os.environ | {"CARGO_TARGET_DIR": str(TARGET / "build"), "CARGO_PROFILE_DEV_DEBUG": "0"}
    # What a bug leaves unused is no error.
    env.pop("RUSTFLAGS", None)
    command = ["cargo", "test", "--package", "soloio-sim", "--test", file]
    options = {"cwd": tree, "env": env, "text": True}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    built = subprocess.run([*command, "--no-run"], **options, **output)
    if built.returncode != 0:
        sys.exit(f"it does not compile:\n{built.stdout}")
    options["start_new_session"] = True
    running = subprocess.Popen([*command, "--", *tests], **options, **output)
    try:
        shown, _ = running.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return f"{test}, not done within {LIMIT} s"
    if running.returncode == 0:
        if not re.search(r"^test result: ok\. [1-9]", shown, re.M):
            sys.exit(f"no test is named {test}")
        return None
    failed = sorted(set(re.findall(r"^test (\S+).* \.\.\. FAILED", shown, re.M)))
    return f"{file} {', '.join(failed) or shown[-300:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    chosen = [(layer, bug) for layer, bugs in BUGS.items() for bug in bugs
              if not given.names or any(name in bug[0] for name in given.names)]
    if not chosen:
        sys.exit("no bug has such a name")
    if given.check:
        for _, bug in chosen:
            planted(ROOT, bug)
        print(f"{len(chosen)} bugs can be planted")
        return
    tree, found = copy_of_head(), 0
    for layer, bug in chosen:
        path, text, with_bug = planted(tree, bug)
        start = time.monotonic()
        path.write_text(with_bug)
        failed = run(tree, bug[4])
        path.write_text(text)
        found += failed is not None
        verdict = f"found   {bug[0]}, by {failed}" if failed else f"missed  {bug[0]}, by {bug[4]}"
        print(f"{time.monotonic() - start:4.0f} s  {layer}: {verdict}", flush=True)
    print(f"{found} of {len(chosen)} found")
    sys.exit(found != len(chosen))


if __name__ == "__main__":
    main()
