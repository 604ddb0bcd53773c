//! The allocator's memory.

/// malloc_trim(3): free pages go back to the kernel, those between used ones too. Does nothing with another C library
/// than glibc.
pub fn give_back() {
    // SAFETY: takes a number, and touches only what is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let blocks: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 10_000]).collect();
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(2).collect();
        super::give_back();
        assert!(kept.iter().enumerate().all(|(n, block)| block.iter().all(|byte| usize::from(*byte) == 2 * n)));
    }
}
