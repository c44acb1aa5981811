//! Crates without I/O: they need a task and its waker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt, future, select_biased};
use soloio::{interval, items, run_in_thread, sleep, task_group, yield_now};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Metadata, Subscriber};

use crate::support::{Outcome, run};

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn futures_util() {
    run(async {
        let mut unordered: FuturesUnordered<_> = [3, 1, 2]
            .map(|number| async move {
                sleep(SHORT * number).await?;
                Ok::<_, soloio::Error>(number)
            })
            .into_iter()
            .collect();
        let mut sum = 0;
        while let Some(number) = unordered.try_next().await? {
            sum += number;
        }
        assert_eq!(sum, 6);
        let (mut short, mut long) = (Box::pin(sleep(SHORT)), Box::pin(sleep(LONG)));
        future::select(&mut short, &mut long).await;
        select_biased! {
            _ = future::FutureExt::fuse(long) => panic!("an hour has passed"),
            slept = future::FutureExt::fuse(sleep(SHORT)) => slept?,
        }
        // Streams of soloio's own: with the feature `futures-core`.
        let ticks: Vec<()> = interval(SHORT).take(2).try_collect().await?;
        assert_eq!(ticks.len(), 2);
        let (sender, receiver) = soloio::create_memory_object_stream(1);
        let sent = async { Outcome::Ok(sender.send("item").await?) };
        let got = async { Ok(items(|| receiver.receive()).next().await) };
        let ((), got) = future::try_join(sent, got).await?;
        assert_eq!(got.expect("an item")?, "item");
        Ok(())
    });
}

#[test]
fn async_channel() {
    run(async {
        let (sender, receiver) = async_channel::bounded(1);
        let elsewhere = run_in_thread(move || {
            (0..100).for_each(|number| sender.send_blocking(number).expect("it is received"));
        });
        let sum = receiver.fold(0, |sum, number: u32| future::ready(sum + number));
        let (sent, sum) = future::join(elsewhere.into_future(), sum).await;
        sent?;
        assert_eq!(sum, 4950);
        Ok(())
    });
}

#[test]
fn flume() {
    run(async {
        let (sender, receiver) = flume::bounded(1);
        let elsewhere = run_in_thread(move || {
            (0..100).for_each(|number: u32| sender.send(number).expect("it is received"));
        });
        let sum = receiver
            .stream()
            .fold(0, |sum, number| future::ready(sum + number));
        let (sent, sum) = future::join(elsewhere.into_future(), sum).await;
        sent?;
        assert_eq!(sum, 4950);
        Ok(())
    });
}

#[test]
fn async_lock() {
    run(task_group_of_turns(async_lock::Mutex::new(0)));
}

async fn task_group_of_turns(counter: async_lock::Mutex<u32>) -> Outcome {
    task_group(async |group| {
        for _ in 0..10 {
            group.spawn(async {
                let mut counter = counter.lock().await;
                let before = *counter;
                yield_now().await?;
                *counter = before + 1;
                Ok(())
            });
        }
        Ok::<_, soloio::Error>(())
    })
    .await?;
    assert_eq!(counter.into_inner(), 10);
    Ok(())
}

#[test]
fn async_broadcast() {
    run(async {
        let (sender, mut first) = async_broadcast::broadcast(1);
        let mut second = first.clone();
        let send = async {
            for number in 0..10 {
                sender.broadcast(number).await.expect("it is received");
            }
            sender.close();
        };
        let both = future::join(first.by_ref().count(), second.by_ref().count());
        assert_eq!(future::join(send, both).await.1, (10, 10));
        Ok(())
    });
}

#[test]
fn tokio_sync() {
    run(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let elsewhere = run_in_thread(move || {
            (0..100).for_each(|number: u32| sender.blocking_send(number).expect("it is received"));
        });
        let sum = async {
            let mut sum = 0;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            sum
        };
        let (sent, sum) = future::join(elsewhere.into_future(), sum).await;
        sent?;
        assert_eq!(sum, 4950);

        let (sender, mut receiver) = tokio::sync::watch::channel(0);
        let (once, value) = tokio::sync::oneshot::channel();
        let change = async {
            sender.send(7).expect("it is watched");
            once.send("done").expect("it is received");
        };
        let changed = async {
            receiver.changed().await.expect("it changes");
            *receiver.borrow_and_update()
        };
        let ((), seen, got) = future::join3(change, changed, value).await;
        assert_eq!((seen, got), (7, Ok("done")));
        Ok(())
    });
}

#[test]
fn tower() {
    run(async {
        let doubled = ServiceBuilder::new()
            .map_request(|number: u32| number * 2)
            .service(service_fn(async |number: u32| {
                sleep(SHORT).await?;
                Ok::<_, soloio::Error>(number + 1)
            }));
        assert_eq!(doubled.oneshot(20).await?, 41);
        Ok(())
    });
}

/// Notes which span is entered when an event comes.
#[derive(Default)]
struct Notes {
    spans: AtomicU64,
    entered: Mutex<Vec<u64>>,
    events: Arc<Mutex<Vec<Option<u64>>>>,
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let entered = self.entered.lock().expect("no panic").last().copied();
        self.events.lock().expect("no panic").push(entered);
    }

    fn enter(&self, span: &Id) {
        self.entered.lock().expect("no panic").push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.entered.lock().expect("no panic").pop();
    }
}

/// A span is entered while its task is polled, and only then.
#[test]
fn tracing() {
    let notes = Notes::default();
    let events = Arc::clone(&notes.events);
    tracing::subscriber::with_default(notes, || {
        run(async {
            task_group(async |group| {
                for number in 0..2 {
                    let work = async {
                        tracing::info!("before");
                        yield_now().await?;
                        tracing::info!("after");
                        Ok(())
                    };
                    group.spawn(work.instrument(tracing::info_span!("task", number)));
                }
                Ok::<_, soloio::Error>(())
            })
            .await?;
            tracing::info!("outside");
            Ok(())
        });
    });
    let events = events.lock().expect("no panic");
    assert_eq!(*events, [Some(1), Some(2), Some(1), Some(2), None]);
}
