//! Integration tests: one binary, so that it links once. `support.rs` has the shared helpers.
//!
//! Tests that stand for a failure seen elsewhere name its number (E1, W4, T3 ..) and the public
//! issue it was seen in.

#[cfg(feature = "full")]
mod addresses;
#[cfg(feature = "full")]
mod adopt;
#[cfg(feature = "full")]
mod adopted;
mod allocations;
mod bad_input;
#[cfg(feature = "signal")]
mod blocked_signals;
#[cfg(feature = "full")]
mod broken_core;
mod buffered;
#[cfg(feature = "full")]
mod cancel_everywhere;
#[cfg(feature = "full")]
mod cancel_names;
#[cfg(feature = "options")]
mod cancel_random;
#[cfg(feature = "tls")]
#[cfg_attr(
    not(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs"))),
    allow(dead_code, reason = "most of its users need a crypto provider")
)]
mod certs;
mod clean_up;
#[cfg(feature = "options")]
mod close;
#[cfg(feature = "full")]
mod close_resets;
#[cfg(feature = "full")]
mod close_slow;
mod conformance;
#[cfg(feature = "unix-ext")]
mod control_data;
#[cfg(feature = "cores")]
mod cores;
#[cfg(feature = "threads")]
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "fewer tests"))]
mod cut;
#[cfg(feature = "dump")]
mod dump;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod error_table;
#[cfg(feature = "threads")]
mod error_words;
mod executor;
#[cfg(feature = "adopt")]
mod foreign_fds;
mod foreign_loop;
mod fork;
#[cfg(all(feature = "futures-core", feature = "futures-io"))]
mod futures_traits;
#[cfg(feature = "full")]
mod fuzzed;
mod group_model;
mod group_teardown;
mod growth;
#[cfg(feature = "full")]
mod hand_over;
mod hostile;
mod hosts;
mod io;
#[cfg(feature = "threads")]
mod jobs;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "fewer tests"))]
mod kernel;
#[cfg(feature = "signal")]
mod kernel_signals;
#[cfg(feature = "extras")]
mod lawless;
mod limits;
#[cfg(feature = "threads")]
mod lookups;
#[cfg(feature = "threads")]
mod loop_handle;
#[cfg(feature = "extras")]
mod moves;
#[cfg(feature = "threads")]
mod name_server;
mod names;
#[cfg(feature = "threads")]
mod namespace;
#[cfg(feature = "threads")]
mod nested_jobs;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "fewer tests"))]
mod net_support;
mod nobody;
mod object_model;
mod object_stream;
#[cfg(feature = "options")]
mod options;
mod own_streams;
mod panicking_wakers;
mod panics;
mod parsed;
#[cfg(feature = "full")]
mod passed_on;
#[cfg(feature = "extras")]
mod permits;
mod polled_again;
#[cfg(feature = "full")]
mod prepare;
#[cfg(all(feature = "full", target_os = "linux"))]
mod priority;
#[cfg(feature = "extras")]
mod race;
mod readiness;
#[cfg(feature = "log")]
mod records;
mod regressions;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "full")]
mod relay_dropped;
#[cfg(feature = "relay")]
mod relay_ends;
#[cfg(feature = "relay")]
mod relay_limits;
mod runtime;
#[cfg(feature = "full")]
mod scope_model;
mod scopes;
#[cfg(feature = "full")]
mod second_look;
mod secrets;
mod send_buffer;
#[cfg(feature = "relay")]
mod send_file;
mod serve;
#[cfg(feature = "threads")]
mod serve_ends;
mod serve_errors;
mod serve_exhausted;
#[cfg(feature = "threads")]
mod serve_in_group;
mod serve_reports;
#[cfg(feature = "threads")]
mod serve_stopping;
#[cfg(feature = "full")]
mod serve_waiting;
#[cfg(feature = "threads")]
mod serve_with;
#[cfg(feature = "full")]
mod shared_listeners;
mod shields;
#[cfg(feature = "full")]
mod shown;
#[cfg(feature = "signal")]
mod signals;
#[cfg(feature = "extras")]
mod sizes;
mod spikes;
mod start;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "fewer tests"))]
mod support;
#[cfg(feature = "extras")]
mod sync;
mod sync_model;
mod task_group;
mod tcp;
#[cfg(feature = "full")]
mod threads;
#[cfg(feature = "extras")]
mod time;
#[cfg(feature = "full")]
mod timed_out;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_buffered;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_calls;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_cancel;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_certificates;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_chains;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_config;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_connect;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_environment;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_flood;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_forged;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_forger;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_fragments;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_handshakes;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_hostile;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_hosts;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_idle;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_layers;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_paths;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_peer;
#[cfg(feature = "tls")]
mod tls_pem;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_pieces;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_refusals;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_reload;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_support;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls_twin;
#[cfg(all(feature = "tls", not(any(feature = "ring", feature = "aws-lc-rs"))))]
mod tls_without_provider;
#[cfg(feature = "full")]
mod trees;
#[cfg(feature = "udp-batch")]
mod udp;
#[cfg(feature = "full")]
mod udp_batches;
#[cfg(feature = "full")]
mod udp_destinations;
#[cfg(feature = "full")]
mod udp_options;
#[cfg(feature = "udp-batch")]
mod udp_sends;
mod unix;
#[cfg(feature = "unix-ext")]
mod unix_bind;
#[cfg(feature = "unix-ext")]
mod unix_datagram;
#[cfg(feature = "unix-ext")]
mod unix_fds;
#[cfg(all(feature = "full", target_os = "linux"))]
mod unix_seqpacket;
mod wakers;
#[cfg(feature = "adopt")]
mod watched;
#[cfg(all(feature = "full", target_os = "linux"))]
mod wrong_values;
