//! `Host::with_port` against a naive twin, on random texts of meaningful pieces.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use soloio::Host;

/// Hosts, and what may be wrong with one.
const PIECES: [&str; 34] = [
    "[",
    "]",
    ":",
    "%",
    ".",
    "/",
    "-",
    "+",
    " ",
    "\t",
    "\0",
    "\n",
    "\u{7f}",
    "\u{a0}",
    "ü",
    "a",
    "server.example",
    "0",
    "3",
    "007",
    "80",
    "65535",
    "65536",
    "99999999999",
    "::1",
    "fe80::1",
    "::ffff:1.2.3.4",
    "127.0.0.1",
    "1.2.3",
    "eth0",
    "[::1]:80",
    "[fe80::1%3]",
    "[127.0.0.1]:80",
    "[abc]:80",
];

/// What the documents say: the host as it is shown, and the port.
fn twin(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let zeros = port.trim_start_matches('0');
    let port = match zeros {
        "" => 0,
        zeros if zeros.len() > 5 => return None,
        zeros => zeros.parse::<u32>().ok()?,
    };
    let is_plain = |part: &str| {
        let mut chars = part.chars();
        chars.all(|c| !c.is_whitespace() && !c.is_control() && !"[]%:/".contains(c))
            && !part.is_empty()
            && part.len() <= 255
    };
    let shown = match host.strip_prefix('[') {
        None => is_plain(host).then(|| host.to_owned())?,
        Some(rest) => {
            let inside = rest.strip_suffix(']')?;
            let mut parts = inside.splitn(2, '%');
            let address: Ipv6Addr = parts.next()?.parse().ok()?;
            let v4 = address.to_ipv4_mapped();
            let canonical = v4.map_or_else(|| address.to_string(), |v4| v4.to_string());
            match parts.next() {
                None => canonical,
                Some(scope) if !is_plain(scope) => return None,
                Some(scope) => {
                    let is_number = scope.bytes().all(|byte| byte.is_ascii_digit());
                    match scope.parse::<u32>() {
                        Ok(0) if is_number => canonical,
                        Ok(_) if is_number && v4.is_some() => canonical,
                        Ok(number) if is_number => format!("{canonical}%{number}"),
                        _ => format!("{address}%{scope}"),
                    }
                }
            }
        }
    };
    (digits && port <= 65_535).then_some((shown, port as u16))
}

fn check(text: &str) {
    match (Host::with_port(text), twin(text)) {
        (Ok((host, port)), Some(expected)) => {
            assert_eq!((host.to_string(), port), expected, "{text:?}");
        }
        (Err(error), None) => {
            let said = error.to_string();
            assert!(said.contains(&format!("{text:?}")), "{said}");
        }
        (found, expected) => panic!("{text:?}: {found:?} for {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn a_host_and_a_port_are_those_of_a_naive_parser(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6),
        ends in any::<bool>(),
    ) {
        let end = if ends { ":80" } else { "" };
        check(&format!("{}{end}", pieces.concat()));
    }
}

#[test]
fn what_is_no_host_before_a_port_is_refused() {
    for (text, good) in [
        ("[::1]:80", true),
        ("[fe80::1%eth0]:80", true),
        ("[fe80::1%3]:080", true),
        ("a:0", true),
        ("[abc]:80", false),
        ("[]:80", false),
        ("[", false),
        ("[::1", false),
        ("[::1:80", false),
        ("::1]:80", false),
        ("[::1]x:80", false),
        ("x[::1]:80", false),
        ("[[::1]]:80", false),
        ("[127.0.0.1]:80", false),
        ("127.0.0.1%3:80", false),
        ("[fe80::1%]:80", false),
        ("[fe80::1%eth 0]:80", false),
        ("[fe80::1%eth\0]:80", false),
        ("[fe80::1%[]:80", false),
        ("fe80::1%:80", false),
        ("[::1]:+80", false),
        ("[::1]:-1", false),
        ("[::1]: 80", false),
        ("[::1]:65536", false),
        ("[::1]:99999999999", false),
        ("[::1]:", false),
        ("[::1]:８０", false),
        (" a:80", false),
        ("a :80", false),
        ("a\tb:80", false),
        ("a\n:80", false),
        ("a\0:80", false),
        ("a\u{7f}:80", false),
        ("a\u{a0}b:80", false),
        (" :80", false),
        ("", false),
        (":", false),
    ] {
        check(text);
        assert_eq!(Host::with_port(text).is_ok(), good, "{text:?}");
    }
}
