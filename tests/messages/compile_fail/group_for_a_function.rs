//~ the struct `TaskGroup<'s, 'env, E>` is invariant
use soloio::{Result, TaskGroup, block_on, task_group};

fn start(group: &TaskGroup) {
    group.spawn(async { Ok(()) });
}

fn main() -> Result<()> {
    block_on(task_group(async |group| {
        start(group);
        Ok(())
    }))
}
