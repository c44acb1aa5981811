//! A report, not mended (src/runtime): a listener that another thread aborts between the check of
//! an accept and the arming of the listener stays in the poller, which reports the dead socket in
//! its place again and again: the loop never sleeps until the listener is dropped.
//!
//! Not part of a binary yet: it stands between the library and epoll_ctl(2), so it needs one of its
//! own. With `Place::park` checking after `arm` as `Socket::register` does (a fence, then
//! `is_closed`: disarm, `NotConnected`) it passes.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "stands before a function of the C library")]

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use soloio::{Error, create_tcp_listener, sleep};

/// The next descriptor that is added waits until the other thread has aborted it.
static WAITS: AtomicBool = AtomicBool::new(false);
static ARMING: AtomicBool = AtomicBool::new(false);
static ABORTED: AtomicBool = AtomicBool::new(false);

/// # Safety
///
/// That of epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_ctl(
    poller: i32,
    op: i32,
    fd: i32,
    event: *mut libc::epoll_event,
) -> i32 {
    if op == libc::EPOLL_CTL_ADD && WAITS.swap(false, SeqCst) {
        ARMING.store(true, SeqCst);
        while !ABORTED.load(SeqCst) {
            thread::yield_now();
        }
    }
    // SAFETY: the arguments are the caller's.
    let done = unsafe { libc::syscall(libc::SYS_epoll_ctl, poller, op, fd, event) };
    i32::try_from(done).expect("0 or -1")
}

/// Returns whether a poller of this process has the descriptor.
fn is_watched(fd: i32) -> bool {
    let entries = fs::read_dir("/proc/self/fdinfo").expect("procfs");
    entries.flatten().any(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("tfd:") && words.next() == Some(&fd.to_string())
        })
    })
}

#[test]
fn a_listener_that_is_aborted_while_it_is_armed_is_not_watched() {
    soloio::block_on(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        let listener = Arc::new(listener.expect("listens"));
        let other = Arc::clone(&listener);
        WAITS.store(true, SeqCst);
        let aborts = thread::spawn(move || {
            while !ARMING.load(SeqCst) {
                thread::yield_now();
            }
            other.abort();
            ABORTED.store(true, SeqCst);
        });
        let accepted = listener.accept().await;
        assert!(matches!(accepted, Err(Error::Closed)));
        aborts.join().expect("no panic");
        sleep(std::time::Duration::ZERO).await.expect("a turn");
        let fd = listener.as_fds().next().expect("one").as_fd().as_raw_fd();
        assert!(!is_watched(fd), "the loop turns without end");
    });
}
