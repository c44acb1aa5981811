//! close, fcntl, dup, pipes, splice, sendfile.

use std::ffi::{c_char, c_int, c_long, c_uint};

use libc::{off64_t, size_t, ssize_t};

use super::real::real;
use super::transfer::{FOR_RECEIVING, FOR_SENDING, size};
use super::{Call, answer, int, kernel};
use crate::world::descriptors::{Id, Number, Object};
use crate::world::{Result, World};

/// close(2).
#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    let Some(call) = Call::on("close", fd) else {
        return real!(close(fd: c_int) -> c_int);
    };
    int(call.run(|world| world.close(fd).map(|()| 0)))
}

fn answer_flags(fd: c_int) -> c_int {
    let number = kernel::with(|world| world.descriptors.numbers.get(&fd).copied());
    let number = number.flatten().ok_or(libc::EBADF);
    let flag = |number: Number| libc::FD_CLOEXEC * c_int::from(number.close_on_exec);
    int(answer(number.map(|number| flag(number).into())))
}

/// The commands of fcntl(2) that a world's descriptors know.
fn control(fd: c_int, command: c_int, argument: c_long) -> c_int {
    if command == libc::F_GETFD {
        // std asks for it in debug builds at each close: not worth a line of the trace.
        return answer_flags(fd);
    }
    let call = Call { name: "fcntl", fd };
    int(call.run_on(|world, id| match command {
        libc::F_SETFD => {
            if let Some(number) = world.descriptors.numbers.get_mut(&fd) {
                number.close_on_exec = argument & i64::from(libc::FD_CLOEXEC) != 0;
            }
            Ok(0)
        }
        libc::F_GETFL => {
            let flags = world.descriptors.objects.get(&id);
            let nonblocking = flags.is_some_and(|description| description.nonblocking);
            let mode = if nonblocking { libc::O_NONBLOCK } else { 0 };
            Ok((libc::O_RDWR | mode).into())
        }
        libc::F_SETFL => {
            world.set_nonblocking(id, argument & i64::from(libc::O_NONBLOCK) != 0);
            Ok(0)
        }
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            world.may_open()?;
            let from = i32::try_from(argument).map_err(|_| libc::EINVAL)?;
            let fd = world.name_object(id, command == libc::F_DUPFD_CLOEXEC, from)?;
            Ok(fd.into())
        }
        _ => Err(libc::EINVAL),
    }))
}

/// fcntl(2).
#[unsafe(no_mangle)]
extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    if Call::on("fcntl", fd).is_some() {
        return control(fd, command, argument);
    }
    real!(fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int)
}

/// The same by its name for large files.
#[unsafe(no_mangle)]
extern "C" fn fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int {
    if Call::on("fcntl", fd).is_some() {
        return control(fd, command, argument);
    }
    real!(fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int)
}

/// dup(2).
#[unsafe(no_mangle)]
extern "C" fn dup(fd: c_int) -> c_int {
    let Some(call) = Call::on("dup", fd) else {
        return real!(dup(fd: c_int) -> c_int);
    };
    int(call.run_on(|world, id| {
        world.may_open()?;
        world.name_object(id, false, 0).map(i64::from)
    }))
}

/// dup2(2). A number of the world cannot replace one of the real kernel.
#[unsafe(no_mangle)]
extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    let Some(call) = Call::on("dup2", from) else {
        return real!(dup2(from: c_int, to: c_int) -> c_int);
    };
    int(call.run_on(|world, _| match from == to {
        true => Ok(to.into()),
        false => world.replace(from, to, false).map(i64::from),
    }))
}

/// dup3(2).
#[unsafe(no_mangle)]
extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let Some(call) = Call::on("dup3", from) else {
        return real!(dup3(from: c_int, to: c_int, flags: c_int) -> c_int);
    };
    let cloexec = flags & libc::O_CLOEXEC != 0;
    int(call.run_on(|world, _| world.replace(from, to, cloexec).map(i64::from)))
}

/// fchmod(2): a socket's mode has no effect here.
#[unsafe(no_mangle)]
extern "C" fn fchmod(fd: c_int, mode: libc::mode_t) -> c_int {
    let Some(call) = Call::on("fchmod", fd) else {
        return real!(fchmod(fd: c_int, mode: libc::mode_t) -> c_int);
    };
    int(call.run_on(|_, _| Ok(0)))
}

/// Returns the file type of an object.
fn file_type(world: &World, id: Id) -> u32 {
    match world.descriptors.get(id) {
        Some(Object::Tcp(_) | Object::Udp(_) | Object::Unix(_)) => libc::S_IFSOCK,
        Some(Object::Pipe(_)) => libc::S_IFIFO,
        // Linux gives an "anonymous inode" no type.
        _ => 0,
    }
}

type Path = *const c_char;
type Facts = *mut libc::statx;
type OldFacts = *mut libc::stat64;

/// statx(2) of a descriptor of the world: its type.
///
/// # Safety
///
/// `path` is a text, `facts` valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn statx(
    fd: c_int,
    path: Path,
    flags: c_int,
    mask: c_uint,
    facts: Facts,
) -> c_int {
    let Some(call) = Call::on("statx", fd) else {
        return real!(
            statx(fd: c_int, path: Path, flags: c_int, mask: c_uint, facts: Facts) -> c_int
        );
    };
    int(call.run_on(|world, id| {
        let mode = file_type(world, id) | 0o600;
        // SAFETY: as the caller promises; integers, valid as zeros.
        unsafe {
            facts.write_bytes(0, 1);
            (*facts).stx_mask = libc::STATX_BASIC_STATS;
            (*facts).stx_mode = u16::try_from(mode).expect("16 bits");
        }
        Ok(0)
    }))
}

/// fstat(2), by its name for large files.
///
/// # Safety
///
/// `facts` is valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn fstat64(fd: c_int, facts: OldFacts) -> c_int {
    let Some(call) = Call::on("fstat", fd) else {
        return real!(fstat64(fd: c_int, facts: OldFacts) -> c_int);
    };
    int(call.run_on(|world, id| {
        let mode = file_type(world, id) | 0o600;
        // SAFETY: as the caller promises; integers, valid as zeros.
        unsafe {
            facts.write_bytes(0, 1);
            (*facts).st_mode = mode;
        }
        Ok(0)
    }))
}

/// pipe2(2).
///
/// # Safety
///
/// `ends` has room for two descriptors.
#[unsafe(no_mangle)]
unsafe extern "C" fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    type Ends = *mut c_int;
    let Some(call) = Call::here("pipe2") else {
        return real!(pipe2(ends: Ends, flags: c_int) -> c_int);
    };
    int(call.run(|world| {
        let (reader, writer) = world.pipe(flags)?;
        // SAFETY: room for two, as the caller promises.
        unsafe {
            ends.write(reader);
            ends.add(1).write(writer);
        }
        Ok(0)
    }))
}

type Offset = *mut off64_t;

/// The number of bytes of a stream that are moved at once.
const MOVED: usize = 65_536;

/// Moves bytes between a pipe and a stream, as many as are there and fit.
fn moves(world: &mut World, from: Id, to: Id, most: usize) -> Result<i64> {
    let is_pipe = |world: &World, id| matches!(world.descriptors.get(id), Some(Object::Pipe(_)));
    if !is_pipe(world, from) && !is_pipe(world, to) {
        return Err(libc::EINVAL);
    }
    let room = world.write_room(to)?;
    let most = most.min(MOVED).min(room);
    let bytes = world.read_some(from, most)?;
    let count = bytes.len();
    let written = world.write_some(to, &bytes)?;
    assert_eq!(written, count, "there was room for all of it");
    Ok(i64::try_from(count).expect("65,536 at most"))
}

/// splice(2).
///
/// # Safety
///
/// The offsets are null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: Offset,
    to: c_int,
    to_offset: Offset,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    let Some(call) = Call::on("splice", from) else {
        return real!(splice(
            from: c_int, from_offset: Offset, to: c_int, to_offset: Offset, length: size_t,
            flags: c_uint
        ) -> ssize_t);
    };
    size(call.run_on(|world, id| {
        let to = world.descriptors.id(to)?;
        moves(world, id, to, length)
    }))
}

/// Reads from a real file, at an offset or its own position; also returns where that is.
fn read_file(file: c_int, offset: Option<i64>, length: usize) -> Result<(Vec<u8>, i64)> {
    let mut bytes = vec![0; length];
    // SAFETY: a valid buffer; the calls go to the real kernel, because the world is locked.
    let (read, at) = unsafe {
        let at = offset.unwrap_or_else(|| libc::lseek64(file, 0, libc::SEEK_CUR));
        (
            libc::pread64(file, bytes.as_mut_ptr().cast(), length, at),
            at,
        )
    };
    let Ok(count) = usize::try_from(read) else {
        let error = std::io::Error::last_os_error().raw_os_error();
        return Err(error.unwrap_or(libc::EIO));
    };
    bytes.truncate(count);
    Ok((bytes, at))
}

/// sendfile(2): from a real file to a socket or a pipe of the world.
///
/// # Safety
///
/// `offset` is null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, offset: Offset, length: size_t) -> ssize_t {
    let Some(call) = Call::on("sendfile", to) else {
        return real!(
            sendfile64(to: c_int, from: c_int, offset: Offset, length: size_t) -> ssize_t
        );
    };
    size(
        call.run_blocking(false, FOR_SENDING | FOR_RECEIVING, |world, id| {
            if matches!(world.descriptors.get(id), Some(Object::Pipe(_))) {
                world.write_room(id)?;
            }
            // SAFETY: as the caller promises.
            let given = (!offset.is_null()).then(|| unsafe { offset.read() });
            let (bytes, at) = read_file(from, given, length.min(MOVED))?;
            if bytes.is_empty() {
                // Linux has not looked at a socket yet.
                return Ok(0);
            }
            let room = world.write_room(id)?.min(bytes.len());
            let sent = world.write_some(id, &bytes[..room])?;
            let sent = i64::try_from(sent).expect("65,536 at most");
            // SAFETY: as the caller promises; a valid position in the file.
            unsafe {
                match given {
                    Some(_) => offset.write(at + sent),
                    None => _ = libc::lseek64(from, at + sent, libc::SEEK_SET),
                }
            }
            Ok(sent)
        }),
    )
}
