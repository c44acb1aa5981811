//! TLS over any byte stream, by rustls.
//!
//! ```text
//!   TlsStream ──> session ──> state ──> machine ──> rustls
//!       ^            │  who waits, whose turn      ciphertext <─> plaintext
//!   TlsListener      v
//!                 the stream below: anything that is a byte stream
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `stream.rs` | the stream's face |
//! | `attributes.rs` | what it knows of its handshake |
//! | `handshake.rs` | the handshake, and how it fails |
//! | `listener.rs` | handshakes on a server |
//! | `session.rs` | sending and ending; `lent.rs` and `turn.rs` are its tools |
//! | `receive.rs` | receiving; `sink.rs` is where it goes |
//! | `state.rs` | what a connection holds between two awaits |
//! | `machine.rs` | the rustls connection; `observer.rs` notes what that does not keep |
//! | `buffer.rs` | bytes on their way, in memory that idle connections give back |
//! | `failure.rs` | rustls' errors, with what to do |

mod attributes;
mod buffer;
mod failure;
mod handshake;
mod lent;
mod listener;
mod machine;
mod observer;
mod receive;
mod session;
mod sink;
mod state;
mod stream;
mod turn;

pub use rustls;

pub use handshake::TlsHandshake;
pub use listener::TlsListener;
pub use stream::TlsStream;
