//! A few workers fed by a queue: they borrow the queue, the results and a rate limiter.
//!
//! ```text
//! cargo run --example worker
//! ```

use std::cell::RefCell;
use std::time::Duration;

use soloio::{
    ObjectReceiver, RateLimiter, Result, block_on, create_memory_object_stream, sleep, task_group,
};

const WORKERS: usize = 3;
const JOBS: u64 = 12;

fn main() -> Result<()> {
    block_on(async {
        // At most four jobs wait in the queue; a further `send` waits for room.
        let (jobs, queue) = create_memory_object_stream(4);
        // A thousand jobs a second, in bursts of at most two.
        let pace = RateLimiter::new(1000, Duration::from_secs(1)).burst(2);
        let done = RefCell::new(Vec::new()); // all workers borrow it

        task_group(async |group| {
            for _ in 0..WORKERS {
                group.spawn(work(&queue, &pace, &done));
            }
            for number in 1..=JOBS {
                jobs.send(number).await?;
            }
            // The workers finish the rest, and then get the end.
            jobs.close();
            Ok(())
        })
        .await?;

        let mut done = done.into_inner();
        done.sort_unstable();
        for (number, square) in done {
            println!("{number} squared is {square}");
        }
        Ok(())
    })
}

/// Takes jobs until the end of the queue.
async fn work(
    queue: &ObjectReceiver<u64>,
    pace: &RateLimiter,
    done: &RefCell<Vec<(u64, u64)>>,
) -> Result<()> {
    while let Some(number) = queue.next().await? {
        pace.acquire().await?;
        sleep(Duration::from_millis(2)).await?;
        done.borrow_mut().push((number, number * number));
    }
    Ok(())
}
