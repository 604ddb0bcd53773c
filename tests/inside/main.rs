//! What a service sees: every isolation key, looked at from inside the container.
//!
//! The executable of these tests is also what the units run: given the word `probe` first it carries out small
//! questions ([`probe`]) and prints the answers, before the runtime of the language has changed anything of the process.
//! So the facts are the kernel's, asked by the service itself; what a test expects is written as the answer.

#[path = "../instance/mod.rs"]
mod instance;

mod addresses;
mod auto_user;
mod calls;
mod confinement;
mod credentials;
mod denials;
mod devices;
mod dynamic_user;
mod filesystem;
mod identity;
mod lab;
mod landlock;
mod limits;
mod namespaces;
mod ports;
mod probe;
mod process;
mod profiles;
mod rootfs;
mod standard;
mod user;
