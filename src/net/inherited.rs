//! Sockets from the process that started this one: socket activation.

use std::env;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};

use crate::error::{Error, Result};
use crate::sys;

/// A socket that was passed on to this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct InheritedSocket {
    /// Its name in the service's configuration (`LISTEN_FDNAMES`).
    pub name: Option<String>,
    /// The descriptor, to be adopted with `TcpListener::try_from(socket.fd)` or
    /// [`adopt_listeners`](super::adopt_listeners).
    pub fd: OwnedFd,
}

/// Takes the sockets that a service manager, or the process before this one, has passed on by the
/// rules of `sd_listen_fds(3)`: `LISTEN_FDS` descriptors from number 3 on, if `LISTEN_PID` is this
/// process; `LISTEN_FDNAMES` names them. Returns no sockets if these variables are not set, and
/// from the second call on.
///
/// The descriptors returned are duplicates, because the environment could be wrong and the numbers
/// could be descriptors that the program has opened itself. The descriptors that were passed on,
/// and so the sockets, stay open as long as the process; they become close-on-exec. The environment
/// is not changed: in children `LISTEN_PID` does not match.
///
/// # Errors
///
/// [`Error::Io`] if the variables are invalid, or the descriptors are not open or are not sockets.
/// Then none is taken.
///
/// # Examples
///
/// ```
/// use soloio::net::{adopt_listeners, inherited_sockets};
///
/// let inherited = inherited_sockets()?;
/// if inherited.is_empty() {
///     println!("no socket was passed on");
/// } else {
///     let listener = adopt_listeners(inherited.into_iter().map(|socket| socket.fd))?;
///     soloio::block_on(listener.serve(async |client| client.send(b"hello").await))?;
/// }
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "LISTEN_FDS")]
#[doc(alias = "sd_listen_fds")]
pub fn inherited_sockets() -> Result<Vec<InheritedSocket>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let text = |name| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    let passed = Passed::parse(
        text("LISTEN_PID").as_deref(),
        text("LISTEN_FDS").as_deref(),
        text("LISTEN_FDNAMES").as_deref(),
        process::id(),
    )?;
    if passed.count == 0 || TAKEN.swap(true, AcqRel) {
        return Ok(Vec::new());
    }
    let taken = sys::adopt::take_passed(passed.count).inspect_err(|_| {
        // None was taken; the caller may fix the cause and call again.
        TAKEN.store(false, std::sync::atomic::Ordering::Release);
    });
    let failed = |cause| Error::io("inherit", format_args!("{} sockets", passed.count), cause);
    let named = passed.names.into_iter().map(Some);
    let names = named.chain(std::iter::repeat(None));
    let sockets = taken.map_err(failed)?.into_iter().zip(names);
    let socket = |(fd, name)| InheritedSocket { name, fd };
    Ok(sockets.map(socket).collect())
}

/// The contents of the environment variables.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    count: usize,
    /// One for each descriptor, or empty.
    names: Vec<String>,
}

impl Passed {
    fn parse(
        pid: Option<&str>,
        count: Option<&str>,
        names: Option<&str>,
        own: u32,
    ) -> Result<Self> {
        let (Some(pid), Some(count)) = (pid, count) else {
            return Ok(Self::default());
        };
        let number = |name, text: &str| {
            text.parse::<u32>().map_err(|_| {
                let message = format!("{name} is {text:?} instead of a number");
                Error::io("inherit", "sockets", sys::errno::invalid(message))
            })
        };
        if number("LISTEN_PID", pid)? != own {
            return Ok(Self::default());
        }
        let count = number("LISTEN_FDS", count)? as usize;
        let names = names.into_iter().flat_map(|names| names.split(':'));
        let names: Vec<_> = names.map(str::to_owned).collect();
        if count > 0 && !names.is_empty() && names.len() != count {
            let message = format!(
                "LISTEN_FDNAMES has {} names for {count} sockets",
                names.len()
            );
            return Err(Error::invalid("inherit sockets", message));
        }
        Ok(Self { count, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_the_manual_says() {
        let parse = |pid, count, names| Passed::parse(pid, count, names, 7);
        let count = |pid, fds, names| parse(pid, fds, names).expect("fits").count;
        assert_eq!(count(None, None, None), 0);
        assert_eq!(count(None, Some("2"), None), 0);
        assert_eq!(count(Some("7"), None, None), 0);
        assert_eq!(count(Some("8"), Some("2"), None), 0, "for somebody else");
        assert_eq!(count(Some("8"), Some("bad"), None), 0, "for somebody else");
        assert_eq!(count(Some("7"), Some("2"), None), 2);
        let none = parse(Some("7"), Some("0"), Some(""));
        assert_eq!(none.expect("no socket needs a name").count, 0);
        let named = parse(Some("7"), Some("2"), Some("web:admin")).expect("fits");
        assert_eq!(named.names, ["web", "admin"]);
        for (pid, fds, names) in [
            (Some("x"), Some("1"), None),
            (Some("7"), Some("-1"), None),
            (Some("7"), Some(""), None),
            (Some("7"), Some("99999999999"), None),
            (Some("7"), Some("1"), Some("a:b")),
        ] {
            let error = parse(pid, fds, names).expect_err("nonsense");
            assert!(error.to_string().contains("LISTEN_"), "{error}");
        }
    }
}
