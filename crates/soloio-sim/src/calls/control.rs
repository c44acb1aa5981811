//! Control data in C's form: descriptors that travel in messages, the size of segments.

use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{cmsghdr, msghdr};

use crate::world::unix::Right;
use crate::world::{Result, World};

/// What goes beside the bytes of a send.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) rights: Vec<Right>,
    /// The size of the datagrams to be made of it, or the error of that; `None` for the socket's.
    pub(super) segment: Option<Result<u16>>,
}

/// Reads the descriptors of a message to be sent. Other control data concerns parts that the world
/// does not simulate, and is ignored.
///
/// # Safety
///
/// The control data of `message` is valid.
pub(super) unsafe fn read(world: &mut World, message: &msghdr) -> Result<Vec<Right>> {
    let mut rights = Vec::new();
    // SAFETY: as the caller promises; libc's macros stay within the given length.
    unsafe {
        let mut header: *const cmsghdr = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let kind = ((*header).cmsg_level, (*header).cmsg_type);
            if kind == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                #[allow(clippy::unnecessary_cast, reason = "the type differs")]
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<i32>();
                for at in 0..bytes / size_of::<i32>() {
                    let fd = data.add(at).read_unaligned();
                    match right(world, fd) {
                        Ok(right) => rights.push(right),
                        Err(errno) => {
                            world.drop_rights(rights);
                            return Err(errno);
                        }
                    }
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    Ok(rights)
}

fn right(world: &mut World, fd: i32) -> Result<Right> {
    if super::kernel::is_number(fd) {
        let id = world.descriptors.id(fd)?;
        if let Some(description) = world.descriptors.objects.get_mut(&id) {
            description.references += 1;
        }
        return Ok(Right::Object(id));
    }
    // SAFETY: no memory is passed; a closed number is an error.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(libc::EBADF);
    }
    // SAFETY: the call above just opened it.
    Ok(Right::Real(unsafe { OwnedFd::from_raw_fd(copy) }))
}

/// Hands over the descriptors of a received message, as many as there is room for.
///
/// # Safety
///
/// The control room of `message` is valid.
pub(super) unsafe fn write(
    world: &mut World,
    message: &mut msghdr,
    rights: Vec<Right>,
    cloexec: bool,
) {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    let room = message.msg_controllen as usize;
    message.msg_controllen = 0;
    if rights.is_empty() {
        return;
    }
    // SAFETY: pure arithmetic.
    let head = unsafe { libc::CMSG_LEN(0) } as usize;
    let most = room.saturating_sub(head) / size_of::<i32>();
    let mut numbers = Vec::new();
    let mut rights = rights.into_iter();
    let mut cut = false;
    for right in rights.by_ref().take(most) {
        match right {
            Right::Real(fd) => {
                numbers.push(fd.as_raw_fd());
                // The program owns it from here on.
                std::mem::forget(fd);
            }
            Right::Object(id) => {
                let named = world.name_object(id, cloexec, 0);
                // The message's own reference is released.
                world.release(id);
                match named {
                    Ok(fd) => numbers.push(fd),
                    Err(_) => {
                        cut = true;
                        break;
                    }
                }
            }
        }
    }
    let left: Vec<Right> = rights.collect();
    if cut || !left.is_empty() {
        message.msg_flags |= libc::MSG_CTRUNC;
    }
    world.drop_rights(left);
    if numbers.is_empty() {
        return;
    }
    let bytes = u32::try_from(numbers.len() * size_of::<i32>()).expect("253 numbers at most");
    // SAFETY: there is room for a header and this many numbers, as computed above.
    unsafe {
        let header = message.msg_control.cast::<cmsghdr>();
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
        let data = libc::CMSG_DATA(header).cast::<i32>();
        for (at, fd) in numbers.iter().enumerate() {
            data.add(at).write_unaligned(*fd);
        }
        message.msg_controllen = (libc::CMSG_SPACE(bytes) as usize).min(room) as _;
    }
}

/// Reads the size of the segments that a message of UDP is to be cut into. Other control data of
/// UDP is an error, as in Linux; that of other levels is ignored.
///
/// # Safety
///
/// The control data of `message` is valid.
pub(super) unsafe fn read_segment(message: &msghdr) -> Option<Result<u16>> {
    let mut size = None;
    // SAFETY: as the caller promises; libc's macros stay within the given length.
    unsafe {
        let mut header: *const cmsghdr = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_UDP {
                let expected = libc::CMSG_LEN(2) as usize;
                #[allow(clippy::unnecessary_cast, reason = "the type differs")]
                let length = (*header).cmsg_len as usize;
                if (*header).cmsg_type != libc::UDP_SEGMENT || length != expected {
                    return Some(Err(libc::EINVAL));
                }
                size = Some(Ok(libc::CMSG_DATA(header).cast::<u16>().read_unaligned()));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    size
}

/// Hands over the size of the datagrams in a message, as far as there is room.
///
/// # Safety
///
/// The control room of `message` is valid.
pub(super) unsafe fn write_segment(message: &mut msghdr, size: usize) {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    let room = message.msg_controllen as usize;
    message.msg_controllen = 0;
    // SAFETY: pure arithmetic.
    let (whole, space) = unsafe { (libc::CMSG_LEN(4) as usize, libc::CMSG_SPACE(4) as usize) };
    if message.msg_control.is_null() || room < whole {
        message.msg_flags |= libc::MSG_CTRUNC;
    }
    if message.msg_control.is_null() || room < size_of::<cmsghdr>() {
        return;
    }
    let length = whole.min(room);
    let bytes = i32::try_from(size).expect("16 bits").to_ne_bytes();
    // SAFETY: there is room for a header and so many bytes, as computed above.
    unsafe {
        let header = message.msg_control.cast::<cmsghdr>();
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_GRO;
        (*header).cmsg_len = length as _;
        let count = length - size_of::<cmsghdr>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), libc::CMSG_DATA(header), count);
        message.msg_controllen = space.min(room) as _;
    }
}
