//! Keys about sockets that rsvc opens for a unit.

use super::{Key, Kind, Table};

pub(super) const SOCKETS: Table = Table::new(
    "sockets",
    "Sockets that rsvc opens in the host's network and hands over, in this order from descriptor 3 on, with LISTEN_FDS, \
     LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)). They are open from the start of the unit to its stop, over \
     restarts, and while no daemon runs. Only the main process gets them, in blocking mode.",
    &[
        Key::new(
            "listen",
            Kind::SocketAddress,
            "`tcp:ADDRESS:PORT`, `udp:ADDRESS:PORT`, `unix:/PATH` (stream), `unix-datagram:/PATH`, \
             `unix-seqpacket:/PATH` or `fifo:/PATH`. Missing directories of a path are made, 0755 and root's; those that \
             are there must be root's, and a socket that nobody listens on any more is replaced. The path is removed \
             when the unit is stopped.",
        )
        .note("required")
        .systemd(&["ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO"]),
        Key::new("name", Kind::Text, "Name in LISTEN_FDNAMES: up to 255 characters, no `:`.")
            .note("the unit's name")
            .systemd(&["FileDescriptorName"]),
        Key::new(
            "mode",
            Kind::Mode,
            "Who may connect to a UNIX socket, or open a FIFO: mode of the path. In force before anybody can connect.",
        )
        .default("\"0660\"")
        .systemd(&["SocketMode"]),
        Key::new("user", Kind::Account, "Owner of the path.").note("root").systemd(&["SocketUser"]),
        Key::new("group", Kind::Account, "Group of the path.")
            .note("the primary group of `user`")
            .systemd(&["SocketGroup"]),
        Key::new(
            "backlog",
            Kind::Int { min: 1, max: 65535 },
            "Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.",
        )
        .default("4096")
        .systemd(&["Backlog"]),
        Key::new("accept", Kind::Bool, "One process for each connection.")
            .default("false")
            .systemd(&["Accept"])
            .later(),
    ],
)
.array();
