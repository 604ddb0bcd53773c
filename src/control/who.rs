//! Who may ask what. The kernel says who the peer is; this decides, before anything else of the call is looked at.

use super::Verb;

/// The process at the other end, as the kernel noted it at connect(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its host pid, 0 when it lives in a pid namespace that the daemon cannot see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// `daemon.status` of `/etc/rsvc/rsvc.toml`: who may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The setting's words.
pub enum Audience {
    #[default]
    Everyone,
    Group,
    Root,
}

/// The rules of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The daemon's own effective user: an instance of an ordinary user obeys him as the system's obeys root.
    pub owner: u32,
    /// Group id of `daemon.control_group`, if that group exists.
    pub group: Option<u32>,
    /// `daemon.status`
    pub status: Audience,
}

/// What a verb does, for the rules.
enum Kind {
    /// Shows what anybody may know.
    Look,
    /// Shows the inside of a unit, environment included.
    Inspect,
    /// Changes the state of a unit that root has installed.
    Operate,
    /// Everything else.
    Administer,
}

fn kind(verb: Verb) -> Kind {
    match verb {
        Verb::Status | Verb::List | Verb::Describe | Verb::Events => Kind::Look,
        Verb::Plan | Verb::Configuration => Kind::Inspect,
        Verb::Start
        | Verb::Stop
        | Verb::Restart
        | Verb::TryRestart
        | Verb::Reload
        | Verb::Freeze
        | Verb::Thaw
        | Verb::Scale => Kind::Operate,
        Verb::Kill
        | Verb::ResetFailed
        | Verb::StopAll
        | Verb::Set
        | Verb::Exec
        | Verb::ReloadConfig
        | Verb::Upgrade => Kind::Administer,
    }
}

impl Rules {
    /// May `peer` call `verb`? The error says who may.
    ///
    /// # Errors
    /// A sentence fragment for people.
    pub fn permit(&self, peer: &Peer, verb: Verb) -> Result<(), String> {
        if peer.uid == 0 || peer.uid == self.owner {
            return Ok(());
        }
        let member = self.group.is_some_and(|group| peer.gid == group || peer.groups.contains(&group));
        let (allowed, who) = match kind(verb) {
            Kind::Look => match self.status {
                Audience::Everyone => (true, ""),
                Audience::Group => (member, "root and the control group"),
                Audience::Root => (false, "root"),
            },
            Kind::Inspect if self.status == Audience::Root => (false, "root"),
            Kind::Inspect | Kind::Operate => (member, "root and the control group"),
            Kind::Administer => (false, "root"),
        };
        if allowed { Ok(()) } else { Err(format!("{} is for {who}, not for uid {}", verb.name(), peer.uid)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u32 = 990;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { pid: 77, uid, gid: uid, groups: groups.to_vec() }
    }

    fn allowed(rules: &Rules, peer: &Peer) -> Vec<&'static str> {
        Verb::ALL.iter().filter(|(verb, _)| rules.permit(peer, *verb).is_ok()).map(|(_, name)| *name).collect()
    }

    #[test]
    fn the_table_of_rights() {
        let all: Vec<&str> = Verb::ALL.iter().map(|(_, name)| *name).collect();
        let operate = ["Start", "Stop", "Restart", "TryRestart", "Reload", "Scale"];
        let rules = |status| Rules { owner: 0, group: Some(GROUP), status };
        for status in [Audience::Everyone, Audience::Group, Audience::Root] {
            assert_eq!(allowed(&rules(status), &peer(0, &[])), all, "root may do everything");
        }
        let member = peer(1000, &[27, GROUP]);
        let freezer = ["Freeze", "Thaw"];
        let looks = ["Status", "List", "Plan", "Configuration", "Describe", "Events"];
        assert_eq!(allowed(&rules(Audience::Everyone), &member), [&operate[..], &looks[..], &freezer[..]].concat());
        assert_eq!(allowed(&rules(Audience::Group), &member), [&operate[..], &looks[..], &freezer[..]].concat());
        assert_eq!(allowed(&rules(Audience::Root), &member), [&operate[..], &freezer[..]].concat());
        let other = peer(1000, &[27]);
        assert_eq!(allowed(&rules(Audience::Everyone), &other), ["Status", "List", "Describe", "Events"]);
        assert_eq!(allowed(&rules(Audience::Group), &other), Vec::<&str>::new());
        assert_eq!(allowed(&rules(Audience::Root), &other), Vec::<&str>::new());
    }

    #[test]
    fn the_primary_group_counts_as_membership() {
        let rules = Rules { owner: 0, group: Some(GROUP), status: Audience::Everyone };
        let peer = Peer { pid: 1, uid: 1000, gid: GROUP, groups: vec![] };
        assert!(rules.permit(&peer, Verb::Start).is_ok());
    }

    #[test]
    fn without_a_control_group_only_root_operates() {
        let rules = Rules { owner: 0, group: None, status: Audience::Everyone };
        assert!(rules.permit(&peer(1000, &[GROUP]), Verb::Start).is_err());
    }

    #[test]
    fn an_ordinary_users_instance_obeys_its_owner() {
        let rules = Rules { owner: 1000, group: None, status: Audience::Root };
        assert!(rules.permit(&peer(1000, &[]), Verb::StopAll).is_ok());
        let refusal = rules.permit(&peer(1001, &[]), Verb::StopAll).unwrap_err();
        assert_eq!(refusal, "StopAll is for root, not for uid 1001");
    }
}
