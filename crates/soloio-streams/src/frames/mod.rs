//! Object streams over a byte stream: what separates the objects, and what they are.
//!
//! | file | content |
//! |---|---|
//! | `length_prefixed.rs` | bytes behind their number |
//! | `prefix.rs` | the form of that number |
//! | `lines.rs` | text, each up to a newline |
//! | `line_error.rs` | a line that is no such object |
//! | `json_lines.rs` | values as JSON, one a line |

#[cfg(feature = "json")]
mod json_lines;
mod length_prefixed;
mod line_error;
mod lines;
mod prefix;

#[cfg(feature = "json")]
pub use json_lines::JsonLines;
pub use length_prefixed::{FrameTooLong, LengthPrefixed};
pub use line_error::LineError;
pub use lines::Lines;
pub use prefix::Prefix;
