//! UNIX sockets that are named by files.

use soloio::{connect_unix, create_unix_listener};
use soloio_sim::run;

/// The file system may give the number of a removed file to the next one.
#[test]
fn a_name_whose_file_is_gone_names_nothing() {
    run(async {
        let name = format!("soloio-sim-name-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut kept = Vec::new();
        for _ in 0..10 {
            let listener = create_unix_listener(&path).await.expect("a name");
            let client = connect_unix(&path).await.expect("connected");
            let server = listener.accept().await.expect("accepted");
            client.send(b"!").await.expect("sent");
            assert_eq!(server.receive().await.expect("received"), b"!");
            kept.push((client, server));
            drop(listener);
            drop(std::fs::remove_file(&path));
        }
    });
}
