//! A plan as text: what `rsvc plan` shows.
//!
//! Everything that a start would do, in order, each line with the key that asked for it. Filters appear by their
//! length; everything else in full.

use super::phrase::{printable, shell_words};
use super::{
    BlockDevice, CgroupSettings, Container, DeviceRule, DeviceType, LaunchPlan, MapWriter, Origin, Output, PortRange,
    Step,
};
use std::fmt;

/// `KEY (FILE:LINE)`; without a place, from the profile or the defaults.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({}:{})", self.key, place.file, place.line),
            None => write!(f, "{} (default)", self.key),
        }
    }
}

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let container = match self.container {
            Container::Own => "a container of its own",
            Container::Joined => "the running container",
        };
        writeln!(f, "plan of {} ({}), in {container}", self.unit, self.role)?;
        for item in &self.degraded {
            writeln!(f, "degraded: {}: {}", item.key, item.why)?;
        }
        self.write_outside(f)?;
        self.write_steps(f)
    }
}

impl LaunchPlan {
    /// What the daemon does before and during the clone.
    fn write_outside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "sockets that rsvc opens", &self.sockets.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        section(f, "timers", &self.timers.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        section(f, "prepare", &self.prepare.iter().map(super::HostStep::phrase).collect::<Vec<_>>())?;
        section(f, "cgroup", &self.cgroup.lines())?;
        section(f, "namespaces", &[self.clone.to_string()])?;
        if let Some(maps) = &self.id_maps {
            let line = |kind: &str, (inside, outside, count): &(u32, u32, u32)| {
                format!("{kind} {inside} inside is {outside} outside, {count} ids")
            };
            let mut lines: Vec<String> = maps.uid.iter().map(|map| line("uid", map)).collect();
            lines.extend(maps.gid.iter().map(|map| line("gid", map)));
            match maps.writer {
                MapWriter::Daemon => {}
                MapWriter::DaemonAsUser => lines.push("setgroups denied".to_owned()),
                MapWriter::Tools => lines.push("by newuidmap and newgidmap".to_owned()),
            }
            section(f, "id maps", &lines)?;
        }
        let output = match self.output {
            Output::Journal => "the journal",
            Output::Pipe => "a pipe to the log file",
            Output::Relay => "a pipe to the daemon, which sends to the journal what may pass",
            Output::Null => "/dev/null",
            Output::Inherit => "inherited",
            Output::Terminal => "a terminal of its own",
            Output::Caller => "the caller's",
        };
        section(f, "output", &[output.to_owned()])
    }

    /// The numbered steps, then argv and environment.
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "steps:")?;
        for (index, planned) in self.steps.iter().enumerate() {
            write!(f, "{:>4}. {:<17} {}", index + 1, planned.step.name(), printable(&self.phrase(index)))?;
            if planned.may_fail {
                f.write_str(" [may fail]")?;
            }
            match self.origin_of(index) {
                Some(origin) => writeln!(f, "  <- {origin}")?,
                None => writeln!(f)?,
            }
        }
        for planned in &self.steps {
            if let Step::Execute { argv, environment } = &planned.step {
                writeln!(f, "argv:\n  {}", shell_words(argv))?;
                let lines: Vec<String> =
                    environment.iter().map(|(name, value)| printable(&format!("{name}={value}"))).collect();
                section(f, "environment", &lines)?;
            }
        }
        Ok(())
    }
}

impl CgroupSettings {
    /// What will be written, in the words of cgroup v2.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut number = |file: &str, value: Option<u64>| {
            if let Some(value) = value {
                lines.push(format!("{file} = {}", max_or(value)));
            }
        };
        number("memory.max", self.memory_max);
        number("memory.high", self.memory_high);
        number("memory.low", self.memory_low);
        number("memory.min", self.memory_min);
        number("memory.swap.max", self.memory_swap_max);
        number("memory.oom.group", self.memory_oom_group.map(u64::from));
        number("pids.max", self.pids_max);
        number("cpu.weight", self.cpu_weight);
        number("io.weight", self.io_weight);
        if let Some(cpu) = &self.cpu_max {
            lines.push(format!("cpu.max = {} {}", cpu.quota.map_or("max".to_owned(), |q| q.to_string()), cpu.period));
        }
        for (file, list) in [("cpuset.cpus", &self.cpuset_cpus), ("cpuset.mems", &self.cpuset_mems)] {
            if let Some(list) = list {
                lines.push(format!("{file} = {list}"));
            }
        }
        for io in &self.io_max {
            let device = match &io.device {
                BlockDevice::Number(major, minor) => format!("{major}:{minor}"),
                BlockDevice::Path(path) => path.clone(),
            };
            let rates = [("rbps", io.rbps), ("wbps", io.wbps), ("riops", io.riops), ("wiops", io.wiops)];
            let rates: Vec<String> =
                rates.iter().filter_map(|(name, rate)| rate.map(|rate| format!("{name}={}", max_or(rate)))).collect();
            lines.push(format!("io.max = {device} {}", rates.join(" ")));
        }
        for (size, bytes) in &self.hugetlb {
            lines.push(format!("hugetlb.{size}.max = {}", max_or(*bytes)));
        }
        if let Some(rules) = &self.devices {
            let rules: Vec<String> = rules.iter().map(DeviceRule::to_string).collect();
            lines.push(format!("devices: deny all but {}", rules.join(", ")));
        }
        if let Some(rules) = &self.addresses {
            lines.push(format!("addresses: {rules}"));
        }
        if let Some(ports) = &self.udp_ports {
            let ports: Vec<String> = ports.iter().map(PortRange::to_string).collect();
            lines.push(format!("udp: bind {}", ports.join(", ")));
        }
        if self.delegate {
            lines.push("delegated to the service".to_owned());
        }
        lines
    }
}

/// As the v1 controller takes it: `c 1:3 rwm`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceType::Char => 'c',
            DeviceType::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (set, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// A heading and its lines, or nothing where there are none.
fn section(f: &mut fmt::Formatter<'_>, heading: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{heading}:")?;
    for line in lines {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}

fn max_or(value: u64) -> String {
    if value == u64::MAX { "max".to_owned() } else { value.to_string() }
}
