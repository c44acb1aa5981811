//~ a task ends with `()` or `Result<_, soloio::Error>`, not `usize`
//~ a plain value: end with `Ok(value)`
use soloio::{Result, block_on, task_group};

fn main() -> Result<()> {
    block_on(async {
        task_group(async |group| {
            group.spawn(async { 5_usize });
            Ok(())
        })
        .await
    })
}
