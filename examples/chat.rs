//! A chat: each line goes to all others. The room is a plain `RefCell` that all handlers borrow.
//!
//! Each client has a bounded queue of lines to be written. A client that reads too slowly misses
//! lines, and gets the number of missed lines; no other client waits for it.
//!
//! ```text
//! cargo run --example chat [PORT]     (7000; 0 for any free port)
//! nc localhost 7000                   (as often as there are people)
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;

use soloio::{
    ObjectReceiver, ObjectSender, Result, TcpStream, TrySendError, Winner, block_on,
    create_memory_object_stream, create_tcp_listener, race,
};

/// The number of lines that may wait to be written to one client.
const QUEUE: usize = 16;
/// The longest line; longer ones are cut.
const LINE: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7000".into());
    let port = port.parse()?;

    block_on(async {
        let room = RefCell::new(Room::default()); // all handlers borrow it
        let listener = create_tcp_listener().local_port(port).await?;
        println!("tcp {}", listener.local_addr());
        let server = listener.serve(async |client| talk(&client, &room).await);
        Ok(server.await?)
    })
}

/// Serves one client until it leaves.
async fn talk(client: &TcpStream, room: &RefCell<Room>) -> Result<()> {
    let (lines, queue) = create_memory_object_stream(QUEUE);
    let seat = Seat::take(room, lines);
    // The one that ends first ends the other: both only borrow the client.
    match race((listen(client, &seat), write(client, &queue))).await {
        Winner::First(ended) | Winner::Second(ended) => ended,
    }
}

/// Passes on the client's lines.
async fn listen(client: &TcpStream, seat: &Seat<'_>) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(bytes) = client.next().await? {
        rest.extend(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            seat.say(&String::from_utf8_lossy(&line));
        }
        while rest.len() > LINE {
            let line: Vec<u8> = rest.drain(..LINE).collect();
            seat.say(&(String::from_utf8_lossy(&line) + "\n"));
        }
    }
    Ok(())
}

/// Writes the lines of the others.
async fn write(client: &TcpStream, queue: &ObjectReceiver<String>) -> Result<()> {
    while let Some(line) = queue.next().await? {
        client.send(line.as_bytes()).await?;
    }
    Ok(())
}

/// The clients that are connected. It is borrowed between waits only, so a `RefCell` is enough.
#[derive(Default)]
struct Room {
    seats: BTreeMap<u32, Guest>,
    visits: u32,
}

struct Guest {
    lines: ObjectSender<String>,
    /// The number of lines that found the queue full since the last one with room.
    missed: usize,
}

impl Guest {
    /// Never waits: a line that finds no room is dropped and counted.
    fn tell(&mut self, line: &str) {
        if self.missed > 0 {
            let note = format!("* you missed {} lines\n", self.missed);
            if self.lines.send_nowait(note).is_ok() {
                self.missed = 0;
            }
        }
        match self.lines.send_nowait(line.to_owned()) {
            Ok(()) | Err(TrySendError::Closed(_) | TrySendError::Broken(_)) => {}
            Err(_) => self.missed += 1,
        }
    }
}

impl Room {
    fn tell_others(&mut self, speaker: u32, line: &str) {
        for (number, guest) in &mut self.seats {
            if *number != speaker {
                guest.tell(line);
            }
        }
    }
}

/// A client's entry in the room, removed when its handler ends, however it ends.
struct Seat<'a> {
    room: &'a RefCell<Room>,
    number: u32,
}

impl<'a> Seat<'a> {
    fn take(room: &'a RefCell<Room>, lines: ObjectSender<String>) -> Self {
        let mut now = room.borrow_mut();
        now.visits += 1;
        let number = now.visits;
        let mut guest = Guest { lines, missed: 0 };
        guest.tell(&format!(
            "* you are guest {number}, with {} others\n",
            now.seats.len()
        ));
        now.seats.insert(number, guest);
        now.tell_others(number, &format!("* guest {number} came\n"));
        Self { room, number }
    }

    fn say(&self, line: &str) {
        let line = format!("{}: {line}", self.number);
        self.room.borrow_mut().tell_others(self.number, &line);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut room = self.room.borrow_mut();
        room.seats.remove(&self.number);
        room.tell_others(self.number, &format!("* guest {} left\n", self.number));
    }
}
