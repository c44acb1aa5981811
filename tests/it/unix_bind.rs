//! Binding a UNIX path: several starters at once, live owners, stale files, files of other kinds;
//! permissions from the first moment on; files that are removed with their socket.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixListener as StdListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use soloio::{
    Error, Result, UnixDatagramSocket, UnixListener, block_on, connect_unix,
    create_connected_unix_datagram_socket, create_unix_datagram_socket, create_unix_listener,
    fail_after,
};
use std::time::Duration;

use crate::net_support::{TempDir, run, until_stale};
use crate::support::{alone, deadline, rounds};

fn in_use<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// Leaves a socket file without an owner, as a killed server does.
fn stale(path: &Path) {
    drop(StdListener::bind(path).expect("the path is free"));
    until_stale(path);
}

#[test]
fn of_many_starters_on_one_stale_path_one_wins() {
    // U2: each took the other's file, bound but not listening yet, for stale. Runs alone: a process
    // that another test starts would hold the winner's descriptor for a moment.
    alone(
        "unix_bind::of_many_starters_on_one_stale_path_one_wins",
        starters_race,
    );
}

fn starters_race() {
    const STARTERS: usize = 4;
    let _guard = deadline();
    let dir = TempDir::new();
    let (path, rounds) = (dir.path("socket"), rounds(10_000));
    let barrier = Barrier::new(STARTERS + 1);
    thread::scope(|scope| {
        let starters: Vec<_> = (0..STARTERS)
            .map(|_| {
                scope.spawn(|| {
                    // No panic in here: the other threads would wait for ever.
                    let (mut wins, mut unheard) = (0, Vec::new());
                    for round in 0..rounds {
                        barrier.wait();
                        let listener = block_on(create_unix_listener(&path));
                        barrier.wait();
                        // All have tried: the one that has won answers.
                        match listener {
                            Ok(listener) if answers(&listener, &path) => wins += 1,
                            Ok(_) => unheard.push(format!("{round}: has lost its path")),
                            Err(Error::Io(lost)) if lost.kind() == ErrorKind::AddrInUse => {}
                            Err(error) => unheard.push(format!("{round}: {error}")),
                        }
                        barrier.wait();
                    }
                    (wins, unheard)
                })
            })
            .collect();
        for _ in 0..rounds {
            if !path.exists() {
                stale(&path);
            }
            for _ in 0..3 {
                barrier.wait();
            }
        }
        let mut wins = 0;
        for starter in starters {
            let (won, unheard) = starter.join().expect("no panic");
            assert!(unheard.is_empty(), "{unheard:?}");
            wins += won;
        }
        assert_eq!(wins, rounds);
    });
}

/// True if a client of the path reaches this listener, not another one that has the path now.
fn answers(listener: &UnixListener, path: &Path) -> bool {
    block_on(async {
        let talk = async {
            let client = connect_unix(path).await?;
            client.send(b"x").await?;
            // Probes of the losers are in the queue too, and have ended.
            while listener.accept().await?.next().await?.is_none() {}
            Ok::<_, Error>(())
        };
        fail_after(Duration::from_secs(2), talk).await.is_ok()
    })
}

/// Marks a process as a starter; the value is the path.
const STARTER: &str = "SOLOIO_TEST_STARTER";

/// Not a test: the child that `of_many_processes_one_wins` starts.
#[test]
fn starter_process() {
    let Some(path) = std::env::var_os(STARTER) else {
        return;
    };
    let listener = block_on(create_unix_listener(&path));
    println!("{}", if listener.is_ok() { "won" } else { "lost" });
    // Holds the listener until the parent has read the results of all.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe");
}

#[test]
fn of_many_processes_one_wins() {
    use std::io::{BufRead, BufReader};
    const STARTERS: usize = 6;
    let _guard = deadline();
    let dir = TempDir::new();
    for round in 0..rounds(40) {
        let path = dir.path(&format!("socket-{round}"));
        stale(&path);
        let children: Vec<_> = (0..STARTERS)
            .map(|_| {
                Command::new(std::env::current_exe().expect("the path of this test"))
                    .args(["--exact", "unix_bind::starter_process", "--nocapture"])
                    .env(STARTER, &path)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("a child")
            })
            .collect();
        let mut children = children;
        let (mut won, mut outputs) = (0, Vec::new());
        for child in &mut children {
            let mut output = BufReader::new(child.stdout.take().expect("piped"));
            let mut line = String::new();
            while !line.ends_with("won\n") && !line.ends_with("lost\n") {
                line.clear();
                let read = output.read_line(&mut line).expect("text");
                assert_ne!(read, 0, "it says how it went");
            }
            won += usize::from(line.ends_with("won\n"));
            outputs.push(output);
        }
        assert_eq!(won, 1, "round {round}");
        for mut child in children {
            drop(child.stdin.take());
            child.wait().expect("it ends");
        }
    }
}

#[test]
fn a_lock_that_another_program_holds_is_waited_for() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let folder = fs::File::open(dir.all()).expect("a folder");
        crate::kernel::lock(&folder);
        let limited = fail_after(Duration::from_millis(30), create_unix_listener(&path)).await;
        assert!(matches!(limited, Err(Error::TimedOut(_))), "{limited:?}");
        assert!(!path.exists(), "nothing has been done");
        drop(folder);
        create_unix_listener(&path).await.expect("free now");
    });
}

#[test]
fn a_live_datagram_socket_and_files_of_other_kinds_are_left_alone() {
    run(async {
        let dir = TempDir::new();
        let live = dir.path("live");
        let owner = StdDatagram::bind(&live).expect("binds");
        let (file, folder, link) = (dir.path("file"), dir.path("folder"), dir.path("link"));
        fs::write(&file, b"precious").expect("a file");
        fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink("nowhere", &link).expect("a link");
        for path in [&live, &file, &folder, &link] {
            let before = fs::symlink_metadata(path).expect("it is there").ino();
            in_use(create_unix_listener(path).await);
            in_use(create_unix_datagram_socket().local_path(path).await);
            let connected = create_connected_unix_datagram_socket(&live).local_path(path);
            in_use(connected.await);
            assert_eq!(fs::symlink_metadata(path).expect("still").ino(), before);
        }
        assert_eq!(fs::read(&file).expect("still there"), b"precious");
        drop(owner);
        until_stale(&live);
        let socket = create_unix_datagram_socket().local_path(&live).await;
        socket.expect("stale now");
    });
}

#[test]
fn a_folder_that_is_none_is_an_error_at_once() {
    run(async {
        let dir = TempDir::new();
        let (pipe, file) = (dir.path("pipe"), dir.path("file"));
        crate::kernel::named_pipe(&pipe);
        fs::write(&file, b"").expect("a file");
        for no_folder in [pipe, file, dir.path("nowhere")] {
            let listener = create_unix_listener(no_folder.join("socket")).await;
            assert!(matches!(listener, Err(Error::Io(_))), "{listener:?}");
        }
    });
}

#[test]
fn a_stale_file_of_the_other_kind_is_replaced() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        stale(&path);
        let datagram = create_unix_datagram_socket().local_path(&path).await;
        drop(datagram.expect("nobody listens there"));
        until_stale(&path);
        create_unix_listener(&path)
            .await
            .expect("nobody receives there");
    });
}

#[test]
fn nobody_ever_sees_a_wider_mode() {
    // U3: the file was made with the umask's mode and changed later.
    let _guard = deadline();
    let dir = TempDir::new();
    let (path, done) = (dir.path("socket"), AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0_u32;
            while !done.load(Ordering::Relaxed) {
                if let Ok(file) = fs::symlink_metadata(&path) {
                    let bits = file.permissions().mode() & 0o777;
                    assert_eq!(bits & !0o600, 0, "{bits:o}");
                    looks += 1;
                }
            }
            looks
        });
        for _ in 0..rounds(2_000) {
            block_on(async {
                let listener = create_unix_listener(&path)
                    .mode(0o600)
                    .unlink_on_close(true);
                drop(listener.await.expect("listens"));
                let socket = create_unix_datagram_socket()
                    .local_path(&path)
                    .local_mode(0o600);
                drop(socket.unlink_on_close(true).await.expect("bound"));
            });
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("no wider mode");
    });
}

#[test]
fn a_wider_mode_than_the_umask_allows_is_set() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let socket = create_unix_datagram_socket()
            .local_path(&path)
            .local_mode(0o666)
            .await;
        let _socket: UnixDatagramSocket = socket.expect("bound");
        let file = fs::metadata(&path).expect("it is there");
        assert_eq!(file.permissions().mode() & 0o777, 0o666);
    });
}

#[test]
fn the_file_goes_with_its_socket_and_no_other_does() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listen = || create_unix_listener(&path).unlink_on_close(true);
        let datagram = || create_unix_datagram_socket().local_path(&path);
        drop(listen().await.expect("listens"));
        assert!(!path.exists(), "dropped");
        let listener = listen().await.expect("listens");
        listener.abort();
        assert!(!path.exists(), "aborted");
        let socket = datagram().unlink_on_close(true).await.expect("bound");
        socket.abort();
        assert!(!path.exists(), "aborted");
        drop(datagram().unlink_on_close(true).await.expect("bound"));
        assert!(!path.exists(), "dropped");

        // Another file has taken the place.
        let second = listen().await.expect("listens");
        fs::remove_file(&path).expect("the administrator may");
        let third = create_unix_listener(&path).await.expect("listens");
        drop((listener, second));
        assert!(path.exists(), "not ours any more");
        drop(third);
        assert!(path.exists(), "it was not asked to");
    });
}

#[test]
fn a_connected_datagram_socket_that_fails_leaves_no_file() {
    run(async {
        let dir = TempDir::new();
        let (own, peer) = (dir.path("own"), dir.path("peer"));
        for unlink in [false, true] {
            let socket = create_connected_unix_datagram_socket(&peer)
                .local_path(&own)
                .unlink_on_close(unlink)
                .await;
            match socket {
                Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::NotFound),
                other => panic!("{other:?}"),
            }
            assert!(!own.exists());
        }
    });
}

/// Not a test: the child of the next test, another user without rights of its own.
#[test]
fn unprivileged_process() {
    let Some(dir) = std::env::var_os("SOLOIO_TEST_FOLDER") else {
        return;
    };
    let path = Path::new(&dir).join("socket");
    block_on(async {
        drop(create_unix_listener(&path).await.expect("free"));
        in_use(create_unix_listener(&path).await);
        fs::remove_file(&path).expect("may be written");
    });
}

#[test]
fn a_folder_that_cannot_be_read_takes_free_names_and_keeps_stale_ones() {
    use std::os::unix::process::CommandExt;
    let dir = TempDir::new();
    let mode = |bits| fs::set_permissions(dir.all(), fs::Permissions::from_mode(bits));
    mode(0o333).expect("ours");
    let mut child = Command::new(std::env::current_exe().expect("the path of this test"));
    child
        .args(["--exact", "unix_bind::unprivileged_process", "--nocapture"])
        .env("SOLOIO_TEST_FOLDER", dir.all());
    if fs::read_dir(dir.all()).is_ok() {
        // The superuser may read everything, so its child runs as the user `nobody`.
        let copy = std::env::temp_dir().join(format!("soloio-nobody-{}", std::process::id()));
        let copied = fs::copy(std::env::current_exe().expect("this test"), &copy);
        copied.expect("room for a copy that everybody may run");
        child = Command::new(&copy);
        child
            .args(["--exact", "unix_bind::unprivileged_process", "--nocapture"])
            .env("SOLOIO_TEST_FOLDER", dir.all())
            .uid(65_534)
            .gid(65_534);
        let mut output = child.output();
        // A child of another test has the descriptor of the copy until it runs its own program.
        while matches!(&output, Err(busy) if busy.kind() == ErrorKind::ExecutableFileBusy) {
            thread::yield_now();
            output = child.output();
        }
        fs::remove_file(&copy).expect("ours");
        checked(&output.expect("a child"));
    } else {
        checked(&child.output().expect("a child"));
    }
    mode(0o700).expect("ours");
}

fn checked(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
