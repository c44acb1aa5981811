//! The table of host names: the answers of `getaddrinfo`.

use std::net::IpAddr;

use super::World;
use crate::faults::Fault;

impl World {
    /// Returns the addresses of a name, or one of getaddrinfo's error numbers. Every machine has
    /// its own name; `localhost` is the machine itself.
    pub(crate) fn look_up(&mut self, name: &str) -> Result<Vec<IpAddr>, i32> {
        if self.strikes(Fault::LookUp) {
            return Err(libc::EAI_AGAIN);
        }
        if name == "localhost" {
            return Ok(vec![IpAddr::from([127, 0, 0, 1])]);
        }
        let machine = self.machines.iter().find(|machine| machine.name == name);
        machine
            .map(|machine| vec![machine.v4.into()])
            .ok_or(libc::EAI_NONAME)
    }
}
