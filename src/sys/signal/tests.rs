//! Tests of the signals' seats.

use super::*;

#[test]
fn what_cannot_be_received_is_refused() {
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 65] {
        assert!(refusal(signal).is_some(), "{signal}");
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, 64] {
        assert!(refusal(signal).is_none(), "{signal}");
    }
}

#[test]
fn pending_signals_take_turns() {
    // No handler is installed: the test sets the bits of the last seat, which no other test has.
    let (read, write) = UnixStream::pair().expect("a pair");
    read.set_nonblocking(true).expect("a flag");
    let receiving = std::mem::ManuallyDrop::new(Receiving {
        seat: ROOM - 1,
        skip: AtomicU32::new(0),
        _bell: write.into(),
    });
    let pending = &SEATS[ROOM - 1].pending;
    let mut seen = Vec::new();
    pending.fetch_or(bit(1) | bit(5) | bit(64), SeqCst);
    while let Ok(signal) = receiving.take(read.as_fd()) {
        seen.push(signal);
        if seen.len() < 6 {
            // It comes again immediately.
            pending.fetch_or(bit(signal), SeqCst);
        }
    }
    assert_eq!(seen, [1, 5, 64, 1, 5, 64, 1, 5]);
    let empty = receiving.take(read.as_fd()).map_err(|error| error.kind());
    assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
}
