//! Labels that security modules give processes.

use serde::{Deserialize, Serialize};

/// A security module that labels processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityModule {
    /// AppArmor; its labels are names of profiles. Source: apparmor(7).
    AppArmor,
    /// SELinux; its labels are contexts. Source: selinux(8).
    SeLinux,
}

impl SecurityModule {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            SecurityModule::AppArmor => "AppArmor",
            SecurityModule::SeLinux => "SELinux",
        }
    }

    /// The key that asks for a label of it.
    pub const fn key(self) -> &'static str {
        match self {
            SecurityModule::AppArmor => "security.apparmor_profile",
            SecurityModule::SeLinux => "security.selinux_context",
        }
    }
}
