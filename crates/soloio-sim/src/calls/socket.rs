//! socket, bind, listen, connect, accept4, names, shutdown.

use std::ffi::{CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libc::{sockaddr, socklen_t};

use super::real::real;
use super::{Call, address, int};
use crate::world::readiness::bits::{HUP, IN, OUT};
use crate::world::sockets::{Address, Kind};
use crate::world::unix::Name;
use crate::world::{Result, World};

type Addr = *const sockaddr;
type AddrMut = *mut sockaddr;
type Len = *mut socklen_t;

/// socket(2).
#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let Some(call) = Call::here("socket") else {
        return real!(socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int);
    };
    let kind = Kind {
        domain,
        kind,
        protocol,
    };
    int(call.run(|world| world.socket(kind).map(i64::from)))
}

/// socketpair(2).
///
/// # Safety
///
/// `pair` has room for two descriptors.
#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    let Some(call) = Call::here("socketpair") else {
        return real!(
            socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int
        );
    };
    int(call.run(|world| {
        if domain != libc::AF_UNIX {
            return Err(libc::EOPNOTSUPP);
        }
        let (a, b) = world.unix_pair(kind)?;
        // SAFETY: room for two, as the caller promises.
        unsafe {
            pair.write(a);
            pair.add(1).write(b);
        }
        Ok(0)
    }))
}

/// bind(2).
///
/// # Safety
///
/// `length` bytes at `to` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, to: *const sockaddr, length: socklen_t) -> c_int {
    let Some(call) = Call::on("bind", fd) else {
        return real!(bind(fd: c_int, to: Addr, length: socklen_t) -> c_int);
    };
    int(call.run_on(|world, id| {
        // SAFETY: as the caller promises.
        let mut to = unsafe { address::read(to, length) }?;
        if let Address::Unix(name) = &mut to {
            if world
                .unix(id)
                .is_some_and(|unix| !unix.name.bytes.is_empty())
            {
                return Err(libc::EINVAL);
            }
            make_file(name)?;
        }
        world.bind(id, &to).map(|()| 0)
    }))
}

/// A path name has a file: an inode of the kind "socket" on the real file system.
fn make_file(name: &mut Name) -> Result<()> {
    let Some(path) = path(name)? else {
        return Ok(());
    };
    // SAFETY: the path ends in a NUL.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFSOCK | 0o777, 0) };
    if made < 0 {
        let error = std::io::Error::last_os_error().raw_os_error();
        return Err(match error {
            Some(libc::EEXIST) | None => libc::EADDRINUSE,
            Some(other) => other,
        });
    }
    find_file(name)
}

/// Notes the file that a name leads to.
fn find_file(name: &mut Name) -> Result<()> {
    if path(name)?.is_none() {
        return Ok(());
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(&name.bytes));
    let found = std::fs::metadata(path);
    let found = found.map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT))?;
    name.file = Some((found.dev(), found.ino()));
    Ok(())
}

fn path(name: &Name) -> Result<Option<CString>> {
    match name.bytes.first() {
        None | Some(0) => Ok(None),
        Some(_) => CString::new(name.bytes.clone())
            .map(Some)
            .map_err(|_| libc::EINVAL),
    }
}

/// Adds the file to the name of an address that is a path.
pub(super) fn with_file(mut to: Address) -> Result<Address> {
    if let Address::Unix(name) = &mut to {
        find_file(name)?;
    }
    Ok(to)
}

/// listen(2).
#[unsafe(no_mangle)]
extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let Some(call) = Call::on("listen", fd) else {
        return real!(listen(fd: c_int, backlog: c_int) -> c_int);
    };
    int(call.run_on(|world, id| world.listen(id, backlog).map(|()| 0)))
}

/// connect(2).
///
/// # Safety
///
/// `length` bytes at `to` are valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, to: *const sockaddr, length: socklen_t) -> c_int {
    let Some(call) = Call::on("connect", fd) else {
        return real!(connect(fd: c_int, to: Addr, length: socklen_t) -> c_int);
    };
    // SAFETY: as the caller promises.
    let to = unsafe { address::read(to, length) }.and_then(with_file);
    let mut begun = false;
    int(call.run_waiting(false, OUT | HUP, |world, id| {
        let to = to.as_ref().map_err(|errno| *errno)?;
        let result = world.connect(id, to).map(|()| 0);
        // A blocking connect calls this again after its wait: then `EISCONN` is success.
        match result {
            Err(libc::EISCONN) if begun => Ok(0),
            Err(libc::EINPROGRESS) => {
                begun = true;
                result
            }
            result => result,
        }
    }))
}

fn accepts(world: &mut World, id: u32, flags: c_int, to: AddrMut, length: Len) -> Result<i64> {
    let (fd, peer) = world.accept(id, flags)?;
    // SAFETY: as the caller of accept4 promises.
    unsafe { address::write(to, length, &peer) };
    Ok(fd.into())
}

/// accept4(2).
///
/// # Safety
///
/// `to` is null, or has as many bytes as `length` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    to: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(call) = Call::on("accept4", fd) else {
        return real!(accept4(fd: c_int, to: AddrMut, length: Len, flags: c_int) -> c_int);
    };
    int(call.run_blocking(false, IN, |world, id| accepts(world, id, flags, to, length)))
}

/// accept(2).
///
/// # Safety
///
/// As `accept4`.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, to: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(call) = Call::on("accept", fd) else {
        return real!(accept(fd: c_int, to: AddrMut, length: Len) -> c_int);
    };
    int(call.run_blocking(false, IN, |world, id| accepts(world, id, 0, to, length)))
}

/// getsockname(2).
///
/// # Safety
///
/// `to` has as many bytes as `length` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockname(fd: c_int, to: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(call) = Call::on("getsockname", fd) else {
        return real!(getsockname(fd: c_int, to: AddrMut, length: Len) -> c_int);
    };
    int(call.run_on(|world, id| {
        let name = world.local_name(id)?;
        // SAFETY: as the caller promises.
        unsafe { address::write(to, length, &name) };
        Ok(0)
    }))
}

/// getpeername(2).
///
/// # Safety
///
/// `to` has as many bytes as `length` says.
#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(fd: c_int, to: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(call) = Call::on("getpeername", fd) else {
        return real!(getpeername(fd: c_int, to: AddrMut, length: Len) -> c_int);
    };
    int(call.run_on(|world, id| {
        let name = world.peer_name(id)?;
        // SAFETY: as the caller promises.
        unsafe { address::write(to, length, &name) };
        Ok(0)
    }))
}

/// shutdown(2).
#[unsafe(no_mangle)]
extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    let Some(call) = Call::on("shutdown", fd) else {
        return real!(shutdown(fd: c_int, how: c_int) -> c_int);
    };
    int(call.run_on(|world, id| world.shutdown(id, how).map(|()| 0)))
}
