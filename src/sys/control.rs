//! Control data: the data beside the bytes of a message (unix(7), udp(7)).
//!
//! The kernel adds all control data that the socket's options request, also if other code has set
//! them. It is parsed by hand and never past the length that the kernel has written: Apple's
//! systems leave a length in a truncated header that is larger than the buffer.

/// The size of a header, with the padding before its data.
pub(super) const HEADER: usize = {
    // SAFETY: pure arithmetic.
    unsafe { libc::CMSG_LEN(0) as usize }
};

/// The size of a message with `data` bytes, with the padding after them.
#[allow(clippy::cast_possible_truncation, reason = "4 KiB at most")]
pub(super) const fn space(data: usize) -> usize {
    // SAFETY: pure arithmetic.
    unsafe { libc::CMSG_SPACE(data as libc::c_uint) as usize }
}

/// Each message begins at a multiple of this.
const ALIGN: usize = space(1) - space(0);

/// Writes a message at the beginning of `room`, which is zeroed and large enough; returns its
/// space.
pub(super) fn put(room: &mut [u8], (level, kind): Kind, data: &[u8]) -> usize {
    let space = space(data.len());
    let room = &mut room[..space];
    room[HEADER..][..data.len()].copy_from_slice(data);
    // SAFETY: a header is integers, valid as zeros; there is room for one, which need not be
    // aligned.
    unsafe {
        let mut header: libc::cmsghdr = std::mem::zeroed();
        header.cmsg_level = level;
        header.cmsg_type = kind;
        header.cmsg_len = (HEADER + data.len()) as _;
        room.as_mut_ptr()
            .cast::<libc::cmsghdr>()
            .write_unaligned(header);
    }
    space
}

/// Level and type of a control message.
pub(super) type Kind = (i32, i32);

/// Iterates over the messages in control data. It is pure, and trusts no length in the data beyond
/// the data's own.
pub(super) fn messages(control: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    let mut rest = control;
    std::iter::from_fn(move || {
        let (kind, length) = header(rest)?;
        let data = &rest[HEADER..length];
        rest = rest
            .get(length.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some((kind, data))
    })
}

/// Returns level and type of the first message, and its length as far as it is inside.
fn header(control: &[u8]) -> Option<(Kind, usize)> {
    if control.len() < HEADER {
        return None;
    }
    // SAFETY: a header is integers, for which all bytes are good, and so many bytes are there; it
    // need not be aligned.
    let header: libc::cmsghdr =
        unsafe { control.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    let length = (header.cmsg_len as usize).min(control.len());
    // With a length below the header's own the iteration would never end.
    (length >= HEADER).then_some(((header.cmsg_level, header.cmsg_type), length))
}
