//! Integration tests: one binary, so that it links once. `support.rs` has what they share.
//!
//! Tests that stand for a failure seen elsewhere name its number (E1, W4, T3 ..) and the public
//! issue it was seen in.

mod allocations;
mod bad_input;
mod cancel_everywhere;
mod cancel_random;
mod conformance;
mod cores;
mod cut;
mod dump;
mod executor;
mod foreign_fds;
mod foreign_loop;
mod group_model;
mod group_teardown;
mod growth;
mod hand_over;
mod hostile;
mod kernel;
mod net_support;
mod options;
mod panics;
mod readiness;
mod regressions;
mod runtime;
mod scopes;
mod serve;
mod serve_ends;
mod serve_errors;
mod serve_exhausted;
mod serve_in_group;
mod shields;
mod start;
mod support;
mod task_group;
mod tcp;
mod threads;
mod time;
mod udp;
mod unix;
mod wakers;
