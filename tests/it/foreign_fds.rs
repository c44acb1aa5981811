//! Waits for descriptors that soloio does not own: every kind, several waiters, closing meanwhile.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use futures_util::future::{join, join_all};
use soloio::{Error, Runtime, notify_closing, task_group, wait_readable, wait_writable, yield_now};

use crate::cut::everywhere_alone;
use crate::kernel;
use crate::net_support::{TempDir, polled, refused, run, tcp_pair, turns};
use crate::support::{alone, deadline, fds};

#[test]
fn a_pipe_is_waited_for_from_both_ends() {
    run(async {
        let (mut reader, mut writer) = kernel::pipe();
        assert!(polled(5, wait_readable(&reader)).await.is_none());
        wait_writable(&writer).await.expect("there is room");
        let write = async {
            turns(3).await;
            writer.write_all(b"hello").expect("written");
        };
        let (waited, ()) = join(wait_readable(&reader), write).await;
        waited.expect("there is something");
        reader.read_exact(&mut [0; 5]).expect("all of it");
        assert!(polled(5, wait_readable(&reader)).await.is_none());

        while writer.write(&[0; 4096]).is_ok() {}
        assert!(polled(5, wait_writable(&writer)).await.is_none());
        let read = async {
            turns(3).await;
            let mut room = vec![0; 65_536];
            while reader.read(&mut room).is_ok_and(|got| got > 0) {}
        };
        let (waited, ()) = join(wait_writable(&writer), read).await;
        waited.expect("there is room again");

        let end = async {
            turns(3).await;
            drop(writer);
        };
        let (waited, ()) = join(wait_readable(&reader), end).await;
        waited.expect("the end is there to be read");
    });
}

#[test]
fn the_other_end_that_closes_ends_a_wait_for_room() {
    run(async {
        let (reader, mut writer) = kernel::pipe();
        while writer.write(&[0; 4096]).is_ok() {}
        let close = async {
            turns(3).await;
            drop(reader);
        };
        let (waited, ()) = join(wait_writable(&writer), close).await;
        waited.expect("the error is there to be met");
    });
}

#[test]
fn inotify_and_devices_are_waited_for() {
    run(async {
        let dir = TempDir::new();
        let mut changes = kernel::inotify(dir.all());
        let make = async {
            turns(3).await;
            File::create(dir.path("new")).expect("a file");
        };
        let (waited, _) = join(wait_readable(&changes), make).await;
        waited.expect("a change");
        assert!(changes.read(&mut [0; 1024]).expect("the change") > 0);
        let null = File::open("/dev/null").expect("there is one");
        wait_readable(&null).await.expect("always ready");
        // A file by its type, but the kernel can wait for it.
        let mounts = File::open("/proc/self/mounts").expect("procfs");
        wait_readable(&mounts)
            .await
            .expect("ready, as poll(2) says");
    });
}

#[test]
fn another_runtime_is_waited_for() {
    // R15: a nested epoll descriptor.
    run(async {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (mut near, far) = StdUnixStream::pair().expect("a pair");
        let thread = std::thread::spawn(move || {
            let mut inner = Runtime::new().expect("a runtime");
            let task = inner.spawn(async move {
                wait_readable(&far).await.expect("ready in the end");
            });
            let copy = inner.as_fd().try_clone_to_owned().expect("a duplicate");
            inner.turn(Some(std::time::Duration::ZERO)).expect("a turn");
            sender.send(copy).expect("the test is there");
            while !task.is_finished() {
                inner.turn(None).expect("a turn");
            }
        });
        let inner = receiver.recv().expect("the runtime's descriptor");
        near.write_all(b"x").expect("written");
        // The inner loop may have served it before the first poll; only the thread's end is
        // certain.
        drop(polled(100, wait_readable(&inner)).await);
        thread.join().expect("it ended");
    });
}

#[test]
fn what_cannot_be_waited_for_is_a_clear_error() {
    run(async {
        let dir = TempDir::new();
        let file = File::create(dir.path("file")).expect("a file");
        let folder = File::open(dir.all()).expect("a folder");
        for (fd, kind) in [(file, "a regular file"), (folder, "or a directory")] {
            for ended in [wait_readable(&fd).await, wait_writable(&fd).await] {
                refused!(ended, Error::Io(_));
                let text = ended.expect_err("refused").to_string();
                assert!(
                    text.contains(kind) && text.contains("use descriptor"),
                    "{text}"
                );
            }
        }
    });
    let (reader, _writer) = kernel::pipe();
    let mut outside = Box::pin(wait_readable(&reader));
    let waker = std::task::Waker::noop();
    let polled = crate::support::poll_with(outside.as_mut(), waker);
    assert!(matches!(
        polled,
        std::task::Poll::Ready(Err(Error::NoRuntime))
    ));
}

#[test]
fn out_of_descriptors_is_an_error() {
    alone("foreign_fds::out_of_descriptors_is_an_error", || {
        run(async {
            let (reader, _writer) = kernel::pipe();
            turns(1).await;
            let fillers = kernel::use_up_descriptors();
            let ended = wait_readable(&reader).await;
            drop(fillers);
            match ended {
                Err(Error::Io(cause)) => assert_eq!(cause.raw_os_error(), Some(libc::EMFILE)),
                other => panic!("{other:?}"),
            }
        });
    });
}

#[test]
fn several_may_wait_for_one_descriptor() {
    run(async {
        let (mut near, far) = StdUnixStream::pair().expect("a pair");
        let waits = join_all((0..5).map(|_| wait_readable(&far)));
        let both = join(wait_writable(&far), wait_readable(&far));
        let write = async {
            turns(3).await;
            near.write_all(b"x").expect("written");
        };
        let (waited, (writable, readable), ()) =
            futures_util::future::join3(waits, both, write).await;
        assert!(waited.iter().all(Result::is_ok));
        assert!(writable.is_ok() && readable.is_ok());
    });
}

#[test]
fn a_descriptor_of_our_own_is_no_special_case() {
    run(async {
        let (a, b) = tcp_pair().await;
        // The receive registers the descriptor with the poller before the wait does.
        assert!(polled(2, a.receive()).await.is_none());
        let send = async {
            turns(3).await;
            b.send(b"hello").await.expect("sent");
        };
        let (waited, received, ()) =
            futures_util::future::join3(wait_readable(&a), a.receive(), send).await;
        assert_eq!(received.expect("received"), b"hello");
        // The wait is polled before the receive takes the bytes, so it ends too.
        if waited.is_err() {
            panic!("{waited:?}");
        }
    });
}

#[test]
fn what_a_faster_one_took_is_waited_for_again() {
    run(async {
        let (mut near, mut far) = StdUnixStream::pair().expect("a pair");
        far.set_nonblocking(true).expect("set");
        let copy = far.try_clone().expect("a duplicate");
        let mut waiting = Box::pin(wait_readable(&copy));
        assert!(polled(3, waiting.as_mut()).await.is_none());
        near.write_all(b"x").expect("written");
        far.read_exact(&mut [0; 1])
            .expect("taken before it is polled again");
        assert!(polled(5, waiting.as_mut()).await.is_none());
        near.write_all(b"y").expect("written");
        waiting.await.expect("there is something again");
    });
}

#[test]
fn closing_ends_the_waits() {
    run(async {
        let (reader, _writer) = kernel::pipe();
        let (other, _other_writer) = kernel::pipe();
        let mut bystander = Box::pin(wait_readable(&other));
        let waits = join_all((0..3).map(|_| wait_readable(&reader)));
        let close = async {
            assert!(polled(3, bystander.as_mut()).await.is_none());
            notify_closing(&reader);
        };
        let (waited, ()) = join(waits, close).await;
        for ended in waited {
            refused!(ended, Error::Closed);
        }
        assert!(polled(3, bystander.as_mut()).await.is_none());
        // The file is as it was, and may be waited for again.
        assert!(polled(3, wait_readable(&reader)).await.is_none());
        // Without a waiter the call does nothing.
        notify_closing(&reader);
    });
}

#[test]
fn closing_leaves_the_connection_alone() {
    run(async {
        let (mut near, mut far) = StdUnixStream::pair().expect("a pair");
        let wait = wait_readable(&far);
        let close = async {
            turns(2).await;
            notify_closing(&far);
        };
        refused!(join(wait, close).await.0, Error::Closed);
        near.write_all(b"still there").expect("written");
        let mut got = [0; 11];
        far.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"still there");
    });
}

#[test]
fn closing_is_announced_from_any_thread() {
    let _guard = deadline();
    let (reader, _writer) = kernel::pipe();
    std::thread::scope(|scope| {
        let (ready, waiting) = std::sync::mpsc::channel();
        let reader = &reader;
        let wait = scope.spawn(move || {
            soloio::block_on(async {
                let wait = wait_readable(reader);
                let tell = async {
                    turns(2).await;
                    ready.send(()).expect("the test is there");
                };
                join(wait, tell).await.0
            })
        });
        waiting.recv().expect("it waits");
        notify_closing(reader);
        refused!(wait.join().expect("it ended"), Error::Closed);
    });
}

#[test]
fn a_number_that_is_used_anew_is_another_descriptor() {
    // The wait is dropped and its descriptor closed: the next descriptor has the same number, and
    // its wait must see its own readiness.
    let test = "foreign_fds::a_number_that_is_used_anew_is_another_descriptor";
    alone(test, || {
        run(async {
            for _ in 0..100 {
                let (reader, writer) = kernel::pipe();
                assert!(polled(1, wait_readable(&reader)).await.is_none());
                drop((reader, writer));
                let (mut near, far) = StdUnixStream::pair().expect("a pair");
                let wait = wait_readable(&far);
                let write = async {
                    yield_now().await.expect("inside a runtime");
                    near.write_all(b"x").expect("written");
                };
                join(wait, write).await.0.expect("its own");
            }
        });
    });
}

#[test]
fn nothing_is_left_of_a_wait() {
    let test = "foreign_fds::nothing_is_left_of_a_wait";
    alone(test, || {
        let before = fds();
        run(async {
            let (reader, mut writer) = kernel::pipe();
            turns(1).await;
            let inside = fds();
            for _ in 0..1000 {
                assert!(polled(1, wait_readable(&reader)).await.is_none());
                writer.write_all(b"x").expect("written");
                wait_readable(&reader).await.expect("there is something");
                (&reader).read_exact(&mut [0; 1]).expect("read");
            }
            assert_eq!(fds(), inside);
        });
        assert_eq!(fds(), before);
    });
}

/// Covers: wait_readable, wait_writable.
#[test]
fn cancelled_everywhere() {
    everywhere_alone("foreign_fds::cancelled_everywhere", async |cut| {
        let (mut reader, mut writer) = kernel::pipe();
        let write = async {
            turns(3).await;
            writer.write_all(b"x").expect("written");
        };
        let (waited, ()) = join(cut.apply(wait_readable(&reader)), write).await;
        wait_readable(&reader).await.expect("it is still there");
        reader.read_exact(&mut [0; 1]).expect("read");
        let room = cut.apply(wait_writable(&writer)).await;
        waited.is_some() & room.is_some()
    });
}

#[test]
fn a_wait_in_a_group_borrows_its_descriptor() {
    run(async {
        let (near, far) = StdUnixStream::pair().expect("a pair");
        task_group(async |group| {
            let reading = group.spawn(wait_readable(&far));
            let writing = group.spawn(wait_writable(&far));
            writing.await?;
            (&near).write_all(b"x").map_err(Error::from)?;
            reading.await
        })
        .await
        .expect("no error");
    });
}
