//! The parts by themselves: timer, executors, I/O, and what can travel.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use hyper::rt::{Executor, Read, ReadBuf, Timer, Write};
use soloio::tls::TlsStream;
use soloio::{
    Error, Io, Result, Room, TcpStream, ThreadEvent, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, create_memory_byte_stream, create_tcp_listener, create_udp_socket,
    fail_after, interval, move_on_after, run_in_thread, sleep, stopping, task_group, yield_now,
};
use soloio_hyper::{GroupExecutor, HyperIo, SoloTimer, Spawner};

async fn read(io: &mut (impl Read + Unpin), max: usize) -> std::io::Result<Vec<u8>> {
    let mut memory = vec![0; max];
    let mut buf = ReadBuf::new(&mut memory);
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, buf.unfilled())).await?;
    Ok(buf.filled().to_vec())
}

#[test]
fn bytes_pass_and_the_end_is_empty() {
    let passed = block_on(async {
        let (a, b) = create_memory_byte_stream(1_000);
        let (mut a, mut b) = (HyperIo::new(a), HyperIo::new(b));
        let parts = [&b"he"[..], b"", b"llo"].map(std::io::IoSlice::new);
        let sent = poll_fn(|cx| Pin::new(&mut a).poll_write_vectored(cx, &parts)).await?;
        assert_eq!(sent, 5);
        poll_fn(|cx| Pin::new(&mut a).poll_flush(cx)).await?;
        assert_eq!(read(&mut b, 3).await?, b"hel");
        poll_fn(|cx| Pin::new(&mut a).poll_shutdown(cx)).await?;
        assert_eq!(read(&mut b, 9).await?, b"lo");
        assert_eq!(read(&mut b, 9).await?, b"");
        let mut told = None;
        move_on_after(Duration::from_millis(1), async {
            told = Some(read(&mut a, 9).await);
            Ok::<_, Error>(())
        })
        .await?;
        let told = told.expect("told, not dropped").expect_err("cancelled");
        assert!(matches!(Error::from(told), Error::Cancelled));
        Ok::<_, Error>(())
    });
    passed.expect("all went well");
}

#[test]
fn a_timer_is_moved_where_it_is_and_says_nothing_of_a_cancel() {
    let timed = block_on(async {
        let start = Instant::now();
        let mut sleep = SoloTimer.sleep(Duration::from_secs(3600));
        let before = std::ptr::from_ref(&*sleep).cast::<u8>();
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        for moved in [2, 4] {
            let deadline = start + Duration::from_millis(moved);
            SoloTimer.reset(&mut sleep, deadline);
            sleep.as_mut().await;
            assert!(Instant::now() >= deadline);
            assert_eq!(std::ptr::from_ref(&*sleep).cast::<u8>(), before);
        }
        let mut ended = false;
        let limit = Duration::from_millis(1);
        move_on_after(limit, async {
            SoloTimer.sleep(Duration::from_secs(3600)).await;
            ended = true;
            Ok::<_, Error>(())
        })
        .await?;
        assert!(!ended, "that would look like its moment");
        Ok::<_, Error>(())
    });
    timed.expect("all went well");
}

#[test]
fn a_group_executor_runs_what_borrows() {
    let counted = Mutex::new(0);
    let ran = block_on(task_group(async |group| {
        let executor = GroupExecutor::new(group);
        for _ in 0..10 {
            executor.execute(async { *counted.lock().expect("no panic") += 1 });
        }
        Ok::<_, Error>(())
    }));
    ran.expect("all ended");
    assert_eq!(counted.into_inner().expect("no panic"), 10);
}

/// Counts those that are alive.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_spawner_runs_what_other_threads_give_it_and_leaves_nothing_behind() {
    let alive = Arc::new(AtomicUsize::new(0));
    let spawner = Spawner::new();
    let spawn = |spawner: &Spawner, done: ThreadEvent| {
        alive.fetch_add(1, Ordering::Relaxed);
        let own = Alive(Arc::clone(&alive));
        spawner.execute(async move {
            let _own = own;
            done.set();
            std::future::pending::<()>().await;
        });
    };
    let (early, late) = (ThreadEvent::new(), ThreadEvent::new());
    spawn(&spawner, early.clone());
    let ran: Result<()> = block_on(task_group(async |group| {
        let running = group.spawn(spawner.clone().run());
        early.wait().await?;
        std::thread::scope(|scope| {
            scope.spawn(|| spawn(&spawner, late.clone()));
        });
        late.wait().await?;
        running.cancel();
        Ok(())
    }));
    ran.expect("all went well");
    assert_eq!(alive.load(Ordering::Relaxed), 0, "all ended with it");
    spawn(&spawner, ThreadEvent::new());
    assert_eq!(alive.load(Ordering::Relaxed), 0, "nothing runs it any more");
}

/// What axum asks of a handler: `Send`, also where it holds a TLS stream across an await.
#[test]
fn handlers_of_axum_may_hold_tls_streams() {
    fn travels<T: Send>() {}
    travels::<HyperIo<TcpStream>>();
    travels::<HyperIo<TlsStream<TcpStream>>>();
    travels::<Spawner>();
    async fn receives(io: &mut Io<TlsStream<TcpStream>>) -> Result<usize> {
        let mut memory = [0; 9];
        let mut room = Room::new(&mut memory);
        poll_fn(|cx| io.poll_receive(cx, &mut room)).await?;
        Ok(room.len())
    }
    let shared: Arc<Mutex<Option<Io<TlsStream<TcpStream>>>>> = Arc::default();
    let handler = async move || {
        let Some(mut io) = shared.lock().expect("no panic").take() else {
            return "none";
        };
        match receives(&mut io).await {
            Ok(_) => "some",
            Err(_) => "an error",
        }
    };
    drop(Router::<()>::new().route("/", get(handler)));
}

/// The futures of what such a handler may use: `Send` where what they hold is.
#[test]
fn what_handlers_of_axum_wait_for_can_travel() {
    fn travels<T: Send>(future: T) {
        drop(future);
    }
    let limit = Duration::from_secs(1);
    travels(connect_tcp("127.0.0.1", 1).into_future());
    travels(connect_unix("/nowhere"));
    travels(create_tcp_listener().into_future());
    travels(create_udp_socket().into_future());
    travels(create_connected_udp_socket("127.0.0.1", 1).into_future());
    travels(sleep(limit));
    travels(interval(limit).tick());
    travels(yield_now());
    travels(stopping());
    travels(ThreadEvent::new().wait());
    travels(run_in_thread(|| 1).into_future());
    travels(async move { fail_after(limit, sleep(limit)).await });
    travels(async move { move_on_after(limit, sleep(limit)).await });
    travels(async {
        let stream = connect_tcp("127.0.0.1", 1).await?;
        stream.send(b"x").await?;
        stream.receive().await?;
        stream.close().await
    });
    travels(async {
        let socket = create_udp_socket().await?;
        socket.receive().await?;
        socket.send_to(b"x", socket.local_addr()).await
    });
}
