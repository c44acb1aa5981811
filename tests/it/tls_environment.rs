//! Settings that configurations read from the environment: the roots, and the key log on request.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use soloio::tls::server_config;

use crate::certs::Ca;
use crate::net_support::TempDir;
use crate::tls_config::{handshake, issued, trusting};

/// Runs one test of this file in a process of its own with these variables, and returns its output.
/// In that process `MARK` is set.
fn run_with(test: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("the path of the test binary"));
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1");
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"] {
        command.env_remove(name);
    }
    let output = command
        .envs(variables.iter().copied())
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}: {text}"
    );
    text
}

const MARK: &str = "SOLOIO_TEST_ENVIRONMENT";

#[test]
fn the_environment_names_the_roots() {
    const TEST: &str = "tls_environment::the_environment_names_the_roots";
    if std::env::var_os(MARK).is_some() {
        match soloio::tls::system_roots() {
            Ok(roots) => println!("\nroots {}", roots.len()),
            Err(error) => println!("\nroots {error}"),
        }
        return;
    }
    let roots = |variables: &[(&str, &str)]| {
        let text = run_with(TEST, variables);
        let line = text.lines().find_map(|line| line.strip_prefix("roots "));
        line.expect("a line").to_owned()
    };
    let dir = TempDir::new();
    let (ca, other) = (Ca::new("one"), Ca::new("two"));
    let file = dir.path("two.pem");
    fs::write(&file, format!("{}{}", ca.pem, other.pem)).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let folder = dir.path("folder");
    fs::create_dir(&folder).expect("a folder");
    ca.write(&folder, "one");
    Ca::new("three").write(&folder, "three");
    let folder = folder.to_str().expect("UTF-8");
    assert_eq!(roots(&[("SSL_CERT_FILE", file)]), "2");
    assert_eq!(roots(&[("SSL_CERT_DIR", folder)]), "2");
    // Both add up, and a root in both counts once.
    assert_eq!(
        roots(&[("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)]),
        "3"
    );
    let text = roots(&[("SSL_CERT_FILE", "/nowhere/roots.pem")]);
    assert!(
        text.starts_with("SSL_CERT_FILE: /nowhere/roots.pem cannot be read"),
        "{text}"
    );
    let text = roots(&[("SSL_CERT_DIR", "/nowhere")]);
    assert!(
        text.contains("SSL_CERT_DIR=/nowhere: correct it or unset it"),
        "{text}"
    );
}

#[test]
fn secrets_are_logged_only_when_asked() -> io::Result<()> {
    const TEST: &str = "tls_environment::secrets_are_logged_only_when_asked";
    if std::env::var_os(MARK).is_some() {
        let (ca, one) = issued();
        let asked = std::env::var_os("ASKED").is_some();
        let mut server = server_config().certificate(one.chain.clone(), one.key());
        let mut client = trusting(&ca);
        if asked {
            (server, client) = (server.key_log_file(), client.key_log_file());
        }
        match (client.build(), server.build()) {
            (Ok(client), Ok(server)) => {
                handshake(&client, "localhost", &server).expect("verified");
            }
            (client, server) => {
                for error in [client.expect_err("both"), server.expect_err("both")] {
                    println!("\nno log: {error}");
                }
            }
        }
        return Ok(());
    }
    let dir = TempDir::new();
    let path = dir.path("log");
    let named = [
        ("SSLKEYLOGFILE", path.to_str().expect("UTF-8")),
        ("ASKED", "1"),
    ];
    run_with(TEST, &named[..1]);
    assert!(!path.exists(), "nobody has asked");
    run_with(TEST, &named);
    let log = fs::read_to_string(&path)?;
    assert!(log.contains("CLIENT_TRAFFIC_SECRET_0 "), "{log}");
    let mode = fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "readable by others: {mode:o}");
    let text = run_with(TEST, &[("SSLKEYLOGFILE", "/nowhere/log"), ("ASKED", "1")]);
    let said = "no log: SSLKEYLOGFILE: /nowhere/log cannot be written: No such file";
    assert_eq!(text.matches(said).count(), 2, "{text}");
    for mode in [0o640, 0o604] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let text = run_with(TEST, &named);
        let said = format!(
            "no log: SSLKEYLOGFILE: other users can read {}: remove it, or `chmod 600` it",
            path.display()
        );
        assert_eq!(text.matches(&said).count(), 2, "{mode:o}: {text}");
        assert_eq!(fs::read_to_string(&path)?, log, "nothing is written");
    }
    // Others may write to it, and a device is no file.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622))?;
    run_with(TEST, &named);
    assert!(fs::read_to_string(&path)?.len() > log.len());
    run_with(TEST, &[("SSLKEYLOGFILE", "/dev/null"), ("ASKED", "1")]);
    Ok(())
}
