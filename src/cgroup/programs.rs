//! Programs that are attached to a unit's group in the v2 tree: their instructions, how they are loaded once and shared,
//! attached, replaced at once, and taken away.
//!
//! They are attached beside those of groups above and below (all must agree), so that nobody in the group can undo them
//! by a program of his own.

use super::CgroupError;
use super::file;
use crate::sys::SysError;
use crate::sys::bpf::{self, Instruction, Point};
use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// Registers by use: the answer, and at the beginning the question.
pub(super) const ANSWER: u8 = 0;
pub(super) const QUESTION: u8 = 1;

/// Operations: linux/bpf.h and linux/bpf_common.h.
pub(super) const LOAD_WORD: u8 = 0x61;
pub(super) const SET: u8 = 0xb4;
pub(super) const SET_FROM: u8 = 0xbc;
pub(super) const AND: u8 = 0x54;
pub(super) const SHIFT_RIGHT: u8 = 0x74;
pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x56;
pub(super) const EXIT: u8 = 0x95;
/// From the order of the network to that of the machine; the immediate is the number of bits.
pub(super) const FROM_NETWORK: u8 = 0xdc;
/// Of 32 bits without a sign, with the immediate.
pub(super) const JUMP_IF_AT_LEAST: u8 = 0x36;

/// A member of what the program is asked about.
pub(super) fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: QUESTION << 4 | register, offset, immediate: 0 }
}

pub(super) fn operation(code: u8, destination: u8, source: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset: 0, immediate }
}

/// 1 lets pass, 0 does not.
pub(super) fn answer(value: i32) -> [Instruction; 2] {
    [operation(SET, ANSWER, 0, value), operation(EXIT, 0, 0, 0)]
}

/// A jump over `skip` instructions.
pub(super) fn jump(code: u8, register: u8, value: i32, skip: usize) -> Instruction {
    // A unit has at most 256 prefixes, 513 ranges of at most nine instructions each, and at most 1024 ports.
    let offset = i16::try_from(skip).expect("bounded lists make short programs");
    Instruction { code, registers: register, offset, immediate: value }
}

/// Halves ranges, which are given by their beginnings and whether they are allowed, until one is left. `compare` jumps over
/// so many instructions when what is judged is not below a number, and falls through otherwise.
pub(super) fn tree<B: Copy>(ranges: &[(B, bool)], compare: &dyn Fn(B, usize) -> Vec<Instruction>) -> Vec<Instruction> {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    match (below.is_empty(), above.first()) {
        (false, Some((middle, _))) => {
            let below = tree(below, compare);
            let mut all = compare(*middle, below.len());
            all.extend(below);
            all.extend(tree(above, compare));
            all
        }
        (_, only) => answer(i32::from(only.is_none_or(|(_, allowed)| *allowed))).to_vec(),
    }
}

/// Programs that are kept loaded. Most units have the rules of a profile, so there are few different ones.
const KEPT: usize = 8;

/// A program, and where it is asked.
type Loaded = (Point, Vec<Instruction>, Rc<OwnedFd>);

thread_local! {
    /// The last programs in use, the latest last: the kernel's check of one costs as much as ten mounts, and a loaded
    /// program can be attached to any number of groups.
    static LOADED: RefCell<Vec<Loaded>> = const { RefCell::new(Vec::new()) };
}

/// Does the kernel take such a program from this process? It is attached nowhere.
pub(super) fn loadable(point: Point, program: &[Instruction]) -> bool {
    bpf::load(point, program).is_ok()
}

/// The program, loaded now or earlier.
fn loaded(point: Point, program: &[Instruction]) -> Result<Rc<OwnedFd>, SysError> {
    LOADED.with_borrow_mut(|all| {
        let entry = match all.iter().position(|(at, known, _)| *at == point && known == program) {
            Some(index) => all.remove(index),
            None => (point, program.to_vec(), Rc::new(bpf::load(point, program)?)),
        };
        if all.len() >= KEPT {
            all.remove(0);
        }
        let program = Rc::clone(&entry.2);
        all.push(entry);
        Ok(program)
    })
}

/// What the program is about, for messages: they lead back to a key by it.
fn word(point: Point) -> &'static str {
    match point {
        Point::Device => "device",
        Point::Ingress | Point::Egress => "packet",
        Point::Bind4 | Point::Bind6 => "port",
    }
}

/// Makes `program` the group's at this point, in place of what is there.
pub(super) fn put(directory: &Path, point: Point, program: &[Instruction]) -> Result<(), CgroupError> {
    let failed = |what: &str, error: SysError| {
        CgroupError::new(format!("{what} a {} program to", word(point)), directory, error.into())
    };
    let group = file::open_directory(directory)?;
    let program = loaded(point, program).map_err(|error| failed("load", error))?;
    let mut present = attached(group.as_fd(), point).map_err(|error| failed("find", error))?;
    // One is ours; more can only come from somebody else, or from a daemon that was killed here.
    let old = present.pop();
    bpf::attach(group.as_fd(), point, program.as_fd(), old.as_ref().map(AsFd::as_fd))
        .map_err(|error| failed("attach", error))
}

/// Takes away what an earlier configuration put there.
pub(super) fn clear(directory: &Path, point: Point) -> Result<(), CgroupError> {
    let group = file::open_directory(directory)?;
    let Ok(present) = attached(group.as_fd(), point) else { return Ok(()) };
    present.iter().try_for_each(|old| {
        bpf::detach(group.as_fd(), point, old.as_fd()).map_err(|error| {
            CgroupError::new(format!("detach the {} program of", word(point)), directory, error.into())
        })
    })
}

/// The programs of this group.
fn attached(group: BorrowedFd<'_>, point: Point) -> Result<Vec<OwnedFd>, SysError> {
    bpf::attached(group, point)?.into_iter().map(bpf::program_by_id).collect()
}
