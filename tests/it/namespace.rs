//! Runs a test in a network of its own, with names, routes and ports as the test needs them.

use std::io::{Write, stderr};
use std::process::Command;

/// A loopback, and an interface behind which everything sent is lost: 10.99.0.2 and fd00::2 never
/// answer. Names are looked up at 127.0.0.1, port 53.
const SETUP: &str = "set -e
ip link set lo up
ip link add hole type veth peer name drain
ip addr add 10.99.0.1/24 dev hole
ip -6 addr add fd00::1/64 dev hole nodad
ip link set hole up
ip link set drain up
ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev hole
ip neigh add fd00::2 lladdr 02:00:00:00:00:02 dev hole
names=$(mktemp)
echo nameserver 127.0.0.1 >$names
mount --bind $names /etc/resolv.conf
rm $names
";

/// Runs `body` in a process with a network of its own, set up with the shell commands `more`.
/// `test` is the full name of the calling test. Where the system allows no namespaces, the test
/// is skipped; with `SOLOIO_TEST_NAMESPACES` set, as in .ci/run, that is a failure.
pub(crate) fn in_namespace(test: &str, more: &str, body: impl FnOnce()) {
    const MARK: &str = "SOLOIO_TEST_NAMESPACE";
    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        return body();
    }
    let own = std::env::current_exe().expect("the path of the test binary");
    let script = format!("({SETUP}{more}) || exit 77; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args([
            "--map-root-user",
            "--net",
            "--mount",
            "--mount-proc",
            "--pid",
            "--fork",
        ])
        .args(["sh", "-c", &script])
        .arg(own)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test);
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(77) && output.status.code() != Some(1) => output,
        missing => {
            let skipped = format!("{test} is skipped: no namespace here ({missing:?})\n");
            let required = std::env::var_os("SOLOIO_TEST_NAMESPACES").is_some();
            assert!(!required, "{skipped}");
            // Past the capture of the test harness, which hides what tests print that pass.
            let shown = stderr().write_all(skipped.as_bytes());
            return shown.expect("standard error");
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{test} in a namespace: {}\n{text}\n{errors}",
        output.status
    );
    assert!(
        text.contains("1 passed"),
        "no test is called {test}:\n{text}"
    );
    print!("{text}");
}
