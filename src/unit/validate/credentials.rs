//! `[credentials]`: one name is one file, and what stands in a unit file is no secret.

use super::super::MOST_CREDENTIALS;
use super::super::decode::Sink;
use super::super::problem::Code;
use super::Checked;
use crate::plan::CREDENTIALS_SIZE;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let Some(credentials) = &c.settings.credentials else { return };
    if let Some(place) = c.values.place("credentials", "load")
        && credentials.load.len() > MOST_CREDENTIALS
    {
        let message = format!("a unit has at most {MOST_CREDENTIALS} credentials from files");
        sink.add(Code::OutOfRange, place.key.clone(), "credentials.load", message, None);
    }
    let Some(place) = c.values.place("credentials", "set") else { return };
    let key = "credentials.set";
    for ((name, _), item) in credentials.set.iter().zip(&place.items) {
        if credentials.load.iter().any(|(loaded, entry)| loaded == name && !entry.optional) {
            let message = format!("`{}` would never be used: credentials.load has it too", name.escape_debug());
            let help = "write the path there with a leading `-`, so that the file may be missing";
            sink.add(Code::Conflict, item.clone(), key, message, Some(help.to_owned()));
        }
    }
    let size: usize = credentials.set.iter().map(|(_, text)| text.len()).sum();
    if size as u64 > CREDENTIALS_SIZE {
        let message = "all credentials together are larger than 1 MiB";
        sink.add(Code::OutOfRange, place.key.clone(), key, message, None);
    }
    if !credentials.set.is_empty() {
        let message = "everybody can read unit files, so what stands here is no secret";
        let help = "load secrets from a file that only root can read: `credentials.load`";
        sink.add(Code::PlainCredential, place.key.clone(), key, message, Some(help.to_owned()));
    }
}
