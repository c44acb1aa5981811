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

/// The former handler and its form are one: a signal that comes while they are replaced finds the
/// old pair or the new one.
#[test]
fn a_former_handler_is_replaced_together_with_its_form() {
    extern "C" fn plain(_: c_int) {}
    extern "C" fn informed(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
    let place_of = |address: usize, flags: c_int| {
        // SAFETY: a sigaction is integers and pointers, valid as zeros.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = address;
        action.sa_flags = flags;
        met(&action).expect("there is room")
    };
    let addresses = [plain as extern "C" fn(c_int) as usize, address(informed)];
    let places = [
        place_of(addresses[0], 0),
        place_of(addresses[1], libc::SA_SIGINFO),
    ];
    // No test installs a handler for the last signal.
    let number = NUMBERS - 1;
    let (over, mut seen, mut changes) = (AtomicU32::new(0), 0, 0);
    PREVIOUS[number].store(places[0], SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0_usize.. {
                PREVIOUS[number].store(places[count % 2], SeqCst);
                if count % 16 == 0 {
                    std::thread::yield_now();
                }
                if over.load(SeqCst) != 0 {
                    break;
                }
            }
        });
        for count in 0_usize.. {
            let form = match previous(number) {
                Call::Plain(function) if function as usize == addresses[0] => 0,
                Call::Informed(function) if address(function) == addresses[1] => 1,
                _ => break,
            };
            changes += usize::from(form != seen);
            seen = form;
            if changes == 200 {
                break;
            }
            if count % 16 == 0 {
                std::thread::yield_now();
            }
        }
        over.store(1, SeqCst);
    });
    PREVIOUS[number].store(0, SeqCst);
    assert_eq!(changes, 200, "one in the other's form");
}
