//! Slices: the limits that several units have in common, one file `NAME.slice.toml` each.
//!
//! The keys are those of a unit's `[resources]` with the same meaning, so a slice is decoded, merged with its drop-ins
//! and checked by the same code; what is kept is the part that a group of groups can have.

use super::decode::FileKind;
use super::problem::Problem;
use super::{ParseOptions, Resources, Unit, UnitText};

/// A valid slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    unit: Unit,
}

impl Slice {
    /// Reads a slice from its file and its drop-ins, in the order in which they apply. `name` is without the suffix.
    ///
    /// # Errors
    /// As [`Unit::parse_texts`].
    ///
    /// # Panics
    /// Without any text.
    pub fn parse_texts(
        name: &str,
        texts: &[UnitText<'_>],
        options: ParseOptions<'_>,
    ) -> Result<(Slice, Vec<Problem>), Vec<Problem>> {
        let (unit, warnings) = Unit::parse_as(FileKind::Slice, name, texts, options)?;
        Ok((Slice { unit }, warnings))
    }

    /// Name, without the suffix.
    pub fn name(&self) -> &str {
        &self.unit.name
    }

    /// `slice.description`
    pub fn description(&self) -> Option<&str> {
        self.unit.unit.description.as_deref()
    }

    /// The common limits.
    pub fn resources(&self) -> &Resources {
        &self.unit.resources
    }

    /// As a unit, whose `[resources]` are those of the slice and of which nothing else means anything: for what is asked of
    /// units, such as the origin of a key.
    pub fn as_unit(&self) -> &Unit {
        &self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Slice, String> {
        let parsed =
            Slice::parse_texts("batch", &[UnitText { file: "batch.slice.toml", text }], ParseOptions::default());
        parsed
            .map(|(slice, _)| slice)
            .map_err(|problems| problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect())
    }

    #[test]
    fn a_slice_has_the_limits_that_it_says_and_no_others() {
        let slice =
            parse("[slice]\ndescription = \"night jobs\"\n\n[resources]\nmemory_max = \"64M\"\n").expect("valid");
        assert_eq!((slice.name(), slice.description()), ("batch", Some("night jobs")));
        let resources = slice.resources();
        assert_eq!(
            (resources.memory_max, resources.tasks_max, resources.memory_oom_group),
            (Some(64 << 20), None, false)
        );
        assert_eq!(parse("").expect("an empty slice limits nothing").resources().memory_max, None);
        let own = parse("[resources]\ntasks_max = 7\nmemory_oom_group = true\n").expect("valid");
        assert_eq!((own.resources().tasks_max, own.resources().memory_oom_group), (Some(7), true));
        assert!(own.as_unit().is_written("resources.tasks_max"));
    }

    #[test]
    fn what_is_for_units_is_refused_by_name() {
        for (text, word) in [
            ("[service]\nexec = [\"/bin/true\"]\n", "[service] is no table of a slice"),
            ("[resources]\ndelegate = true\n", "`resources.delegate` is for units"),
            ("[resources]\nslice = \"other\"\n", "`resources.slice` is for units"),
            ("[resources.rlimits]\nnofile = 7\n", "`resources.rlimits` is for units"),
            ("[resources]\nmemory_mx = \"1G\"\n", "unknown key `memory_mx`"),
            ("[slice]\nname = \"x\"\n", "unknown key `name`"),
            ("resources = 7\n", "takes a table"),
        ] {
            let problems = parse(text).expect_err(text);
            assert!(problems.contains(word), "{text}: {problems}");
        }
        let unit =
            Unit::parse("web", "web.toml", "[slice]\n\n[service]\nexec = [\"/bin/true\"]\n").expect_err("a unit");
        assert!(unit.iter().any(|problem| problem.message.contains("[slice] is no table of a unit")), "{unit:?}");
    }
}
