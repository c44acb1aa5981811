//! `{:?}` of the crate's types: it shows numbers and names, never content or a secret.

use std::fmt::{self, Debug};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use soloio::net::SystemResolver;
use soloio::{
    AnyByteStream, CancelScope, Error, Host, Lock, MultiListener, connect_tcp,
    create_memory_byte_stream, create_unix_listener, per_core, run_in_thread, task_group,
};

use crate::net_support::{TempDir, refused, run, tcp_listener};

/// Expects all of these parts in the text.
fn says(shown: impl Debug, parts: &[&str]) {
    let text = format!("{shown:?}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_scope_says_whether_and_why_it_was_cancelled() {
    let scope = CancelScope::new();
    says(
        &scope,
        &[
            "cancel_called: false",
            "cancelled_caught: false",
            "reason: None",
        ],
    );
    scope.cancel("no longer wanted");
    says(
        &scope,
        &["CancelScope", "cancel_called: true", "no longer wanted"],
    );
}

#[test]
fn a_group_and_its_handles_say_how_far_they_are() {
    run(async {
        let ended = task_group(async |group| {
            let handle = group.spawn(async { Ok(7) });
            says(&handle, &["TaskHandle", "finished: false"]);
            says(group, &["TaskGroup", "tasks: 1", "closed: false"]);
            while !handle.is_finished() {
                soloio::yield_now().await?;
            }
            says(&handle, &["finished: true"]);
            says(group, &["tasks: 0"]);
            let begun = group.start(async |ready| {
                says(&ready, &["Ready"]);
                ready.ready(5);
                Ok(())
            });
            assert_eq!(begun.await?, 5);
            handle.await
        });
        assert_eq!(ended.await.expect("no error"), 7);
    });
}

#[test]
fn a_failed_task_reads_like_its_message() {
    run(async {
        let ended: Result<(), Error> = task_group(async |group| {
            let child = async { Err::<(), _>(Error::other("of the child")) };
            let handle = group.spawn(child).named("the child");
            let Err(Error::TaskFailed(failed)) = handle.await else {
                panic!("it has no value");
            };
            says(&failed, &["the task \"the child\" spawned at", "shown.rs"]);
            assert_eq!(format!("{failed:?}"), failed.to_string());
            Ok(())
        })
        .await;
        let text = ended.expect_err("the child's error").to_string();
        assert!(text.contains("of the child"), "{text}");
    });
}

#[test]
fn a_lock_shows_its_value_unless_it_is_held() {
    let mut lock = Lock::<u32>::default();
    assert_eq!(*lock.get_mut(), 0);
    *lock.get_mut() += 41;
    says(&lock, &["Lock", "value: 41", "tasks_waiting: 0"]);
    let guard = lock.acquire_nowait().expect("free");
    says(&guard, &["LockGuard(41)"]);
    says(&lock, &["value: <locked>"]);
    drop(guard);
    assert_eq!(lock.into_inner(), 41);
}

#[test]
fn the_loops_say_which_they_are() {
    let ended = per_core(2, async |core| -> Result<(), Error> {
        let stop = core.stop_handle();
        let index = format!("index: {}", core.index());
        says(core, &["Core", &index, "count: 2"]);
        stop.stop();
        says(&stop, &["StopHandle", "stopped: true"]);
        says(core, &["stopped: true"]);
        core.stopped().await
    });
    assert_eq!(ended.expect("both ended").len(), 2);
}

#[test]
fn a_job_says_its_patience_and_not_what_it_holds() {
    let secret = String::from("s3cret/p4ss+w0rd");
    let job = run_in_thread(move || Ok::<_, Error>(secret.len()));
    let job = job.abandon_after(Duration::from_secs(3));
    says(&job, &["RunInThread", "abandon_after: 3s"]);
    assert!(!format!("{job:?}").contains("s3cret"), "{job:?}");
}

#[test]
fn hosts_and_what_connects_to_them() {
    says(
        Host::from("example.org"),
        &["Host(", "Name(\"example.org\")"],
    );
    says(
        Host::from(Ipv6Addr::LOCALHOST),
        &["Host(", "Address(::1, 0)"],
    );
    // An IPv4-mapped IPv6 address is shown as the IPv4 address.
    let mapped: Ipv6Addr = "::ffff:127.0.0.1".parse().expect("a literal");
    assert_eq!(
        Host::from(mapped),
        Host::from("127.0.0.1".parse::<IpAddr>().expect("one"))
    );
    // Two hosts are equal only with the very same resolver.
    let name = || Host::from("example.org");
    let (one, other) = (Arc::new(SystemResolver), Arc::new(SystemResolver));
    let first = name().resolved_by(one.clone());
    assert_eq!(first, name().resolved_by(one));
    assert_ne!(first, name().resolved_by(other));
    assert_ne!(first, name());
    let plain = connect_tcp("example.org", 80);
    says(&plain, &["example.org", "80", "Prepare(false)"]);
    says(plain.prepare(|_| Ok(())), &["Prepare(true)"]);
}

#[test]
fn listeners_and_streams_of_whatever_kind() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let unix = create_unix_listener(&path).await.expect("listens");
        let name = format!("UnixName({})", path.display());
        says(&unix, &["UnixListener", &name]);
        let all = MultiListener::new();
        assert!(all.is_empty());
        says(&all, &["MultiListener", "listeners: 0"]);
        let all = all.with(unix).with(tcp_listener().await);
        assert!(!all.is_empty());
        says(&all, &["listeners: 2"]);
        let serve = all.serve(async |_| Ok(())).max_connections(7);
        says(
            serve,
            &["Serve", "max_connections: 7", "drain: ", "counters: "],
        );
        let (ours, _theirs) = create_memory_byte_stream(10);
        says(AnyByteStream::new(ours), &["AnyByteStream"]);
    });
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls {
    use soloio::tls::rustls::ServerConfig;
    use soloio::tls::{TlsListener, TlsStream, client_config, server_config};

    use super::*;
    use crate::certs::Ca;
    use crate::tls_support;

    #[test]
    fn configurations_show_no_key() {
        let issued = Ca::new("a CA").server(&["localhost"]);
        let builder = server_config().certificate(issued.chain.clone(), issued.key());
        says(&builder, &["ServerConfigBuilder"]);
        let key = format!("{:?}", issued.key_pem.as_bytes());
        let middle = &key[key.len() / 2..][..40];
        for text in [
            format!("{builder:?}"),
            format!("{:?}", builder.build().expect("a key and its certificate")),
        ] {
            assert!(!text.contains(middle), "{text}");
        }
        says(client_config(), &["ClientConfigBuilder"]);
    }

    #[test]
    fn certificates_that_are_read_again_say_how_often() {
        let dir = TempDir::new();
        let (chain, key) = Ca::new("a CA")
            .server(&["localhost"])
            .write(dir.all(), "one");
        let config: Arc<ServerConfig> = server_config()
            .certificate_files(chain, key)
            .reload_files(Duration::from_secs(77), |_| {})
            .build()
            .expect("good files");
        says(&config.cert_resolver, &["Reloading", "every: 77s"]);
    }

    #[test]
    fn a_listener_and_a_handshake_say_what_they_bear() {
        run(async {
            let config = tls_support::server_config();
            let listener = TlsListener::new(tcp_listener().await, Arc::clone(&config))
                .standard_compatible(false)
                .handshake_timeout(Duration::from_secs(9));
            let parts = ["TlsListener", "TcpListener", "standard_compatible: false"];
            says(&listener, &parts);
            says(&listener, &["handshake_timeout: 9s"]);
            let (ours, theirs) = create_memory_byte_stream(100);
            let handshake = TlsStream::server(ours, config);
            says(&handshake, &["TlsHandshake", "standard_compatible: true"]);
            let config = tls_support::client_config();
            let handshake = TlsStream::client(theirs, "localhost", config);
            says(
                handshake.standard_compatible(false),
                &["standard_compatible: false"],
            );
        });
    }
}

/// Uses the lock that it is in when it is shown.
struct Nosy(Weak<Lock<Self>>);

impl Debug for Nosy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.0.upgrade().expect("it is in the lock");
        refused!(lock.acquire_nowait(), Error::WouldBlock);
        write!(f, "{}", lock.is_locked())
    }
}

#[test]
fn a_value_that_is_shown_may_use_its_lock() {
    let lock = Rc::new_cyclic(|lock| Lock::new(Nosy(Weak::clone(lock))));
    assert_eq!(
        format!("{lock:?}"),
        "Lock { value: true, tasks_waiting: 0 }"
    );
    let guard = lock.acquire_nowait().expect("it is free again");
    assert_eq!(
        format!("{lock:?}"),
        "Lock { value: <locked>, tasks_waiting: 0 }"
    );
    drop(guard);
}
