//! Blocking calls, and `poll` that waits: programs of std, in the world and on Linux, with the same
//! results.

#![allow(unsafe_code, reason = "it calls poll")]

use std::ffi::c_int;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use soloio_sim::run;

const PAUSE: Duration = Duration::from_millis(20);

/// Runs a program on both kernels; its results have to be the same. In the world it waits for
/// exactly as long as it says.
fn both<T: PartialEq + std::fmt::Debug>(program: impl Fn() -> T, waits: Duration) {
    let on_linux = program();
    let in_world = run(async {
        let start = Instant::now();
        let result = program();
        assert_eq!(start.elapsed(), waits);
        result
    });
    assert_eq!(on_linux, in_world, "Linux, and the world");
}

/// Writes twice with pauses, and ends; a blocking peer waits for each.
fn slowly(mut stream: impl Write + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for part in [&b"first"[..], b"second"] {
            thread::sleep(PAUSE);
            stream.write_all(part).expect("written");
        }
        thread::sleep(PAUSE);
    })
}

fn read_all(mut stream: impl Read) -> Vec<String> {
    let (mut parts, mut buffer) = (Vec::new(), [0; 100]);
    loop {
        match stream.read(&mut buffer).expect("read") {
            0 => return parts,
            count => parts.push(String::from_utf8_lossy(&buffer[..count]).into_owned()),
        }
    }
}

#[test]
fn a_read_waits_for_data_and_for_the_end() {
    let unix = || {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let writer = slowly(theirs);
        let parts = read_all(ours);
        writer.join().expect("it ends");
        parts
    };
    both(unix, 3 * PAUSE);
    let pipe = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let writer = slowly(writer);
        let parts = read_all(reader);
        writer.join().expect("it ends");
        parts
    };
    both(pipe, 3 * PAUSE);
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let tcp = || {
            let listener = TcpListener::bind(host).expect("a port");
            let to = listener.local_addr().expect("an address");
            let client = thread::spawn(move || {
                thread::sleep(PAUSE);
                let writer = slowly(TcpStream::connect(to).expect("connected"));
                writer.join().expect("it ends");
            });
            let (stream, from) = listener.accept().expect("accepted");
            assert_eq!(from.ip(), to.ip());
            let parts = read_all(stream);
            client.join().expect("it ends");
            parts
        };
        both(tcp, 4 * PAUSE);
    }
}

#[test]
fn a_write_waits_for_room() {
    let program = || {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let reader = thread::spawn(move || {
            thread::sleep(PAUSE);
            read_all(theirs).concat().len()
        });
        ours.write_all(&vec![b'x'; 1 << 20]).expect("written");
        ours.shutdown(Shutdown::Write).expect("ended");
        reader.join().expect("it ends")
    };
    both(program, PAUSE);
}

#[test]
fn a_datagram_is_waited_for_with_and_without_a_limit() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let udp = || {
            let server = UdpSocket::bind(host).expect("a port");
            let to: SocketAddr = server.local_addr().expect("an address");
            let client = thread::spawn(move || {
                thread::sleep(PAUSE);
                let client = UdpSocket::bind(host).expect("a port");
                client.send_to(b"datagram", to).expect("sent");
            });
            let mut buffer = [0; 100];
            let (count, from) = server.recv_from(&mut buffer).expect("received");
            client.join().expect("it ends");
            assert_eq!(from.ip(), to.ip());
            buffer[..count].to_vec()
        };
        both(udp, PAUSE);
    }
    let unix = || {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let sender = thread::spawn(move || {
            thread::sleep(PAUSE);
            theirs
                .send(b"")
                .and_then(|_| theirs.send(b"datagram"))
                .expect("sent");
        });
        let mut buffer = [0; 100];
        let counts = [0; 2].map(|_| ours.recv(&mut buffer).expect("received"));
        sender.join().expect("it ends");
        counts
    };
    both(unix, PAUSE);
}

/// Polls several descriptors; returns the result and each one's events.
fn poll(entries: &[(&dyn AsRawFd, i16)], timeout: Duration) -> (c_int, Vec<i16>) {
    let mut list: Vec<libc::pollfd> = (entries.iter())
        .map(|(fd, events)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: *events,
            revents: 0,
        })
        .collect();
    let timeout = c_int::try_from(timeout.as_millis()).expect("short");
    // SAFETY: so many valid entries.
    let count = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout) };
    (count, list.iter().map(|entry| entry.revents).collect())
}

#[test]
fn poll_waits_for_any_of_several_and_for_its_time() {
    let program = || {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let entries: [(&dyn AsRawFd, i16); 3] = [
            (&ours, libc::POLLIN),
            (&reader, libc::POLLIN),
            (&udp, libc::POLLIN),
        ];
        let mut seen = vec![poll(&entries, PAUSE)];
        let later = thread::spawn(move || {
            thread::sleep(PAUSE);
            drop(writer);
        });
        seen.push(poll(&entries, 100 * PAUSE));
        later.join().expect("it ends");
        let two: [(&dyn AsRawFd, i16); 2] = [(&ours, libc::POLLIN), (&udp, libc::POLLIN)];
        let later = thread::spawn(move || {
            thread::sleep(PAUSE);
            (&theirs).write_all(b"x").expect("written");
            theirs
        });
        seen.push(poll(&two, 100 * PAUSE));
        drop(later.join().expect("it ends"));
        seen.push(poll(&two, 100 * PAUSE));
        // What asks for nothing hears of an end only.
        seen.push(poll(&[(&ours, 0), (&udp, libc::POLLOUT)], PAUSE));
        // No descriptor: a sleep.
        seen.push(poll(&[], PAUSE));
        seen
    };
    both(program, 4 * PAUSE);
}

#[test]
fn a_limit_of_a_blocking_receive_is_kept() {
    let program = || {
        let (mut ours, _theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(PAUSE)).expect("set");
        assert_eq!(ours.read_timeout().expect("a limit"), Some(PAUSE));
        ours.set_write_timeout(Some(PAUSE)).expect("set");
        let full = ours.write_all(&vec![b'x'; 1 << 20]).expect_err("no room");
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
        let unix = ours.read(&mut [0; 9]).expect_err("nothing comes").kind();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PAUSE)).expect("set");
        let udp = socket.recv(&mut [0; 9]).expect_err("nothing comes").kind();
        (unix, udp)
    };
    both(program, 3 * PAUSE);
}

/// std's copy of a file to a socket makes sendfile(2), which waits for room.
#[test]
fn a_file_goes_to_a_socket_in_the_kernel() {
    let path = std::env::temp_dir().join(format!("soloio-sim-blocking-{}", std::process::id()));
    let bytes: Vec<u8> = (0..1 << 20_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &bytes).expect("written");
    let program = || {
        let mut file = File::open(&path).expect("the file");
        file.seek_relative(100).expect("within the file");
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            thread::sleep(PAUSE);
            theirs.read_to_end(&mut got).expect("read");
            got
        });
        let copied = std::io::copy(&mut file, &mut ours).expect("copied");
        drop(ours);
        let got = reader.join().expect("it ends");
        assert!(got == bytes[100..], "other bytes");
        (copied, file.stream_position().expect("a position"))
    };
    both(program, PAUSE);
    std::fs::remove_file(&path).expect("removed");
}
