//! Integration tests: one binary, so that it links once. `support.rs` has what they share.
//!
//! Tests that stand for a failure seen elsewhere name its number (E1, W4, T3 ..) and the public
//! issue it was seen in.

mod allocations;
mod bad_input;
mod cancel_everywhere;
mod cancel_random;
mod conformance;
mod cut;
mod dump;
mod executor;
mod foreign_loop;
mod group_model;
mod group_teardown;
mod growth;
mod hostile;
mod jobs;
mod kernel;
mod kernel_signals;
mod limits;
mod loop_handle;
mod net_support;
mod object_model;
mod object_stream;
mod panics;
mod race;
mod readiness;
mod regressions;
mod relay;
mod runtime;
mod scopes;
mod send_file;
mod serve;
mod shields;
mod signals;
mod start;
mod support;
mod sync;
mod sync_model;
mod task_group;
mod tcp;
mod threads;
mod time;
mod udp;
mod unix;
mod unix_bind;
mod unix_datagram;
mod unix_fds;
mod wakers;
