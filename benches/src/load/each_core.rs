//! Echo from two cores: a generator on each, so that a loop of the server shares its core with one
//! whichever core it is on.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;

use super::{Echo, IN_FLIGHT};
use crate::sys::affinity;

/// The cores, and the connections of each.
pub struct EachCore([(usize, Echo<TcpStream>); 2]);

impl EachCore {
    /// As many connections as a load on one core has.
    pub fn open(server: SocketAddr) -> io::Result<Self> {
        let half = || Echo::tcp(server, IN_FLIGHT / 2);
        Ok(Self([
            (affinity::measured_core(), half()?),
            (affinity::helper_core(), half()?),
        ]))
    }

    /// Both take from `count` until nothing is left, so that they end together.
    pub fn run(&mut self, count: u64) -> io::Result<()> {
        let left = &AtomicU64::new(count);
        thread::scope(|scope| {
            let running = self.0.each_mut().map(|(core, load)| {
                scope.spawn(move || {
                    affinity::pin(*core)?;
                    load.run_part(left)
                })
            });
            running.into_iter().try_for_each(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("a generator panicked")))
            })
        })
    }
}
