//! Steps that change who the process is and what it may do, and the read-back that proves it.

use super::Failure;
use crate::plan::CapabilitySet;
use crate::sys::credentials::{self, CapabilitySets};

/// Drops every capability that is not in `keep`, up to the last one that the kernel knows: a newer kernel's
/// capabilities must not stay because we have no name for them.
pub(super) fn drop_bounding_set(keep: CapabilitySet) -> Result<(), Failure> {
    const EINVAL: i32 = 22;
    for bit in 0..64 {
        if keep.contains(bit) {
            continue;
        }
        match credentials::drop_from_bounding_set(bit) {
            Err(error) if error.errno == EINVAL => break,
            other => other.map_err(|error| Failure::new(error.errno, format!("capability {bit}")))?,
        }
    }
    Ok(())
}

/// The group first: afterwards the right to change it is gone.
pub(super) fn set_ids(uid: u32, gid: u32) -> Result<(), Failure> {
    credentials::set_gid(gid).map_err(|error| Failure::new(error.errno, format!("gid {gid}")))?;
    credentials::set_uid(uid).map_err(|error| Failure::new(error.errno, format!("uid {uid}")))
}

/// Effective, permitted and inheritable at once; then exactly the wanted ambient set.
pub(super) fn set_capabilities(
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
) -> Result<(), Failure> {
    let sets = CapabilitySets { effective: permitted.0, permitted: permitted.0, inheritable: inheritable.0 };
    credentials::set_capabilities(sets)?;
    credentials::clear_ambient_set()?;
    for bit in (0..64).filter(|bit| ambient.contains(*bit)) {
        credentials::raise_ambient(bit)
            .map_err(|error| Failure::new(error.errno, format!("ambient capability {bit}")))?;
    }
    Ok(())
}

/// What `VerifyCredentials` expects.
pub(super) struct Expected<'a> {
    pub uid: u32,
    pub gid: u32,
    pub groups: Option<&'a [u32]>,
    pub bounding: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
    pub no_new_privileges: bool,
}

/// Compares with what the kernel says; the detail names every difference.
pub(super) fn verify(expected: &Expected<'_>) -> Result<(), Failure> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, found: String, wanted: String| {
        if found != wanted {
            differences.push(format!("{what} is {found}, not {wanted}"));
        }
    };
    compare("uid", format!("{:?}", credentials::uids()?), format!("{:?}", [expected.uid; 3]));
    compare("gid", format!("{:?}", credentials::gids()?), format!("{:?}", [expected.gid; 3]));
    if let Some(groups) = expected.groups {
        let mut wanted = groups.to_vec();
        wanted.sort_unstable();
        compare("list of groups", format!("{:?}", credentials::groups()?), format!("{wanted:?}"));
    }
    let (bounding, last) = credentials::bounding_set()?;
    let known = u64::MAX >> (63 - last.min(63));
    let hex = |set: u64| format!("{set:#x}");
    compare("bounding set", hex(bounding), hex(expected.bounding.0 & known));
    let sets = credentials::capabilities()?;
    compare("permitted set", hex(sets.permitted), hex(expected.permitted.0));
    compare("effective set", hex(sets.effective), hex(expected.permitted.0));
    compare("inheritable set", hex(sets.inheritable), hex(expected.inheritable.0));
    compare("ambient set", hex(credentials::ambient_set()?), hex(expected.ambient.0));
    let no_new_privileges = credentials::has_no_new_privileges()?;
    compare("no_new_privs", no_new_privileges.to_string(), expected.no_new_privileges.to_string());
    if differences.is_empty() { Ok(()) } else { Err(Failure::new(0, differences.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        // A thread of the test keeps its own credentials; nothing is changed, so only the expectation is wrong.
        let (bounding, _) = credentials::bounding_set().unwrap();
        let sets = credentials::capabilities().unwrap();
        let [uid, ..] = credentials::uids().unwrap();
        let [gid, ..] = credentials::gids().unwrap();
        let ambient = credentials::ambient_set().unwrap();
        let mut expected = Expected {
            uid,
            gid,
            groups: None,
            bounding: CapabilitySet(bounding),
            permitted: CapabilitySet(sets.permitted),
            inheritable: CapabilitySet(sets.inheritable),
            ambient: CapabilitySet(ambient),
            no_new_privileges: credentials::has_no_new_privileges().unwrap(),
        };
        if sets.permitted == sets.effective {
            assert_eq!(verify(&expected), Ok(()));
        }
        expected.uid = uid + 1;
        expected.ambient = CapabilitySet(ambient ^ 1);
        expected.no_new_privileges ^= true;
        let failure = verify(&expected).unwrap_err();
        for word in ["uid is", "ambient set is", "no_new_privs is"] {
            assert!(failure.detail.contains(word), "{word} in {}", failure.detail);
        }
        assert!(!failure.detail.contains("bounding"));
    }
}
