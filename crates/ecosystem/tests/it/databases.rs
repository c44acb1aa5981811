//! Clients of databases, against the real servers where they are installed.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use futures_util::{TryStreamExt, future};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, AsyncTypedCommands, RedisConnectionInfo};
use soloio::{Error, connect_unix, fail_after, task_group_with};
use soloio_tokio_io::TokioIo;

use crate::cannot::panic_of;
use crate::support::{Outcome, run};

/// A server with a folder of its own; both are gone when it is dropped.
struct Database {
    child: Child,
    folder: PathBuf,
}

impl Drop for Database {
    fn drop(&mut self) {
        // SIGTERM, so that what it has started ends too.
        let id = self.child.id().to_string();
        let told = Command::new("kill").arg(id).status();
        if !told.is_ok_and(|status| status.success()) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A new folder below `/tmp`: the path of a socket must be short.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(format!("/tmp/soloio-{name}-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    folder
}

/// Reads what a server says until it is ready, and the rest too, so that it can go on.
fn wait_until_ready(said: impl Read + Send + 'static) {
    let mut said = BufReader::new(said);
    let mut all = String::new();
    while !all.contains("eady to accept connections") {
        let count = said.read_line(&mut all).expect("text");
        assert_ne!(count, 0, "the server has ended: {all}");
    }
    thread::spawn(move || io::copy(&mut said, &mut io::sink()));
}

/// The path of a program of PostgreSQL, which is not in `PATH` where Debian installs it.
fn of_postgres(name: &str) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    paths.extend(versions.map(|version| version.path().join("bin")));
    paths
        .into_iter()
        .map(|path| path.join(name))
        .find(|path| path.exists())
}

/// A command under an account that PostgreSQL accepts: it refuses to run as root.
fn unprivileged(program: &Path, is_root: bool) -> Command {
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(program);
    command
}

fn postgres() -> Option<Database> {
    let (init, server) = (of_postgres("initdb")?, of_postgres("postgres")?);
    let folder = folder("postgres");
    let id = Command::new("id").arg("-u").output().expect("id").stdout;
    let is_root = id.trim_ascii() == b"0";
    if is_root {
        let chown = Command::new("chown")
            .arg("65534:65534")
            .arg(&folder)
            .status();
        assert!(chown.expect("chown").success());
    }
    let data = folder.join("data");
    let output = unprivileged(&init, is_root)
        .args([
            "--username=solo",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "--pgdata",
        ])
        .arg(&data)
        .current_dir(&folder)
        .output()
        .expect("initdb");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb: {error}");
    let sockets = format!("unix_socket_directories={}", folder.display());
    let mut child = unprivileged(&server, is_root)
        .args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            &sockets,
            "-D",
        ])
        .arg(&data)
        .current_dir(&folder)
        .stderr(Stdio::piped())
        .spawn()
        .expect("postgres");
    let said = child.stderr.take().expect("piped");
    let database = Database { child, folder };
    wait_until_ready(said);
    Some(database)
}

/// Pipelined queries, many rows, a query that is cut by a limit, and psql beside it.
#[test]
fn tokio_postgres() {
    let Some(database) = postgres() else {
        eprintln!("there is no PostgreSQL: not tested against it");
        return;
    };
    run(async {
        let stream = connect_unix(database.folder.join(".s.PGSQL.5432")).await?;
        let mut config = tokio_postgres::Config::new();
        config.user("solo").dbname("postgres");
        let tls = tokio_postgres::NoTls;
        let (client, connection) = config.connect_raw(TokioIo::new(stream), tls).await?;
        task_group_with(async |group| -> Outcome {
            group.spawn(async { Ok(connection.await?) });
            client
                .batch_execute("create table made (number int)")
                .await?;
            let insert = client.prepare("insert into made values ($1)").await?;
            let inserted = (0..100).map(|number: i32| {
                let (client, insert) = (&client, &insert);
                async move { client.execute(insert, &[&number]).await }
            });
            assert_eq!(future::try_join_all(inserted).await?, [1; 100]);
            let many = "select generate_series(1, 20000)";
            let rows = client.query_raw(many, Vec::<i32>::new()).await?;
            let sum = rows.try_fold(0, |sum, row| {
                future::ready(Ok(sum + i64::from(row.get::<_, i32>(0))))
            });
            assert_eq!(sum.await?, 200_010_000);
            let slow = async { Outcome::Ok(client.execute("select pg_sleep(0.2)", &[]).await?) };
            let cut = fail_after(Duration::from_millis(1), slow).await;
            let cut = cut.expect_err("it takes longer");
            assert!(
                matches!(cut.downcast_ref(), Some(Error::TimedOut(_))),
                "{cut}"
            );
            let row = client.query_one("select count(*) from made", &[]).await?;
            assert_eq!(row.get::<_, i64>(0), 100);
            drop(client);
            Ok(())
        })
        .await
    });
    let psql = of_postgres("psql").map(|psql| {
        let host = database.folder.as_os_str();
        let select = [
            "-U",
            "solo",
            "-d",
            "postgres",
            "-At",
            "-c",
            "select sum(number) from made",
        ];
        Command::new(psql)
            .arg("-h")
            .arg(host)
            .args(select)
            .output()
            .expect("psql")
            .stdout
    });
    assert!(psql.is_none_or(|sum| sum.trim_ascii() == b"4950"));
}

fn redis_server() -> Option<Database> {
    let folder = folder("redis");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(folder.join("socket"))
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        fs::remove_dir(&folder).expect("it is empty");
        return None;
    };
    let said = child.stdout.take().expect("piped");
    let database = Database { child, folder };
    wait_until_ready(said);
    Some(database)
}

/// Commands at once, a pipeline, a large value; with its limits of time off, which are tokio's.
#[test]
fn redis() {
    let Some(database) = redis_server() else {
        eprintln!("there is no redis-server: not tested against it");
        return;
    };
    let socket = database.folder.join("socket");
    run(async {
        let stream = TokioIo::new(connect_unix(&socket).await?);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let info = RedisConnectionInfo::default();
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let (connection, driver) = made;
        task_group_with(async |group| -> Outcome {
            let driver = group.spawn(async {
                driver.await;
                Ok(())
            });
            let increments = (0..100).map(|_| {
                let mut connection = connection.clone();
                async move { connection.incr("counter", 1).await }
            });
            let mut counted = future::try_join_all(increments).await?;
            counted.sort_unstable();
            assert!(counted.into_iter().eq(1..=100));
            let mut connection = connection;
            let large = "x".repeat(1_000_000);
            let mut pipe = redis::pipe();
            pipe.set("large", &large)
                .ignore()
                .get("large")
                .strlen("large");
            let (got, length): (String, usize) = pipe.query_async(&mut connection).await?;
            assert!(got == large && length == large.len());
            driver.cancel();
            Ok(())
        })
        .await
    });
    // With them on it panics: nothing here drives a timer of tokio's.
    let panic = panic_of(async {
        let stream = connect_unix(&socket).await.expect("it listens");
        let info = RedisConnectionInfo::default();
        let made = MultiplexedConnection::new(&info, TokioIo::new(stream)).await;
        let (mut connection, driver) = made.expect("it answers");
        let get = pin!(connection.get("counter"));
        future::select(get, pin!(driver)).await;
    });
    assert!(panic.contains("no reactor running"), "{panic}");
}
