//! 1 task group with a body and a child of its own: the difference to `three_groups` is the size of
//! two more.

use std::time::Duration;

use soloio::{Result, block_on, sleep, task_group};

async fn pair_0(port: u16) -> Result<()> {
    task_group(async |group| {
        group.spawn(async { sleep(Duration::from_millis(u64::from(port) + 0)).await });
        sleep(Duration::from_millis(0)).await
    })
    .await
}

fn main() -> Result<()> {
    let port = std::env::args().count() as u16;
    block_on(async {
        pair_0(port).await?;
        Ok(())
    })
}
