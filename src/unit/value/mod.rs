//! The little languages inside values: sizes, durations, modes, names of the kernel, paths, accounts, addresses.
//!
//! Each has a parser from the text and a printer back; a printed value parses to the same value. Own code, as the
//! crates at hand read `64M` as 64,000,000 or accept more than a unit should. Nothing here looks at the host: whether
//! a user or a path exists is asked later, by others.

mod address;
mod calendar;
mod name;
mod peers;
mod port;
mod quantity;
mod text;

pub(super) use address::micros;
pub use address::{
    cpu_list, cpu_share, device_number, listen_address, print_cpu_share, print_listen_address, print_socket_address,
    print_statuses, socket_address, status,
};
pub use calendar::{Calendar, calendar};
pub use name::{
    address_family, capability, errno, is_syscall_group, limit_name, limit_resource, print_capabilities, print_errno,
    print_signal, signal, syscall_name,
};
pub use peers::peers;
pub use port::{port_rule, print_port_rule};
pub use quantity::{ByteSize, TimeSpan, byte_size, print_byte_size, print_time_span, time_span};
pub use text::{
    absolute_path, account, command_line, credential_name, directory_name, environment_name, file_mode, journal_field,
    print_account, print_mode, reserved_name, unit_name,
};

use super::problem::Code;

/// A value that cannot be read: kind, cause and way out. The caller adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Kind.
    pub code: Code,
    /// One cause.
    pub message: String,
    /// One way out.
    pub help: Option<String>,
}

impl Bad {
    /// Without a way out.
    pub fn new(code: Code, message: impl Into<String>) -> Bad {
        Bad { code, message: message.into(), help: None }
    }

    /// With a way out.
    pub fn help(mut self, help: impl Into<String>) -> Bad {
        self.help = Some(help.into());
        self
    }
}

/// The candidate nearest to `word`, if it is near enough to be meant: at most one edit in three characters.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), &c.to_ascii_lowercase()), c))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests;
