//! One arm for each [`Kind`]: TOML value → [`Value`].

use super::shape::{each, list, parsed};
use super::value::Value;
use super::{Sink, command, condition, number, tables, word};
use crate::plan::CapabilitySet;
use crate::unit::keys::Kind;
use crate::unit::value;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Decodes one value; the places of a list's elements go to `items`.
pub(super) fn decode(
    sink: &mut Sink<'_>,
    kind: Kind,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Value> {
    match kind {
        Kind::Bool => number::boolean(sink, key, value).map(Value::Bool),
        Kind::Int { min, max } => number::integer(sink, key, value, min, max).map(Value::Int),
        Kind::Factor => number::factor(sink, key, value).map(Value::Factor),
        Kind::Count => number::count(sink, key, value).map(Value::Count),
        Kind::Text => word::text(sink, key, value).map(Value::Text),
        Kind::Texts => list(sink, key, value, items, |_, t| word::one_line(t)).map(Value::Texts),
        Kind::ProcessLabel => parsed(sink, key, value, "a string", |t| word::process_label(key, t)).map(Value::Text),
        Kind::Hostname => parsed(sink, key, value, "a host name", word::hostname).map(Value::Text),
        Kind::Size { min } => number::size(sink, key, value, min).map(Value::Size),
        Kind::FiniteSize => number::finite_size(sink, key, value).map(Value::Size),
        Kind::Timeout => number::timeout(sink, key, value).map(Value::Time),
        Kind::Delay => number::delay(sink, key, value).map(Value::Time),
        Kind::Mode => number::mode(sink, key, value).map(Value::Mode),
        Kind::Signal => number::signal(sink, key, value).map(Value::Signal),
        Kind::Word { words, later } => word::word(sink, key, value, words, later).map(Value::Word),
        Kind::Argv => command::argv(sink, key, value, items).map(Value::Argv),
        Kind::Commands => command::commands(sink, key, value).map(Value::Commands),
        Kind::Account => word::account(sink, key, value).map(Value::Account),
        Kind::Accounts => each(sink, key, value, items, word::account).map(Value::Accounts),
        Kind::Path => parsed(sink, key, value, "an absolute path", value::absolute_path).map(Value::Path),
        Kind::Paths => list(sink, key, value, items, |_, t| word::path_entry(t)).map(Value::Paths),
        Kind::PlainPaths => list(sink, key, value, items, |_, t| value::absolute_path(t)).map(Value::PlainPaths),
        Kind::VariableNames => list(sink, key, value, items, |_, t| {
            value::environment_name(t)?;
            Ok(t.to_owned())
        })
        .map(Value::Texts),
        Kind::Units => {
            list(sink, key, value, items, |_, t| value::unit_name(t).map(|()| t.to_owned())).map(Value::Texts)
        }
        Kind::UnitName => {
            parsed(sink, key, value, "a name", |t| value::unit_name(t).map(|()| t.to_owned())).map(Value::Text)
        }
        Kind::Variables => tables::texts(sink, key, value, value::environment_name).map(Value::Variables),
        Kind::JournalFields => tables::texts(sink, key, value, value::journal_field).map(Value::Variables),
        Kind::CredentialPaths => tables::credential_paths(sink, key, value, items).map(Value::CredentialPaths),
        Kind::CredentialTexts => tables::credential_texts(sink, key, value, items).map(Value::CredentialTexts),
        Kind::Statuses => number::statuses(sink, key, value).map(Value::Statuses),
        Kind::Addresses => list(sink, key, value, items, |_, t| value::listen_address(t)).map(Value::Addresses),
        Kind::SocketAddress => parsed(sink, key, value, "an address", value::socket_address).map(Value::SocketAddress),
        Kind::Calendar => parsed(sink, key, value, "a time of the calendar", value::calendar).map(Value::Calendar),
        Kind::DirectoryNames => list(sink, key, value, items, |_, t| value::directory_name(t)).map(Value::PlainPaths),
        Kind::Namespace => {
            parsed(sink, key, value, "a word or \"path:FILE\"", |t| word::namespace(key, t)).map(Value::Namespace)
        }
        Kind::UserNamespace => {
            parsed(sink, key, value, "a word or \"path:FILE\"", |t| word::user_namespace(key, t)).map(Value::User)
        }
        Kind::Network => {
            parsed(sink, key, value, "a word or \"path:FILE\"", |t| word::network(key, t)).map(Value::Network)
        }
        Kind::Peers => list(sink, key, value, items, |_, t| value::peers(t).map(|_| t.to_owned())).map(Value::Texts),
        Kind::Families => word::families(sink, key, value, items),
        Kind::Ports => word::ports(sink, key, value, items),
        Kind::Capabilities => list(sink, key, value, items, |_, t| value::capability(t))
            .map(|sets| Value::Capabilities(CapabilitySet(sets.iter().fold(0, |all, set| all | set.0)))),
        Kind::Syscalls => list(sink, key, value, items, |_, t| value::syscall_name(t)).map(Value::Texts),
        Kind::Architectures => list(sink, key, value, items, |_, t| word::architecture(t)).map(Value::Texts),
        Kind::Errno => number::errno(sink, key, value).map(Value::Errno),
        Kind::Upper => parsed(sink, key, value, "a word or a path", |t| word::upper(key, t)).map(Value::Upper),
        Kind::NamespaceKinds => word::namespace_kinds(sink, key, value, items).map(Value::NamespaceKinds),
        Kind::Keys => list(sink, key, value, items, |_, t| word::optional_key(t)).map(Value::Texts),
        Kind::Devices => tables::devices(sink, key, value, items).map(Value::Devices),
        Kind::Mappings => tables::mappings(sink, key, value, items).map(Value::Mappings),
        Kind::CpuShare => tables::cpu_share(sink, key, value).map(Value::CpuShare),
        Kind::CpuList => parsed(sink, key, value, "a text such as \"0-3,8\"", value::cpu_list).map(Value::Text),
        Kind::Conditions => condition::conditions(sink, key, value).map(Value::Conditions),
        Kind::IoMax => tables::io_max(sink, key, value, items).map(Value::IoMax),
        Kind::HugePages => tables::huge_pages(sink, key, value).map(Value::HugePages),
        Kind::Limit(unit) => number::limit(sink, key, value, unit).map(|(soft, hard)| Value::Limit(soft, hard)),
        // Tables are walked by the caller; keys described in words are never supported.
        Kind::Table | Kind::Later(_) => None,
    }
}

/// Is the value a list, which a drop-in can edit?
pub(in crate::unit) fn is_list(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Texts
            | Kind::Argv
            | Kind::Commands
            | Kind::Accounts
            | Kind::Paths
            | Kind::PlainPaths
            | Kind::VariableNames
            | Kind::Units
            | Kind::Statuses
            | Kind::Addresses
            | Kind::DirectoryNames
            | Kind::Peers
            | Kind::Families
            | Kind::Ports
            | Kind::Capabilities
            | Kind::Syscalls
            | Kind::Architectures
            | Kind::Keys
            | Kind::Devices
            | Kind::Mappings
            | Kind::IoMax
    )
}
