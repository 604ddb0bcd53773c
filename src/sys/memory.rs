//! The memory of this process, as far as it can be given back.

use std::ops::Range;

/// malloc_trim(3): free pages go back to the kernel, those between used ones too. Does nothing with another C library
/// than glibc.
pub fn give_back() {
    // SAFETY: takes a number, and touches only what is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Threads to come allocate from the one heap, which [`give_back`] can shrink and which is not copied to children
/// (mallopt(3), `M_ARENA_MAX`). Nothing with another C library than glibc.
pub fn one_heap() {
    // SAFETY: takes two numbers.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Gives back the pages of the program's code and constants, which the kernel maps again from its cache when they are
/// needed, and those of the stack that are deeper than it is now. What only the beginning needed does not come back.
pub fn give_back_program() {
    let mut all: Vec<Range<usize>> = Vec::new();
    // SAFETY: the callback gets the vector that it expects, for as long as the call lasts.
    unsafe { libc::dl_iterate_phdr(Some(note_constant_segments), (&raw mut all).cast()) };
    all.extend(unused_stack());
    // SAFETY: takes a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 * 1024);
    for range in all {
        let (start, end) = (range.start.next_multiple_of(page), range.end & !(page - 1));
        if start < end {
            // SAFETY: nothing is ever written to the segments, so the file has the same, whoever reads them meanwhile;
            // below the stack's end nothing is read before it is written.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
}

/// What may be in use of the stack beyond a variable of [`unused_stack`], with much to spare.
const MARGIN: usize = 16 * 1024;

/// Notes the segments of the program itself that cannot be written, and looks at no other object. The part that only
/// becomes read-only after relocation lies in one that can.
unsafe extern "C" fn note_constant_segments(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    all: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library gives a valid description with a valid table, and `give_back_program` its vector.
    let (object, all) = unsafe { (&*object, &mut *all.cast::<Vec<Range<usize>>>()) };
    if object.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: as above.
    let segments = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    for segment in segments.iter().filter(|s| s.p_type == libc::PT_LOAD && s.p_flags & libc::PF_W == 0) {
        let start = object.dlpi_addr as usize + segment.p_vaddr as usize;
        all.push(start..start + segment.p_memsz as usize);
    }
    1 // The program is the first.
}

/// What the first thread's stack has below its present end, with a margin for who asks.
fn unused_stack() -> Option<Range<usize>> {
    let here = 0_u8;
    let here = (&raw const here) as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16));
    let stack = start.ok()?..end.ok()?;
    stack.contains(&here).then(|| stack.start..here.saturating_sub(MARGIN))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let blocks: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 10_000]).collect();
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(2).collect();
        super::give_back();
        super::give_back_program();
        assert!(kept.iter().enumerate().all(|(n, block)| block.iter().all(|byte| usize::from(*byte) == 2 * n)));
    }

    #[test]
    fn what_is_written_is_not_among_the_constant_segments() {
        static WRITTEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(7);
        static CONSTANT: [u8; 4096] = [7; 4096];
        let mut all: Vec<std::ops::Range<usize>> = Vec::new();
        // SAFETY: as in `give_back_program`.
        unsafe { libc::dl_iterate_phdr(Some(super::note_constant_segments), (&raw mut all).cast()) };
        let holds = |address: usize| all.iter().any(|range| range.contains(&address));
        assert!(holds((&raw const CONSTANT) as usize) && holds(super::give_back as fn() as usize), "{all:x?}");
        assert!(!holds((&raw const WRITTEN) as usize) && !holds((&raw const all) as usize), "{all:x?}");
    }
}
