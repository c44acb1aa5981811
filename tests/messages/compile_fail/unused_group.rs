//~ unless
#![deny(unused_must_use)]
use soloio::{Error, block_on, task_group};

fn main() {
    block_on(async {
        task_group(async |group| {
            group.spawn(async { Ok::<_, Error>(()) });
            Ok::<_, Error>(())
        });
    });
}
