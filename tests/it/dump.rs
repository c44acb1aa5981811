//! The dump: what each task waits for, and its place in the tree.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    Dump, Error, Lock, Result, Runtime, TaskGroup, TaskState, create_memory_byte_stream, dump,
    fail_after, sleep, task_group,
};

use crate::net_support::{polled, run, tcp_listener, tcp_pair, unix_pair};
use crate::support::{alone, forever};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns what a named task waits for.
fn waits_of(dump: &Dump, name: &str) -> String {
    let named = |task: &&TaskState| task.name.as_deref() == Some(name);
    let task = dump.tasks.iter().find(named).expect(name);
    assert!(task.polls > 0 && task.depth == 1 && !task.woken, "{task}");
    let place = task.spawned_at.expect("it was spawned");
    assert!(place.file().ends_with("dump.rs"));
    task.waits_for.join(", ")
}

/// The number may belong to another socket by then.
#[test]
fn a_socket_that_another_thread_has_closed_is_not_asked() {
    let test = "dump::a_socket_that_another_thread_has_closed_is_not_asked";
    alone(test, || {
        run(async {
            let (tcp, _other) = tcp_pair().await;
            let number = tcp.as_fd().as_raw_fd();
            let mut waiting = Box::pin(async move { tcp.receive().await });
            assert!(polled(1, &mut waiting).await.is_none(), "it waits");
            let reused = std::thread::spawn(move || {
                drop(waiting);
                [(); 8].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").expect("a port"))
            });
            let all = reused.join().expect("no panic");
            let reused = all.iter().find(|socket| socket.as_raw_fd() == number);
            let reused = reused.expect("the lowest numbers are taken first");
            let text = format!("{:?}", dump().expect("inside"));
            let address = reused.local_addr().expect("bound").to_string();
            assert!(text.contains(&format!("fd {number}")), "{text}");
            assert!(!text.contains(&address), "{text}");
        });
    });
}

#[test]
fn sockets_and_moments_are_named() {
    run(async {
        let (tcp, _other) = tcp_pair().await;
        let (unix, end) = unix_pair().await;
        let listener = tcp_listener().await;
        let dump = dump_of(async |group| {
            drop(
                group
                    .spawn(async { tcp.receive().await.map(drop) })
                    .named("tcp"),
            );
            drop(
                group
                    .spawn(async { unix.receive().await.map(drop) })
                    .named("unix"),
            );
            drop(
                group
                    .spawn(async { listener.accept().await.map(drop) })
                    .named("accept"),
            );
            drop(group.spawn(sleep(HOUR)).named("sleep"));
            let limited = async { fail_after(HOUR, end.receive()).await.map(drop) };
            drop(group.spawn(limited).named("limited"));
            drop(
                group
                    .spawn(async { fail_after(HOUR, tcp.send(b"x")).await })
                    .named("done"),
            );
        })
        .await;
        let waits_of = |name| waits_of(&dump, name);
        let (peer, own) = (
            tcp.peer_addr().to_string(),
            listener.local_addr().to_string(),
        );
        assert!(waits_of("tcp").starts_with("readable (fd "), "{dump}");
        assert!(waits_of("tcp").contains(&peer), "{dump}");
        assert!(waits_of("unix").starts_with("readable (fd "), "{dump}");
        assert!(waits_of("accept").starts_with("accepts (fd "), "{dump}");
        assert!(waits_of("accept").contains(&own), "{dump}");
        assert!(waits_of("sleep").ends_with(" s left"), "{dump}");
        assert!(waits_of("limited").contains("readable"), "{dump}");
        assert!(waits_of("limited").contains(" s left"), "{dump}");
        let shown = dump.to_string();
        assert!(!shown.contains("\"done\""), "{shown}");
        assert!(shown.starts_with("main, "), "{shown}");
        assert!(shown.contains("\n  body of a group, "), "{shown}");
        assert!(shown.contains("\n  \"tcp\" (tests/it/dump.rs:"), "{shown}");
        let running = dump.tasks.iter().filter(|task| task.running);
        assert_eq!(running.count(), 2, "main and the body: {dump}");
        assert_eq!(dump.unattributed, 0);
    });
}

#[test]
fn other_waits_are_named_and_those_of_combinators_counted() {
    run(async {
        let (memory, _peer) = create_memory_byte_stream(1);
        let (lock, other) = (Lock::new(()), Lock::new(()));
        let dump = dump_of(async |group| {
            drop(
                group
                    .spawn(async { memory.receive().await.map(drop) })
                    .named("memory"),
            );
            let holds = async {
                let _held = lock.acquire().await?;
                sleep(HOUR).await
            };
            drop(group.spawn(holds).named("has the lock"));
            let wants = async { lock.acquire().await.map(drop) };
            drop(group.spawn(wants).named("wants the lock"));
            let twice = async {
                let _held = other.acquire().await?;
                other.acquire().await.map(drop)
            };
            drop(group.spawn(twice).named("takes it twice"));
            let mut slow = group.spawn(sleep(HOUR));
            let joins = group.spawn(async move { slow.wait().await });
            drop(joins.named("joins"));
            drop(group.spawn(async {
                let mut all: FuturesUnordered<_> = [sleep(HOUR)].into_iter().collect();
                all.next().await.unwrap_or(Ok(()))
            }));
            drop(group.spawn(async {
                forever().await;
                Ok(())
            }));
        })
        .await;
        assert_eq!(
            waits_of(&dump, "memory"),
            "the other end of a stream in memory"
        );
        assert_eq!(waits_of(&dump, "joins"), "the end of a task");
        let own = waits_of(&dump, "takes it twice");
        assert!(own.ends_with("a lock, held by itself"), "{own}");
        assert_eq!(dump.unattributed, 1, "{dump}");
        assert!(
            dump.to_string().contains("\n  task (tests/it/dump.rs:"),
            "{dump}"
        );
        assert!(
            dump.to_string()
                .contains("something that is not known here"),
            "{dump}"
        );
    });
}

/// Returns the dump of a group that `body` has filled, taken when its tasks wait.
async fn dump_of<'env>(body: impl for<'s> AsyncFnOnce(&'s TaskGroup<'s, 'env>)) -> Dump {
    task_group(async |group| {
        body(group).await;
        for _ in 0..3 {
            sleep(Duration::from_millis(1)).await?;
        }
        let dump = dump()?;
        group.cancel();
        Ok(dump)
    })
    .await
    .expect("no error")
}

#[test]
fn the_tree_is_that_of_the_groups_also_between_turns() {
    let mut runtime = Runtime::new().expect("a runtime");
    let task = runtime.spawn(async {
        task_group(async |outer| {
            outer.spawn(async {
                task_group(async |inner| inner.spawn(sleep(HOUR)).named("deep").await).await
            });
            sleep(HOUR).await
        })
        .await
    });
    let task = task.named("root");
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    let dump = runtime.dump();
    let depths: Vec<_> = dump.tasks.iter().map(|task| task.depth).collect();
    assert_eq!(depths, [0, 1, 1, 2, 2], "{dump}");
    assert!(
        dump.tasks
            .iter()
            .any(|task| task.depth == 2 && task.name.as_deref() == Some("deep"))
    );
    assert_eq!(dump.tasks.iter().filter(|task| task.running).count(), 0);
    assert!(matches!(soloio::dump(), Err(Error::NoRuntime)));
    drop(task);
}

/// Ten thousand tasks: the time is printed; the benchmarks measure it.
#[test]
fn ten_thousand_tasks_are_told() {
    run(async {
        let ended: Result<()> = task_group(async |group| {
            for _ in 0..10_000 {
                group.spawn(sleep(HOUR));
            }
            sleep(Duration::from_millis(1)).await?;
            let start = Instant::now();
            let dump = dump()?;
            println!("a dump of ten thousand tasks took {:?}", start.elapsed());
            assert_eq!(dump.tasks.len(), 10_002);
            let waiting = dump.tasks.iter().filter(|task| !task.waits_for.is_empty());
            assert_eq!(waiting.count(), 10_000);
            Err(Error::other("enough"))
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "enough");
    });
}
