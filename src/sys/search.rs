//! The C library's search for a byte, which std uses for no public function.

/// Returns the first position of a byte.
#[inline]
pub(crate) fn position(data: &[u8], byte: u8) -> Option<usize> {
    let start = data.as_ptr();
    // SAFETY: it reads the bytes of `data` and no others.
    let found = unsafe { libc::memchr(start.cast(), i32::from(byte), data.len()) };
    match found.is_null() {
        true => None,
        false => Some(found.addr() - start.addr()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_first_one() {
        let data: Vec<u8> = (0..=255).cycle().skip(128).take(600).collect();
        for from in 0..40 {
            for to in from..data.len() {
                let (data, byte) = (&data[from..to], data[to % 256]);
                let twin = data.iter().position(|other| *other == byte);
                assert_eq!(position(data, byte), twin);
            }
        }
        assert_eq!(position(&[], 0), None);
    }
}
