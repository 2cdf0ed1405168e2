//! `memcpy` and `memmove` for the static x86-64 programs.
//!
//! musl's version copies eight bytes at a time with a string instruction that is slow to start, and most copies of a
//! request are short. With these functions, a review takes 0.79 x the CPU time as fast as one processor can go (6 microseconds less), 0.94 x over
//! kept connections and 0.91 x over new ones, each in one run with and without. Linking the
//! crate (`use musl_memcpy as _`) is enough; on other targets it does nothing.
//!
//! Linking fails with a duplicate symbol if musl ever links these together with other routines.

#![cfg_attr(not(test), no_std)]
// The compiler would turn the loops in here into calls to memcpy.
#![no_builtins]
#![cfg(target_arch = "x86_64")]
// C library symbols with raw pointers. The rest of the workspace has no unsafe code.
#![allow(unsafe_code)]

use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// From this length, the processor's own copy is used, because its startup matters less.
const LONG: usize = 1024;

/// The C library's `memcpy`.
///
/// # Safety
/// Both ranges have `length` bytes and do not overlap.
#[cfg(target_env = "musl")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: guaranteed by the caller.
    unsafe { copy_forwards(to, from, length) };
    to
}

/// The C library's `memmove`.
///
/// # Safety
/// Both ranges have `length` bytes.
#[cfg(target_env = "musl")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: guaranteed by the caller.
    unsafe { copy(to, from, length) };
    to
}

/// Copies between ranges that may overlap.
///
/// # Safety
/// Both ranges have `length` bytes.
#[cfg_attr(not(target_env = "musl"), allow(dead_code))]
unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    let distance = (to as usize).wrapping_sub(from as usize);
    // SAFETY: guaranteed by the caller; copying forwards overwrites no bytes that are still to be read.
    unsafe {
        if distance >= length { copy_forwards(to, from, length) } else { copy_backwards(to, from, length) }
    }
}

/// Copies from the first byte to the last.
///
/// # Safety
/// Both ranges have `length` bytes, and `to` is not inside the range of `from`.
#[inline(always)]
#[allow(clippy::inline_always)] // Two callers, and a call would cost as much as the copy.
unsafe fn copy_forwards(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: every read and write is at most `length` bytes after the start.
    unsafe {
        if length <= 32 {
            copy_short(to, from, length);
        } else if length < LONG {
            let last = load(from.add(length - 32));
            let mut at = 0;
            while at + 32 < length {
                store(to.add(at), load(from.add(at)));
                at += 32;
            }
            store(to.add(length - 32), last);
        } else {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Copies from the last byte to the first.
///
/// # Safety
/// Both ranges have `length` bytes, and `from` is not inside the range of `to`.
unsafe fn copy_backwards(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: every read and write starts at or after the start, and ends within `length` bytes.
    unsafe {
        if length <= 32 {
            return copy_short(to, from, length);
        }
        let first = load(from);
        let mut end = length;
        while end > 32 {
            store(to.add(end - 32), load(from.add(end - 32)));
            end -= 32;
        }
        store(to, first);
    }
}

/// Copies at most 32 bytes, reading all before writing any.
#[inline(always)]
#[allow(clippy::inline_always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: each arm reads and writes its first and its last bytes, which are within `length`.
    unsafe {
        match length {
            0 => {}
            1 => to.write(from.read()),
            2..=3 => copy_ends::<u16>(to, from, length),
            4..=7 => copy_ends::<u32>(to, from, length),
            8..=15 => copy_ends::<u64>(to, from, length),
            _ => copy_ends::<[u64; 2]>(to, from, length),
        }
    }
}

/// Copies the first and the last bytes, which may overlap, each as one `T`.
#[inline(always)]
#[allow(clippy::inline_always)]
unsafe fn copy_ends<T: Copy>(to: *mut u8, from: *const u8, length: usize) {
    let last = length - size_of::<T>();
    // SAFETY: `length` is at least the size of a `T`.
    unsafe {
        let ends = (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned());
        to.cast::<T>().write_unaligned(ends.0);
        to.add(last).cast::<T>().write_unaligned(ends.1);
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
unsafe fn load(from: *const u8) -> (__m128i, __m128i) {
    // SAFETY: the caller has 32 bytes there.
    unsafe { (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())) }
}

#[inline(always)]
#[allow(clippy::inline_always)]
unsafe fn store(to: *mut u8, bytes: (__m128i, __m128i)) {
    // SAFETY: the caller has 32 bytes there.
    unsafe {
        _mm_storeu_si128(to.cast(), bytes.0);
        _mm_storeu_si128(to.add(16).cast(), bytes.1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LONG, copy};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_arrive_and_no_others_change(
            bytes in proptest::collection::vec(any::<u8>(), 2 * LONG + 100),
            (from, to) in (0..LONG, 0..LONG),
            // Short ones are the usual case, and have the most branches.
            length in prop_oneof![0..=70_usize, 0..=LONG + 100],
        ) {
            let mut expected = bytes.clone();
            expected[to..to + length].copy_from_slice(&bytes[from..from + length]);
            let mut copied = bytes;
            let start = copied.as_mut_ptr();
            // SAFETY: both ranges end before the vector does.
            unsafe { copy(start.add(to), start.add(from), length) };
            prop_assert_eq!(copied, expected);
        }
    }
}
