//! Values from task to task. `ping_pong`: two tasks, a channel of capacity 1 in each direction,
//! nanoseconds per round (two sends, two receives). `flow`: one sender, one receiver, 64 places
//! between them, nanoseconds per value.

use std::io;

use soloio::{block_on, create_memory_object_stream, task_group};
use tokio::sync::mpsc;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

const PLACES: usize = 64;

pub fn ping_pong(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio_ping_pong(count),
        Side::TokioCurrent => tokio_ping_pong::<CurrentThread>(count),
        Side::TokioLocal => tokio_ping_pong::<Local>(count),
    }
}

pub fn flow(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio_flow(count),
        Side::TokioCurrent => tokio_flow::<CurrentThread>(count),
        Side::TokioLocal => tokio_flow::<Local>(count),
    }
}

fn soloio_ping_pong(count: u64) -> io::Result<f64> {
    let (ping, pinged) = create_memory_object_stream::<u64>(1);
    let (pong, ponged) = create_memory_object_stream::<u64>(1);
    let elapsed = block_on(task_group(async |group| {
        group.spawn(async {
            let pong = pong;
            while let Some(number) = pinged.next().await? {
                pong.send(number + 1).await?;
            }
            Ok(())
        });
        let play = async |rounds| {
            for number in 0..rounds {
                ping.send(number).await?;
                assert_eq!(ponged.receive().await?, number + 1);
            }
            soloio::Result::<_>::Ok(())
        };
        play(100).await?;
        let watch = Stopwatch::start();
        play(count).await?;
        let elapsed = watch.read();
        ping.close();
        Ok(elapsed)
    }))?;
    Ok(nanos_each(elapsed, count))
}

fn tokio_ping_pong<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        let (ping, mut pinged) = mpsc::channel::<u64>(1);
        let (pong, mut ponged) = mpsc::channel::<u64>(1);
        F::spawn(async move {
            while let Some(number) = pinged.recv().await {
                pong.send(number + 1).await.expect("somebody receives");
            }
        });
        let mut play = async |rounds| {
            for number in 0..rounds {
                ping.send(number).await.expect("somebody receives");
                assert_eq!(ponged.recv().await, Some(number + 1));
            }
        };
        play(100).await;
        let watch = Stopwatch::start();
        play(count).await;
        watch.read()
    });
    Ok(nanos_each(elapsed, count))
}

fn soloio_flow(count: u64) -> io::Result<f64> {
    let (sender, receiver) = create_memory_object_stream::<u64>(PLACES);
    let elapsed = block_on(task_group(async |group| {
        group.spawn(async move {
            for number in 0..count + 100 {
                sender.send(number).await?;
            }
            Ok(())
        });
        for number in 0..100 {
            assert_eq!(receiver.receive().await?, number);
        }
        let watch = Stopwatch::start();
        for number in 100..count + 100 {
            assert_eq!(receiver.receive().await?, number);
        }
        Ok(watch.read())
    }))?;
    Ok(nanos_each(elapsed, count))
}

fn tokio_flow<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        let (sender, mut receiver) = mpsc::channel::<u64>(PLACES);
        F::spawn(async move {
            for number in 0..count + 100 {
                sender.send(number).await.expect("somebody receives");
            }
        });
        for number in 0..100 {
            assert_eq!(receiver.recv().await, Some(number));
        }
        let watch = Stopwatch::start();
        for number in 100..count + 100 {
            assert_eq!(receiver.recv().await, Some(number));
        }
        watch.read()
    });
    Ok(nanos_each(elapsed, count))
}
