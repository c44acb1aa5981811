//! TLS over any byte stream, by rustls.
//!
//! ```text
//!   TlsStream ──> session ──> state ──> machine ──> rustls
//!       ^            │  which operations wait      ciphertext <─> plaintext
//!   TlsListener      v
//!                 the stream below: anything that is a byte stream
//! ```
//!
//! | file | content |
//! |---|---|
//! | `stream.rs` | `TlsStream`: its public methods |
//! | `attributes.rs` | its attributes after the handshake |
//! | `handshake.rs` | the handshake, and its errors |
//! | `listener.rs` | handshakes on a server |
//! | `handshake_limiter.rs` | the number of them at a time |
//! | `session.rs` | one connection, in polls: its state, receiving |
//! | `sending.rs` | sending, and ending our direction |
//! | `state.rs` | the state of a connection between two polls |
//! | `machine.rs`, `observer.rs` | the rustls connection, and the facts that it does not keep |
//! | `buffer.rs` | bytes in flight, in memory that idle connections give back |
//! | `failure.rs` | rustls' errors, with their remedies |
//! | `client_config.rs`, `server_config.rs` | safe configurations |
//! | `certificates.rs` | a server's certificates, reloaded when their files have changed |
//! | `shared_options.rs`, `identity.rs`, `pem.rs`, `roots.rs`, `provider.rs` | their parts |
//! | `name.rs` | the name that a server's certificate must be for |

mod attributes;
mod buffer;
mod certificates;
mod client_config;
mod failure;
mod handshake;
mod handshake_limiter;
mod identity;
mod listener;
mod machine;
mod name;
mod observer;
mod pem;
mod provider;
mod roots;
mod sending;
mod server_config;
mod session;
mod shared_options;
mod state;
mod stream;

pub(crate) use client_config::default_client_config;
pub use client_config::{ClientConfigBuilder, client_config};
pub use handshake::TlsHandshake;
pub use listener::TlsListener;
pub(crate) use name::server_name;
pub use pem::{certificates_from_pem, private_key_from_pem, read_certificates, read_private_key};
pub use provider::default_provider;
pub use roots::system_roots;
pub use rustls;
pub use server_config::{ServerConfigBuilder, server_config};
pub use stream::TlsStream;
