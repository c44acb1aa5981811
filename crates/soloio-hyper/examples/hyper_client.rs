//! Fetches what it is told to, all at once, by one pooled client: `hyper_client URI ...`.
//!
//! `http` and `https`; HTTP/2 where TLS agrees on it. Each fetch has 10 s.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use soloio::{block_on, fail_after, task_group_with};
use soloio_hyper::{Connector, Spawner, client_builder};

const LIMIT: Duration = Duration::from_secs(10);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parsed = std::env::args().skip(1).map(|uri| uri.parse());
    let uris: Vec<Uri> = parsed.collect::<Result<_, _>>()?;
    block_on(task_group_with(async |group| {
        let spawner = Spawner::new();
        let run = spawner.clone().run();
        let running = group.spawn(async move { Ok(run.await?) });
        let client = client_builder(&spawner).build::<_, Empty<Bytes>>(Connector::new(&spawner));
        let fetch = async |uri: Uri| -> Result<(), AnyError> {
            let answer = client.get(uri.clone()).await?;
            let (status, version) = (answer.status(), answer.version());
            let body = answer.into_body().collect().await?;
            println!(
                "{uri}: {status} by {version:?}, {} bytes",
                body.to_bytes().len()
            );
            Ok(())
        };
        task_group_with(async |group| {
            for uri in uris {
                group.spawn(fail_after(LIMIT, fetch(uri)));
            }
            Ok(())
        })
        .await?;
        running.cancel();
        Ok(())
    }))
}
