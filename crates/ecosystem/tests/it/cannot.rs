//! What `docs/ecosystem.md` says cannot work: it compiles, and panics when it runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use soloio::block_on;

/// The text of the panic that a future ends with.
pub(crate) fn panic_of(test: impl Future) -> String {
    let panic: Box<dyn Any + Send> = catch_unwind(AssertUnwindSafe(|| {
        block_on(async {
            test.await;
        });
    }))
    .expect_err("it needs tokio's runtime");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn tokio_time() {
    let panic = panic_of(async { tokio::time::sleep(Duration::ZERO).await });
    assert!(panic.contains("no reactor running"), "{panic}");
    let limit = async {
        drop(tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await);
    };
    let panic = panic_of(limit);
    assert!(panic.contains("no reactor running"), "{panic}");
}

#[test]
fn tokio_spawn() {
    let panic = panic_of(async { drop(tokio::spawn(async {}).await) });
    assert!(panic.contains("no reactor running"), "{panic}");
}

#[test]
fn tokio_net() {
    let panic = panic_of(async { drop(tokio::net::TcpListener::bind("127.0.0.1:0").await) });
    assert!(panic.contains("no reactor running"), "{panic}");
}
