//! Tests the chat example: each line reaches all other guests, and a slow reader delays no one
//! else.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::running::{GUARD, start};

struct Guest {
    reader: BufReader<TcpStream>,
}

impl Guest {
    /// Connects, and expects its number and the number of the others in the greeting.
    fn enter(address: SocketAddr, number: u32, others: usize) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        let mut guest = Self {
            reader: BufReader::new(stream),
        };
        guest.hears(&format!("* you are guest {number}, with {others} others"));
        guest
    }

    fn say(&mut self, text: &str) {
        let said = self.reader.get_mut().write_all(text.as_bytes());
        said.expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line in time");
        line.trim_end().to_owned()
    }

    fn hears(&mut self, text: &str) {
        assert_eq!(self.line(), text);
    }
}

#[test]
fn everybody_else_hears_each_line() {
    let mut chat = start("chat", &["0"]);
    let port = chat.address("tcp").port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut ada = Guest::enter(address, 1, 0);
    let mut grace = Guest::enter(address, 2, 1);
    ada.hears("* guest 2 came");
    let mut radia = Guest::enter(address, 3, 2);
    ada.hears("* guest 3 came");
    grace.hears("* guest 3 came");

    ada.say("hel");
    ada.say("lo\nall\nun");
    for guest in [&mut grace, &mut radia] {
        guest.hears("1: hello");
        guest.hears("1: all");
    }
    grace.say("hi\n");
    ada.hears("2: hi");
    radia.hears("2: hi");
    drop(ada);
    grace.hears("* guest 1 left");
    radia.hears("* guest 1 left");
    // A line without a newline is sent on in pieces of 1,024 bytes.
    grace.say(&"x".repeat(1500));
    radia.hears(&format!("2: {}", "x".repeat(1024)));
}

/// One guest reads nothing while another says more than all buffers hold. A third hears every line,
/// and the first gets the number of lines it has missed.
#[test]
fn a_slow_reader_misses_lines_and_holds_nobody_up() {
    const LINES: usize = 20_000;
    let mut chat = start("chat", &["0"]);
    let port = chat.address("tcp").port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut slow = Guest::enter(address, 1, 0);
    let mut talker = Guest::enter(address, 2, 1);
    let mut keen = Guest::enter(address, 3, 2);
    let text = "y".repeat(1000);
    let numbers: Vec<usize> = (0..LINES).collect();
    for some in numbers.chunks(8) {
        let lines = some.iter().map(|number| format!("{number} {text}\n"));
        talker.say(&lines.collect::<String>());
        // Waits for the keen guest after each chunk, so that only the slow one falls behind.
        for number in some {
            keen.hears(&format!("2: {number} {text}"));
        }
    }
    slow.hears("* guest 2 came");
    slow.hears("* guest 3 came");
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < LINES {
        let line = slow.line();
        if line == "2: again" {
            continue;
        }
        match line.strip_prefix("* you missed ") {
            Some(note) => {
                let count = note.split(' ').next().expect("a number");
                missed += count.parse::<usize>().expect("a number");
            }
            None => {
                assert_eq!(line, format!("2: {heard} {text}"));
                heard += 1;
            }
        }
        // Once the slow guest has read its queue, the next line finds room in it.
        talker.say("again\n");
    }
    assert!(missed > 0, "20 MB fit into the buffers of one connection");
    assert!(heard > 16, "what was in the queue is heard");
}
