//! Values as TOML text, for `rsvc show`: what is printed decodes to the same value.

use super::decode::{UserWord, Value, condition};
use super::value;
use super::{
    Condition, ConditionTest, DeviceAllow, ExecCommand, Isolation, NetworkMode, PathEntry, RestrictNamespaces, Upper,
};
use crate::plan::{BlockDevice, DeviceType};
use std::path::Path;

/// Prints one value.
pub(super) fn toml(value: &Value) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Factor(f) => format!("{f:?}"),
        Value::Count(None) => quote("infinity"),
        Value::Count(Some(n)) => n.to_string(),
        Value::Text(text) => quote(text),
        Value::Texts(texts) => array(texts.iter().map(|t| quote(t))),
        Value::Size(bytes) => quote(&value::print_byte_size(*bytes)),
        Value::Time(span) => quote(&value::print_time_span(*span)),
        Value::Mode(mode) => quote(&value::print_mode(*mode)),
        Value::Signal(signal) => quote(&value::print_signal(signal.number())),
        Value::Word(word) => quote(word),
        Value::Argv(argv) => array(argv.iter().map(|a| quote(a))),
        Value::Commands(commands) => array(commands.iter().map(command)),
        Value::Account(account) => quote(&value::print_account(account)),
        Value::Accounts(accounts) => array(accounts.iter().map(|a| quote(&value::print_account(a)))),
        Value::Path(file) => path(file),
        Value::Paths(paths) => array(paths.iter().map(path_entry)),
        Value::PlainPaths(paths) => array(paths.iter().map(|p| path(p))),
        Value::Variables(all) => table(all.iter().map(|(name, value)| format!("{name} = {}", quote(value)))),
        Value::CredentialPaths(all) => {
            table(all.iter().map(|(name, entry)| format!("{} = {}", quote(name), path_entry(entry))))
        }
        // Whoever may ask a daemon what a unit says may not always read its file.
        Value::CredentialTexts(all) => {
            table(all.iter().map(|(name, text)| format!("{} = \"({} bytes)\"", quote(name), text.len())))
        }
        Value::Statuses(set) => array(value::print_statuses(set).into_iter()),
        Value::Addresses(all) => array(all.iter().map(|a| quote(&value::print_listen_address(a)))),
        Value::SocketAddress(address) => quote(&value::print_socket_address(address)),
        Value::Calendar(calendar) => quote(calendar.text()),
        Value::Devices(devices) => array(devices.iter().map(device)),
        Value::Namespace(isolation) => match isolation {
            Isolation::Private => quote("private"),
            Isolation::Host => quote("host"),
            Isolation::Path(file) => quote(&format!("path:{}", file.display())),
            Isolation::Unit(name) => quote(&format!("unit:{name}")),
        },
        Value::User(word) => match word {
            UserWord::Host => quote("host"),
            UserWord::Identity => quote("identity"),
            UserWord::Auto => quote("auto"),
            UserWord::Mapped => quote("mapped"),
            UserWord::Path(file) => quote(&format!("path:{}", file.display())),
        },
        Value::Network(mode) => match mode {
            NetworkMode::Host => quote("host"),
            NetworkMode::Loopback => quote("loopback"),
            NetworkMode::Path(file) => quote(&format!("path:{}", file.display())),
            NetworkMode::Unit(name) => quote(&format!("unit:{name}")),
        },
        Value::Mappings(all) => array(all.iter().map(|(inside, outside, size)| {
            format!("{{ container_id = {inside}, host_id = {outside}, size = {size} }}")
        })),
        Value::Families(None) => "[\"all\"]".to_owned(),
        Value::Families(Some(families)) => array(families.iter().map(|f| quote(&f.name))),
        Value::Ports(None) => "[\"all\"]".to_owned(),
        Value::Ports(Some(rules)) => array(rules.iter().map(|rule| quote(&value::print_port_rule(rule)))),
        Value::Capabilities(set) => array(value::print_capabilities(*set).iter().map(|c| quote(c))),
        Value::Errno(number) => quote(&value::print_errno(*number)),
        Value::Upper(upper) => match upper {
            Upper::Ephemeral => quote("ephemeral"),
            Upper::Persistent => quote("persistent"),
            Upper::Path(file) => path(file),
        },
        Value::NamespaceKinds(RestrictNamespaces::No) => "false".to_owned(),
        Value::NamespaceKinds(RestrictNamespaces::Except(kinds)) if kinds.is_empty() => "true".to_owned(),
        Value::NamespaceKinds(RestrictNamespaces::Except(kinds)) => array(kinds.iter().map(|k| quote(k))),
        Value::CpuShare(share) => value::print_cpu_share(*share),
        Value::Conditions(all) => conditions(all),
        Value::IoMax(all) => array(all.iter().map(io_max)),
        Value::HugePages(all) => table(
            all.iter().map(|(size, bytes)| format!("{} = {}", quote(size), quote(&value::print_byte_size(*bytes)))),
        ),
        Value::Limit(soft, hard) => {
            let one = |n: u64| if n == u64::MAX { "infinity".to_owned() } else { n.to_string() };
            quote(&format!("{}:{}", one(*soft), one(*hard)))
        }
    }
}

/// A basic string of TOML.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", items.join(", ")) }
}

fn conditions(all: &[Condition]) -> String {
    let entries = condition::NAMES.iter().filter_map(|name| {
        let of: Vec<&Condition> = all.iter().filter(|condition| condition.test.key() == *name).collect();
        match of.first() {
            None => None,
            Some(first) if first.test == ConditionTest::FirstBoot => Some(format!("{name} = {}", !first.negated)),
            Some(_) => Some(format!("{name} = {}", array(of.iter().map(|condition| quote(&condition.text()))))),
        }
    });
    table(entries)
}

fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

fn path_entry(entry: &PathEntry) -> String {
    quote(&format!("{}{}", if entry.optional { "-" } else { "" }, entry.path.display()))
}

fn command(command: &ExecCommand) -> String {
    let argv = array(command.argv.iter().map(|a| quote(a)));
    if command.ignore_failure { format!("{{ argv = {argv}, ignore_failure = true }}") } else { argv }
}

fn device(device: &DeviceAllow) -> String {
    let letters = |r: bool, w: bool, m: bool| {
        let letters = [(r, 'r'), (w, 'w'), (m, 'm')];
        quote(&letters.iter().filter(|(on, _)| *on).map(|(_, c)| *c).collect::<String>())
    };
    match device {
        DeviceAllow::Path { path: node, read, write, mknod } => {
            format!("{{ path = {}, access = {} }}", path(node), letters(*read, *write, *mknod))
        }
        DeviceAllow::Number(rule) => {
            let kind = match rule.kind {
                DeviceType::Char => "char",
                DeviceType::Block => "block",
            };
            let number = |n: Option<u32>| n.map_or_else(|| quote("*"), |n| n.to_string());
            let access = letters(rule.read, rule.write, rule.mknod);
            let (major, minor) = (number(rule.major), number(rule.minor));
            format!("{{ type = \"{kind}\", major = {major}, minor = {minor}, access = {access} }}")
        }
    }
}

fn io_max(limit: &crate::plan::IoMax) -> String {
    let device = match &limit.device {
        BlockDevice::Number(major, minor) => format!("{major}:{minor}"),
        BlockDevice::Path(path) => path.clone(),
    };
    let amounts = [("rbps", limit.rbps), ("wbps", limit.wbps), ("riops", limit.riops), ("wiops", limit.wiops)];
    let mut fields = vec![format!("device = {}", quote(&device))];
    for (name, amount) in amounts {
        match amount {
            Some(n) => fields.push(format!("{name} = {n}")),
            // A table that limits nothing is refused; one explicit "infinity" keeps it readable.
            None if fields.len() == 1 && name == "wiops" => fields.push(format!("{name} = \"infinity\"")),
            None => {}
        }
    }
    format!("{{ {} }}", fields.join(", "))
}
