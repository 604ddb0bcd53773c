//! `unit.replicas`: only for templates of services that stay.

use super::super::decode::{Sink, Source};
use super::super::problem::Code;
use super::super::{ServiceType, UnitText};
use super::Checked;
use std::path::Path;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>, texts: &[UnitText<'_>]) {
    let (name, unit) = (&c.settings.name, &c.settings.unit);
    if unit.replicas.is_none() {
        return;
    }
    let place = c.value_place("unit", "replicas");
    let Some((template, _)) = name.split_once('@') else {
        let message = "`replicas` is for templates, and this unit is none";
        let help = format!("name the file {name}@.toml: its replicas are {name}@1, {name}@2 and so on");
        return sink.add(Code::Conflict, place, "unit.replicas", message, Some(help));
    };
    if let Some(entry) = c.values.get("unit", "replicas")
        && let Source::File(written) = &entry.source
        && let Some(text) = texts.get(usize::from(sink.locate(written.key.start).file))
        && is_of_one(Path::new(text.file), name)
    {
        let message = "`replicas` is for the whole template, and this text is for one instance";
        let help = format!("write it into {template}@.toml or a drop-in in {template}@.d");
        return sink.add(Code::Conflict, place, "unit.replicas", message, Some(help));
    }
    if c.settings.service.kind == ServiceType::Oneshot {
        let message = "`replicas` of a oneshot service would be started again and again: none of them stays up";
        let help = "leave `replicas` away and start its instances by their names".to_owned();
        sink.add(Code::Conflict, place, "unit.replicas", message, Some(help));
    }
}

/// Is this the file of the instance itself, or a drop-in of it?
fn is_of_one(file: &Path, instance: &str) -> bool {
    let own = file.file_stem().is_some_and(|stem| stem == instance);
    let drop_in = file.parent().and_then(Path::file_name).is_some_and(|name| *name == *format!("{instance}.d"));
    own || drop_in
}
