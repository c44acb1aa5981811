//! TLS over any byte stream, by rustls.

pub use rustls;
