//! Time limits: `fail_after` makes running late an error, `move_on_after` keeps the results so far,
//! and a `shield` lets clean-up run after the limit.
//!
//! ```text
//! cargo run --example timeouts
//! ```

use std::cell::RefCell;
use std::time::Duration;

use soloio::{Error, Result, block_on, connect_tcp, create_tcp_listener};
use soloio::{fail_after, move_on_after, shield, sleep, task_group};

const MS: Duration = Duration::from_millis(1);

fn main() -> Result<()> {
    block_on(async {
        late_is_an_error().await?;
        late_is_left_out().await?;
        late_says_goodbye().await
    })
}

/// A slow server: the limit ends the wait, and no data is lost.
async fn late_is_an_error() -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    let server = listener.accept().await?;

    match fail_after(20 * MS, client.receive()).await {
        Err(Error::TimedOut(_)) => println!("no answer within 20 ms"),
        other => println!("unexpected: {other:?}"),
    }
    server.send(b"here I am").await?;
    let answer = fail_after(1000 * MS, client.receive()).await?;
    println!("then: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Three tasks under one limit write into a list that they borrow; the slow one is dropped.
async fn late_is_left_out() -> Result<()> {
    let finished = RefCell::new(Vec::new());
    let jobs = task_group(async |group| {
        for (name, time) in [("quick", MS), ("fair", 2 * MS), ("slow", 60_000 * MS)] {
            let finished = &finished;
            group.spawn(async move {
                sleep(time).await?;
                finished.borrow_mut().push(name);
                Ok(())
            });
        }
    });
    match move_on_after(100 * MS, jobs).await? {
        Some(()) => println!("all are done"),
        None => println!("done within 100 ms: {}", finished.borrow().join(", ")),
    }
    Ok(())
}

/// `TimedOut` is an error like others: it passes through `?` and through code that cleans up. The
/// clean-up is in a shield with a limit of its own; without the shield its send would return
/// `Cancelled` immediately.
async fn late_says_goodbye() -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    let server = listener.accept().await?;

    let talk = async {
        let answer = client.receive().await;
        if answer.is_err() {
            shield(1000 * MS, client.send(b"sorry, no time left")).await?;
        }
        answer
    };
    match fail_after(20 * MS, talk).await {
        Err(Error::TimedOut(_)) => println!("no answer, so goodbye"),
        other => println!("unexpected: {other:?}"),
    }
    let heard = server.receive().await?;
    println!("the server heard: {}", String::from_utf8_lossy(&heard));
    Ok(())
}
