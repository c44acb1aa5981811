//! Integration tests: one binary, so that it links once. `support.rs` has what they share.
//!
//! Tests that stand for a failure seen elsewhere name its number (E1, W4, T3 ..) and the public
//! issue it was seen in.

mod addresses;
mod adopt;
mod adopted;
mod allocations;
mod bad_input;
mod blocked_signals;
mod broken_core;
mod buffered;
mod cancel_everywhere;
mod cancel_names;
mod cancel_random;
#[cfg(feature = "tls")]
#[cfg_attr(
    not(any(feature = "ring", feature = "aws-lc-rs")),
    allow(dead_code, reason = "most of its users need a crypto provider")
)]
mod certs;
mod clean_up;
mod close;
mod close_resets;
mod conformance;
mod control_data;
mod cores;
mod cut;
mod dump;
mod error_words;
mod executor;
mod foreign_fds;
mod foreign_loop;
mod fork;
mod fuzzed;
mod group_model;
mod group_teardown;
mod growth;
mod hand_over;
mod hostile;
mod jobs;
mod kernel;
mod kernel_signals;
mod limits;
mod lookups;
mod loop_handle;
mod moves;
mod name_server;
mod names;
mod namespace;
mod nested_jobs;
mod net_support;
mod object_model;
mod object_stream;
mod options;
mod own_streams;
mod panics;
mod passed_on;
mod permits;
mod prepare;
#[cfg(target_os = "linux")]
mod priority;
mod race;
mod readiness;
mod regressions;
mod relay;
mod relay_ends;
mod runtime;
mod scope_model;
mod scopes;
mod second_look;
mod secrets;
mod send_file;
mod serve;
mod serve_ends;
mod serve_errors;
mod serve_exhausted;
mod serve_in_group;
mod serve_reports;
mod serve_with;
mod shared_listeners;
mod shields;
mod shown;
mod signals;
mod sizes;
mod spikes;
mod start;
mod support;
mod sync;
mod sync_model;
mod task_group;
mod tcp;
mod threads;
mod time;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_cancel;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_certificates;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_config;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_connect;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_environment;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_flood;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_forged;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_forger;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_hostile;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_hosts;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_idle;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_layers;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_peer;
#[cfg(feature = "tls")]
mod tls_pem;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_pieces;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_refusals;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_reload;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls_support;
#[cfg(all(feature = "tls", not(any(feature = "ring", feature = "aws-lc-rs"))))]
mod tls_without_provider;
mod trees;
mod udp;
mod udp_batches;
mod udp_destinations;
mod udp_options;
mod udp_sends;
mod unix;
mod unix_bind;
mod unix_datagram;
mod unix_fds;
mod wakers;
