//! Settings of a control group, in the words and units of cgroup v2.
//!
//! Plain data: `cgroup::v2` and `cgroup::v1` translate them to files. Source: the kernel's cgroup v2 guide.

use super::{AddressRules, PortRange};
use serde::{Deserialize, Serialize};

/// What the daemon writes into the unit's group before the process is born. `None` leaves the kernel's default.
///
/// For sizes `Some(u64::MAX)` is "max": it clears a limit that an earlier run of the unit had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSettings {
    /// Hard limit, bytes ("memory.max").
    pub memory_max: Option<u64>,
    /// Throttling limit, bytes ("memory.high"); v2 only.
    pub memory_high: Option<u64>,
    /// Best-effort protection, bytes ("memory.low").
    pub memory_low: Option<u64>,
    /// Hard protection, bytes ("memory.min"); v2 only.
    pub memory_min: Option<u64>,
    /// Swap limit, bytes ("memory.swap.max").
    pub memory_swap_max: Option<u64>,
    /// Kill the whole group when it runs out of memory ("memory.oom.group"); v2 only.
    pub memory_oom_group: Option<bool>,
    /// CPU bandwidth ("cpu.max").
    pub cpu_max: Option<CpuMax>,
    /// Relative share, 1 to 10000, default 100 ("cpu.weight").
    pub cpu_weight: Option<u64>,
    /// Allowed CPUs as a list such as `0-3,8` ("cpuset.cpus").
    pub cpuset_cpus: Option<String>,
    /// Allowed memory nodes ("cpuset.mems").
    pub cpuset_mems: Option<String>,
    /// Number of tasks ("pids.max"); `Some(u64::MAX)` is "max".
    pub pids_max: Option<u64>,
    /// Relative I/O share, 1 to 10000, default 100 ("io.weight").
    pub io_weight: Option<u64>,
    /// Per-device limits ("io.max").
    pub io_max: Vec<IoMax>,
    /// Huge page limits: page size as in the file name (`2MB`), bytes ("hugetlb.2MB.max").
    pub hugetlb: Vec<(String, u64)>,
    /// Device rules; `None` leaves devices alone, `Some` denies all but the listed.
    pub devices: Option<Vec<DeviceRule>>,
    /// Hand the group to the service: chown the group's interface files to it.
    pub delegate: bool,
    /// Peers of its sockets; `None` leaves packets alone. A program in the v2 tree, without a file.
    #[serde(default)] // Files of earlier versions have none.
    pub addresses: Option<Box<AddressRules>>,
    /// Ports that its UDP sockets may bind; `None` is all. 0 stands for those that the kernel chooses. A program, too.
    #[serde(default)] // As above.
    pub udp_ports: Option<Box<[PortRange]>>,
}

/// CPU bandwidth: `quota` microseconds of CPU time in each `period` microseconds; `quota` `None` is "max".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuMax {
    /// Microseconds, at least 1000.
    pub quota: Option<u64>,
    /// Microseconds, 1000 to 1000000; default 100000.
    pub period: u64,
}

/// A block device by number or by a path that the daemon resolves at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockDevice {
    /// `major:minor`.
    Number(u32, u32),
    /// A device node, or any file: then the device of its file system.
    Path(String),
}

/// One line of "io.max"; `None` is "max".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoMax {
    /// Which device.
    pub device: BlockDevice,
    /// Bytes read per second.
    pub rbps: Option<u64>,
    /// Bytes written per second.
    pub wbps: Option<u64>,
    /// Reads per second.
    pub riops: Option<u64>,
    /// Writes per second.
    pub wiops: Option<u64>,
}

/// Character or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceType {
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// One allowed device of the device controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Character or block.
    pub kind: DeviceType,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// May read.
    pub read: bool,
    /// May write.
    pub write: bool,
    /// May make nodes.
    pub mknod: bool,
}
