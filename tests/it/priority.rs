//! Waits for poll(2)'s `POLLPRI`: urgent data, and files that report a change.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use futures_util::future::{join, join3};
use socket2::SockRef;
use soloio::{Error, Result, fail_after, notify_closing, wait_priority, wait_readable};

use crate::cut::everywhere_alone;
use crate::kernel;
use crate::namespace::in_namespace;
use crate::net_support::{TempDir, polled, refused, run, turns};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    (near, listener.accept().expect("accepted").0)
}

fn send_urgent(socket: &TcpStream) {
    let sent = SockRef::from(socket).send_out_of_band(b"!");
    assert_eq!(sent.expect("sent"), 1);
}

fn take_urgent(socket: &TcpStream) {
    let mut room = [std::mem::MaybeUninit::uninit(); 2];
    let got = SockRef::from(socket).recv_out_of_band(&mut room);
    assert_eq!(got.expect("the urgent byte"), 1);
}

async fn soon<T>(what: impl Future<Output = Result<T>>) -> T {
    let waited = fail_after(Duration::from_secs(10), what).await;
    waited.expect("in time")
}

#[test]
fn urgent_data_is_waited_for() {
    run(async {
        let (mut near, far) = pair();
        for _ in 0..3 {
            // Data that is not urgent wakes the task, but does not end the wait.
            let mut waiting = Box::pin(wait_priority(&far));
            assert!(polled(3, waiting.as_mut()).await.is_none());
            near.write_all(b"data").expect("written");
            soon(wait_readable(&far)).await;
            assert!(polled(5, waiting.as_mut()).await.is_none());
            (&far).read_exact(&mut [0; 4]).expect("read");
            send_urgent(&near);
            soon(waiting).await;
            // Urgent data ends each wait until it is taken.
            soon(wait_priority(&far)).await;
            take_urgent(&far);
            assert!(polled(5, wait_priority(&far)).await.is_none());
        }
        let send = async {
            turns(2).await;
            send_urgent(&near);
            near.write_all(b"data").expect("written");
        };
        let (first, second) = (wait_priority(&far), wait_priority(&far));
        let (first, second, ()) = join3(soon(first), soon(second), send).await;
        assert_eq!((first, second), ((), ()));
    });
}

#[test]
fn an_end_ends_the_wait() {
    run(async {
        for resets in [false, true] {
            let (near, far) = pair();
            let end = async {
                turns(3).await;
                if resets {
                    let zero = Some(Duration::ZERO);
                    SockRef::from(&near).set_linger(zero).expect("set");
                }
                drop(near);
            };
            let ((), ()) = join(soon(wait_priority(&far)), end).await;
            soon(wait_priority(&far)).await;
        }
        let (_near, far) = pair();
        let close = async {
            turns(3).await;
            notify_closing(&far);
        };
        refused!(join(wait_priority(&far), close).await.0, Error::Closed);
    });
}

/// The kernel marks a change of the mounts once; reading the mark clears it.
#[test]
fn each_change_of_the_mounts_is_told() {
    let test = "priority::each_change_of_the_mounts_is_told";
    in_namespace(test, "", || {
        run(async {
            let (dir, mounts) = (TempDir::new(), File::open("/proc/self/mounts"));
            let mounts = mounts.expect("procfs");
            let change = async |program: &str, arguments: &[&str]| {
                turns(3).await;
                let mut run = Command::new(program);
                let run = run.args(arguments).arg(dir.all());
                assert!(run.status().expect(program).success());
            };
            for _ in 0..3 {
                assert!(polled(5, wait_priority(&mounts)).await.is_none());
                let mount = change("mount", &["-t", "tmpfs", "none"]);
                join(soon(wait_priority(&mounts)), mount).await;
                assert!(polled(5, wait_priority(&mounts)).await.is_none());
                join(soon(wait_priority(&mounts)), change("umount", &[])).await;
                // A change that comes while no task waits ends the next wait.
                change("mount", &["-t", "tmpfs", "none"]).await;
                soon(wait_priority(&mounts)).await;
                change("umount", &[]).await;
                soon(wait_priority(&mounts)).await;
            }
        });
    });
}

#[test]
fn what_has_no_priority_data_is_pending_or_a_clear_error() {
    run(async {
        let dir = TempDir::new();
        let file = File::create(dir.path("file")).expect("a file");
        let ended = wait_priority(&file).await;
        let text = ended.expect_err("refused").to_string();
        assert!(text.contains("does not watch"), "{text}");
        let (reader, mut writer) = kernel::pipe();
        writer.write_all(b"x").expect("written");
        assert!(polled(5, wait_priority(&reader)).await.is_none());
    });
}

/// Covers: wait_priority.
#[test]
fn cancelled_everywhere() {
    everywhere_alone("priority::cancelled_everywhere", async |cut| {
        let (near, far) = pair();
        let send = async {
            turns(3).await;
            send_urgent(&near);
        };
        let (waited, ()) = join(cut.apply(wait_priority(&far)), send).await;
        wait_priority(&far).await.expect("it is still there");
        take_urgent(&far);
        waited.is_some()
    });
}
