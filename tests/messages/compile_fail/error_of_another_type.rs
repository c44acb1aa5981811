//~ a task ends with `()` or `Result<_, soloio::Error>`, not `Result<_, &str>`
//~ another error type: `serve_with`, `task_group_with`, `per_core_with`
use soloio::{Result, block_on, create_tcp_listener};

fn main() -> Result<()> {
    block_on(async {
        let listener = create_tcp_listener().await?;
        listener.serve(async |_| Err("no")).await
    })
}
