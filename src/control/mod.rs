//! The language between `rsvc` and the daemon: Varlink interface `io.rsvc.Manager`. Pure: bytes in, values out.
//!
//! JSON objects, each ended by a NUL byte, over a Unix stream socket. Framing over partial reads, size limits, calls and
//! replies as closed enums, the interface description for introspection, and who may ask what. No sockets here.
//!
//! ```text
//! bytes ─▶ frame ─▶ varlink (envelope, which method) ─▶ who (may they?) ─▶ call (parameters) ─▶ Call
//! bytes ◀────────── varlink ◀────────────────────────── answer ◀──────────────────────── Answer, CallError
//! ```
#![forbid(unsafe_code)]

mod answer;
mod call;
mod configuration;
mod event;
mod frame;
mod parameters;
mod request_key;
mod status;
mod time;
mod varlink;
mod who;

pub use answer::{Answer, CallError, Description, UnitChange};
pub use call::{Call, Manner, Terminal, Verb};
pub use configuration::ConfiguredValue;
pub use event::{LOST, PRESENT, UnitEvent};
pub use frame::{FrameReader, REPLY_LIMIT, REQUEST_LIMIT, TooLong};
pub use parameters::is_unit_name;
pub use request_key::RequestKey;
pub use status::{
    DeniedCall, GroupCounters, IdRange, LogPlace, Pressure, ProcessLine, Replica, ReplicaSet, RunsOn, SliceStatus,
    StopProgress, TimerStatus, UnitStatus,
};
pub use time::{STAMP_LENGTH, format_rfc3339, parse_rfc3339, rfc3339_stamp};
pub use varlink::{
    Asked, CallOptions, INTERFACE, INTERFACE_TEXT, Malformed, Reply, Request, SERVICE_INTERFACE, ServiceError,
    decode_reply, encode_answer, encode_call, encode_error, encode_info, encode_interface_description,
    encode_service_error,
};
pub use who::{Audience, Peer, Rules};

#[cfg(test)]
mod interface_tests;
