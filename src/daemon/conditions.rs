//! `unit.condition` and `unit.assert`: what this host answers. Looked at anew for each start, so all of it is cheap.

use super::engine::Engine;
use crate::supervise::{Event, ServiceId, Unmet};
use crate::unit::{Condition, ConditionTest, unmet};
use std::fs;

impl Engine {
    /// Tells whether the conditions of a unit are met. Asserts are only looked at when they are.
    pub(super) fn examine(&mut self, id: ServiceId) {
        let unit = self.service(id).and_then(|service| service.unit.clone());
        let found = unit.and_then(|unit| {
            let skip = self.first_unmet(&unit.unit.condition).map(|what| Unmet { what, assert: false });
            skip.or_else(|| self.first_unmet(&unit.unit.assert).map(|what| Unmet { what, assert: true }))
        });
        self.events.push_back(Event::Examined { id, unmet: found });
    }

    fn first_unmet(&mut self, conditions: &[Condition]) -> Option<String> {
        unmet(conditions, |test| self.holds(test)).map(ToString::to_string)
    }

    fn holds(&mut self, test: &ConditionTest) -> bool {
        match test {
            ConditionTest::PathExists(path) => path.exists(),
            ConditionTest::PathIsDirectory(path) => path.is_dir(),
            ConditionTest::FileNotEmpty(path) => fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0),
            ConditionTest::Environment(name, value) => {
                let found = std::env::var_os(name);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| found == value.as_str()))
            }
            ConditionTest::Host(pattern) => is_host(pattern),
            ConditionTest::User(user) => {
                let own = rustix::process::geteuid().as_raw();
                self.host.accounts().user(user).is_ok_and(|found| found.uid == own)
            }
            ConditionTest::Virtualization(word) => Virtualization::of_this_host().is_called(word),
            ConditionTest::KernelVersion(comparison, version) => {
                comparison.holds(&rustix::system::uname().release().to_string_lossy(), version)
            }
            ConditionTest::Capability(number, _) => bounding_set() & (1 << number) != 0,
            ConditionTest::Controller(name) => {
                self.tree.as_ref().is_some_and(|tree| tree.facts().controllers.iter().any(|known| known == name))
            }
            ConditionTest::FirstBoot => is_first_boot(),
        }
    }
}

fn trimmed(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn is_host(pattern: &str) -> bool {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    matches(pattern, &name) || pattern == trimmed("/etc/machine-id")
}

/// `*` is any text, `?` any letter; hosts do not know capital letters.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where the last `*` stood, and how far its text reached when the rest was tried.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, reached)) = star else { return false };
                p = at + 1;
                t = reached + 1;
                star = Some((at, reached + 1));
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// CapBnd of the daemon: what a service can be given.
fn bounding_set() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// As systemd tells it where that runs; else a machine id that nobody has written yet.
fn is_first_boot() -> bool {
    fs::exists("/run/systemd/first-boot").unwrap_or(false)
        || matches!(trimmed("/etc/machine-id").as_str(), "" | "uninitialized")
}

/// In what this host runs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Virtualization {
    vm: bool,
    container: bool,
    /// Words for both.
    kinds: Vec<String>,
}

/// What vendors write into the DMI tables.
const VENDORS: [(&str, &str); 9] = [
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("vmware", "vmware"),
    ("innotek", "oracle"),
    ("xen", "xen"),
    ("bochs", "bochs"),
    ("amazon ec2", "amazon"),
    ("google compute", "google"),
    ("microsoft corporation", "microsoft"),
];

impl Virtualization {
    fn of_this_host() -> Virtualization {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let dmi =
            ["sys_vendor", "product_name", "bios_vendor"].map(|name| trimmed(&format!("/sys/class/dmi/id/{name}")));
        // The manager of a container says so to its PID 1 or leaves a file.
        let environment = fs::read("/proc/1/environ").unwrap_or_default();
        let told = environment.split(|b| *b == 0).find_map(|variable| variable.strip_prefix(b"container="));
        let told = told.map(|word| String::from_utf8_lossy(word).into_owned());
        let files = [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")];
        let left = files.iter().find(|(file, _)| fs::exists(file).unwrap_or(false)).map(|(_, word)| (*word).to_owned());
        let written = Some(trimmed("/run/systemd/container")).filter(|word| !word.is_empty());
        Virtualization::from(&cpu, &dmi.join("\n"), written.or(told).or(left))
    }

    fn from(cpu: &str, dmi: &str, container: Option<String>) -> Virtualization {
        let hypervisor =
            cpu.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"));
        let dmi = dmi.to_ascii_lowercase();
        let vendor = VENDORS.iter().find(|(text, _)| dmi.contains(text)).map(|(_, word)| *word);
        // The vendor of a real machine may be Microsoft or Google as well.
        let vm = hypervisor || vendor.is_some_and(|word| matches!(word, "kvm" | "qemu" | "bochs"));
        let kinds = vendor.filter(|_| vm).map(str::to_owned).into_iter().chain(container.clone()).collect();
        Virtualization { vm, container: container.is_some(), kinds }
    }

    fn is_called(&self, word: &str) -> bool {
        match word {
            "vm" => self.vm,
            "container" => self.container,
            "none" => !self.vm && !self.container,
            word => self.kinds.iter().any(|kind| kind == word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_hosts() {
        let table = [
            ("web", "web", true),
            ("WEB*", "web-17.example", true),
            ("web-?.*.org", "web-1.a.b.org", true),
            ("*", "", true),
            ("web", "web2", false),
            ("?eb", "eb", false),
            ("*a*b", "xaxbx", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn machines_and_containers_are_told_apart() {
        let cpu = "flags\t\t: fpu vme hypervisor lahf_lm";
        let called = |v: &Virtualization| ["vm", "container", "none", "kvm", "docker"].map(|word| v.is_called(word));
        assert_eq!(called(&Virtualization::from("flags : fpu", "Dell Inc.", None)), [false, false, true, false, false]);
        assert_eq!(called(&Virtualization::from(cpu, "QEMU\nKVM", None)), [true, false, false, true, false]);
        let docker = Virtualization::from("flags : fpu", "", Some("docker".into()));
        assert_eq!(called(&docker), [false, true, false, false, true]);
        assert!(!Virtualization::from("flags : fpu", "Microsoft Corporation", None).vm, "a laptop of theirs");
    }

    #[test]
    fn what_is_asked_of_this_process_is_what_proc_says() {
        let caps = caps::read(None, caps::CapSet::Bounding).expect("own capabilities");
        assert_eq!(bounding_set(), caps.iter().fold(0, |set, cap| set | cap.bitmask()));
    }
}
