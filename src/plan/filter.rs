//! The program of a system-call filter, as a plan has it.

use serde::{Deserialize, Serialize};

/// A system-call filter program, as the kernel takes it: pairs of code, jt, jf, k.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterProgram(pub Vec<(u16, u8, u8, u32)>);

impl FilterProgram {
    /// Does it leave answers to a listener (SECCOMP_RET_USER_NOTIF)? Then one must be there before it is loaded.
    pub fn asks_listener(&self) -> bool {
        const RETURN: u16 = 0x06;
        const ACTION: u32 = 0xffff_0000;
        const NOTIFY: u32 = 0x7fc0_0000;
        self.0.iter().any(|&(code, _, _, value)| code == RETURN && value & ACTION == NOTIFY)
    }
}
