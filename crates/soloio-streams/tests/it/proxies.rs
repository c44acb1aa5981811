//! The examples `http_connect` and `socks5` against small proxies: in this loop, and as programs.

use std::process::{Command, Output};

use soloio::{
    Buffered, ByteStream, Error, Result, TcpStream, connect_tcp, join, relay, run_in_thread,
};
use soloio_streams::TcpConnectable;

use crate::connect::{answer, listener, speak};
use crate::support::run;

#[allow(dead_code, reason = "its `main` is for the program")]
#[path = "../../examples/http_connect.rs"]
mod http_connect;
#[allow(dead_code, reason = "its `main` is for the program")]
#[path = "../../examples/socks5.rs"]
mod socks5;

use http_connect::ThroughHttp;
use socks5::ThroughSocks5;

/// Joins a client to its target; the answer to the client comes together with the first bytes.
async fn pass_on(client: impl ByteStream, target: (&str, u16)) -> Result<()> {
    relay(client, connect_tcp(target.0, target.1).await?).await?;
    Ok(())
}

async fn http_proxy(client: TcpStream) -> Result<()> {
    let client = Buffered::new(client);
    let head = client.receive_until(b"\r\n\r\n", 1_000).await?;
    let head = String::from_utf8(head).expect("text");
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let (host, port) = target
        .and_then(|target| target.rsplit_once(':'))
        .expect("host:port");
    if host == "forbidden" {
        client.send(b"HTTP/1.1 403 Forbidden\r\n\r\n").await?;
        return client.close().await;
    }
    client
        .send(b"HTTP/1.1 200 Connected\r\nVia: test\r\n\r\n")
        .await?;
    pass_on(client, (host, port.parse().expect("a port"))).await
}

async fn socks_proxy(client: TcpStream) -> Result<()> {
    let client = Buffered::new(client);
    let [5, count] = client.receive_array().await? else {
        panic!("version 5");
    };
    let methods = client.receive_exactly(usize::from(count)).await?;
    if methods.contains(&2) {
        client.send(&[5, 2]).await?;
        let login = client.receive_exactly(1 + 5 + 7).await?;
        let is_right = login == b"\x01\x04name\x06secret"[..];
        client.send(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return client.close().await;
        }
    } else {
        client.send(&[5, 0]).await?;
    }
    let [5, 1, 0, kind] = client.receive_array().await? else {
        panic!("a connect");
    };
    let host = match kind {
        1 => client
            .receive_array::<4>()
            .await?
            .map(|byte| byte.to_string())
            .join("."),
        _ => {
            let [length] = client.receive_array().await?;
            let name = client.receive_exactly(usize::from(length)).await?;
            String::from_utf8(name).expect("text")
        }
    };
    let port = u16::from_be_bytes(client.receive_array().await?);
    if host == "forbidden" {
        // The client does not receive the address: a close would tell of that.
        return client.send(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    }
    client.send(b"\x05\x00\x00\x03\x05proxy\x00\x50").await?;
    pass_on(client, (&host, port)).await
}

#[test]
fn http_connect_reaches_its_target_and_tells_a_refusal() {
    run(async || {
        let (proxy, server) = (listener().await?, listener().await?);
        let place = || TcpConnectable::from(connect_tcp("127.0.0.1", proxy.local_addr().port()));
        let target = ThroughHttp::new(place(), server.local_addr().to_string());
        let serve = async { answer(server.accept().await?).await };
        let between = async { http_proxy(proxy.accept().await?).await };
        let (spoke, served, passed) = join((speak(&target), serve, between)).await;
        served.and(passed)?;
        assert_eq!(spoke?, b"word!");

        let target = ThroughHttp::new(place(), "forbidden:1");
        let between = async { http_proxy(proxy.accept().await?).await };
        let (spoke, passed) = join((speak(&target), between)).await;
        passed?;
        let text = "the proxy does not connect to forbidden:1: status 403";
        assert_eq!(spoke.expect_err("refused").to_string(), text);

        let error = speak(&ThroughHttp::new(place(), "a b\r\nX:1")).await;
        assert_eq!(error.expect_err("bad").to_string(), "a target is host:port");
        let mute = async { proxy.accept().await?.send(b"SSH-2.0\r\n\r\n").await };
        let (spoke, passed) = join((speak(&ThroughHttp::new(place(), "a:1")), mute)).await;
        passed?;
        let text = "the proxy does not speak HTTP/1";
        assert_eq!(spoke.expect_err("no HTTP").to_string(), text);
        Ok(())
    });
}

#[test]
fn socks5_reaches_its_target_and_tells_a_refusal() {
    run(async || {
        let (proxy, server) = (listener().await?, listener().await?);
        let to = |host: &str| {
            let place = TcpConnectable::new("127.0.0.1", proxy.local_addr().port());
            ThroughSocks5::new(place, host, server.local_addr().port())
        };
        let between = async || socks_proxy(proxy.accept().await?).await;
        for target in [
            to("127.0.0.1"),
            to("localhost"),
            to("127.0.0.1").login("name", "secret"),
        ] {
            let serve = async { answer(server.accept().await?).await };
            let (spoke, served, passed) = join((speak(&target), serve, between())).await;
            served.and(passed)?;
            assert_eq!(spoke?, b"word!");
        }
        for (target, text) in [
            (to("forbidden"), "the proxy does not allow it"),
            (
                to("x").login("name", "SECRET"),
                "the proxy refuses the password",
            ),
        ] {
            let (spoke, passed) = join((speak(&target), between())).await;
            passed?;
            assert_eq!(spoke.expect_err("refused").to_string(), text);
        }
        let long = speak(&to(&"x".repeat(256))).await.expect_err("long");
        assert_eq!(long.to_string(), "the host has 1 to 255 bytes");
        Ok(())
    });
}

/// The example as a program: what it prints.
async fn program(name: &str, arguments: Vec<String>) -> Result<String> {
    let tests = std::env::current_exe()?;
    let target = tests.ancestors().nth(2).expect("target/debug/deps");
    let path = target.join("examples").join(name);
    let run = move || Command::new(path).args(arguments).output();
    let Output { status, stdout, .. } = run_in_thread(run).await??;
    assert!(status.success());
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

#[test]
fn the_programs_print_what_comes_back() {
    run(async || {
        let (proxy, server) = (listener().await?, listener().await?);
        let (via, target) = (proxy.local_addr().to_string(), server.local_addr());
        let serve = async || answer(server.accept().await?).await;
        let between = async { http_proxy(proxy.accept().await?).await };
        let http = program("http_connect", vec![via.clone(), target.to_string()]);
        let (printed, served, passed) = join((http, serve(), between)).await;
        served.and(passed)?;
        assert_eq!(printed?, "GET / HTTP/1.0\r\n\r\n!");
        let between = async { socks_proxy(proxy.accept().await?).await };
        let (host, port) = (target.ip().to_string(), target.port().to_string());
        let socks = program("socks5", vec![via, host, port]);
        let (printed, served, passed) = join((socks, serve(), between)).await;
        served.and(passed)?;
        assert_eq!(printed?, "GET / HTTP/1.0\r\n\r\n!");
        Ok::<_, Error>(())
    });
}
