//! Drives a runtime from a foreign loop: here a plain poll(2) loop with a socket of its own.
//!
//! ```text
//! cargo run --example foreign_loop
//! ```

#![allow(unsafe_code, reason = "poll(2) itself")]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use soloio::{Result, Runtime, connect_tcp, create_tcp_listener, sleep, task_group};

fn main() -> Result<()> {
    let (mut doorbell, mut button) = UnixStream::pair()?;
    let mut runtime = Runtime::new()?;
    let task = runtime.spawn(async move {
        let answer = hello().await;
        button.write_all(b"ding")?; // to the loop, by a way of its own
        answer
    });

    let (mut turns, mut rang) = (0, false);
    while !task.is_finished() || !rang {
        let timeout = runtime.next_timeout();
        let [rings, _] = poll([doorbell.as_fd(), runtime.as_fd()], timeout)?;
        if rings {
            let mut ring = [0; 4];
            doorbell.read_exact(&mut ring)?;
            println!("the loop's own socket: {}", String::from_utf8_lossy(&ring));
            rang = true;
        }
        // The turn does not wait; with nothing to do it costs little.
        runtime.turn(Some(Duration::ZERO))?;
        turns += 1;
    }
    println!("the runtime: {} ({turns} turns)", runtime.block_on(task)??);
    Ok(())
}

/// Any soloio code: it does not depend on the loop that drives it.
async fn hello() -> Result<String> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let port = listener.local_addr().port();
    task_group(async |group| {
        let server = group.spawn(listener.serve(async |client| {
            let name = client.receive().await?;
            sleep(Duration::from_millis(10)).await?;
            client.send(&[b"Hello, ", &name[..]].concat()).await
        }));
        let client = connect_tcp("127.0.0.1", port).await?;
        client.send(b"foreign loop").await?;
        let answer = client.receive().await?;
        server.cancel();
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })
    .await
}

/// Waits until one of the descriptors is readable, or the timeout has passed.
fn poll(fds: [BorrowedFd<'_>; 2], timeout: Option<Duration>) -> io::Result<[bool; 2]> {
    let mut entries = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // Rounded up: with a timeout that is too short the loop would be busy until the deadline.
    let milliseconds = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    // SAFETY: `entries` is an array of two valid entries that lives through the call.
    match unsafe { libc::poll(entries.as_mut_ptr(), 2, milliseconds) } {
        -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok([false; 2]),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(entries.map(|entry| entry.revents != 0)),
    }
}
