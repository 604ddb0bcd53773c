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
        Key::new(
            "accept",
            Kind::Bool,
            "One instance of the unit for each connection: a service `UNIT@N`, with processes, group, log and sandbox of \
             its own, where `${instance}` is N. It finds the connection as descriptor 3, for TCP with REMOTE_ADDR and \
             REMOTE_PORT in the environment, is never restarted, and is forgotten when it has ended. The unit itself \
             only listens, and a stop or restart of it stops its instances too. All sockets of a unit accept, or none \
             does; the unit is started on demand, without `[ready]`, `[health]` and timers, and `restart.policy` is \
             \"no\". The logs of the last 64 connections are kept.",
        )
        .default("false")
        .systemd(&["Accept"]),
        Key::new(
            "max_connections",
            Kind::Int { min: 1, max: 65535 },
            "With `accept`: connections at a time. One more is closed at once; `rsvc status` shows how many were.",
        )
        .default("64")
        .systemd(&["MaxConnections"]),
        Key::new(
            "max_connections_per_source",
            Kind::Int { min: 0, max: 65535 },
            "With `accept`: the same from one address, or of one user of a UNIX socket; 0: no limit but the other one.",
        )
        .default("16")
        .systemd(&["MaxConnectionsPerSource"]),
    ],
)
.array();
