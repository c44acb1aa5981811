//! Connectables: what a program connects to, as a value that is passed on and connected often.
//!
//! | file | content |
//! |---|---|
//! | `connectable.rs` | the contract |
//! | `tcp.rs` | a TCP port of a host |
//! | `unix.rs` | a path |
//! | `tls.rs` | TLS over whatever another one connects to |
//! | `any.rs` | one of any kind, and text that says which |
//! | `retry.rs` | one that tries again |

mod any;
mod connectable;
mod retry;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod unix;

pub use any::{AnyConnectable, as_connectable};
pub use connectable::Connectable;
pub use retry::Retry;
pub use tcp::TcpConnectable;
#[cfg(feature = "tls")]
pub use tls::TlsConnectable;
pub use unix::UnixConnectable;
