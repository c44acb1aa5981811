//! libc's own functions, for calls outside of any world.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Finds the next definition of a symbol, once.
pub(crate) fn find(name: &CStr, found: &AtomicPtr<c_void>) -> *mut c_void {
    let known = found.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name ends in a NUL; RTLD_NEXT asks for the definition behind this one.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if next.is_null() {
        // Not a panic: a panic would make calls that end here again.
        // SAFETY: it does not return.
        unsafe { libc::abort() };
    }
    found.store(next, Ordering::Relaxed);
    next
}

/// Calls libc's function of a name: `real!(recv(fd: c_int, ...) -> ssize_t)`.
macro_rules! real {
    ($name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty) => {{
        static FOUND: std::sync::atomic::AtomicPtr<std::ffi::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        const NAME: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
            concat!(stringify!($name), "\0").as_bytes(),
        ) {
            Ok(name) => name,
            Err(_) => panic!("a name without a NUL"),
        };
        let found = $crate::calls::real::find(NAME, &FOUND);
        // SAFETY: libc's function of this name has this type, and the caller of ours keeps to its
        // contract.
        unsafe {
            let function: unsafe extern "C" fn($($type),*) -> $ret = std::mem::transmute(found);
            function($($arg),*)
        }
    }};
}
pub(crate) use real;
