//! A number for every key, in the order of the key table: what values are kept by, and found by without comparing names.

use super::{Key, SLICE, TABLES, Table};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::unit) struct Number(u16);

impl Number {
    /// Number of a key that the program names; for constants, where a name that is none is an error of compilation.
    ///
    /// # Panics
    /// There is no such key.
    pub(in crate::unit) const fn of(table: &str, key: &str) -> Number {
        let mut number = 0;
        let mut t = 0;
        while t < TABLES.len() {
            let keys = TABLES[t].keys;
            let here = equal(TABLES[t].name, table);
            let mut k = 0;
            while here && k < keys.len() {
                if equal(keys[k].name, key) {
                    return Number(number + k as u16);
                }
                k += 1;
            }
            number += keys.len() as u16;
            t += 1;
        }
        if equal(SLICE.name, table) && equal(SLICE.keys[0].name, key) {
            return Number(number);
        }
        panic!("the key table has no such key")
    }

    /// Place in a list of all keys.
    pub(in crate::unit) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Table and key.
    pub(in crate::unit) fn name(self) -> (&'static str, &'static str) {
        INDEX.names[self.index()]
    }
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut n = 0;
    while n < a.len() {
        if a[n] != b[n] {
            return false;
        }
        n += 1;
    }
    true
}

/// The number of a key.
pub(in crate::unit) fn number(table: &str, key: &str) -> Option<Number> {
    INDEX.numbers.get(&(table, key)).copied()
}

/// Every key that has a number, in the order of the numbers: those of all units, then the slice's.
pub(in crate::unit) fn numbered() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    super::all().chain(SLICE.keys.iter().map(|key| (&SLICE, key)))
}

struct Index {
    numbers: HashMap<(&'static str, &'static str), Number, BuildHasherDefault<Fnv>>,
    names: Vec<(&'static str, &'static str)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let names: Vec<_> = numbered().map(|(table, key)| (table.name, key.name)).collect();
    let numbers = (0..).map(Number);
    Index { numbers: names.iter().copied().zip(numbers).collect(), names }
});

/// FNV-1a: nobody chooses these names to make them collide.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_names_have_the_same_numbers() {
        for (at, (table, key)) in numbered().enumerate() {
            let found = number(table.name, key.name).expect("every key has one");
            assert_eq!((found.index(), found.name()), (at, (table.name, key.name)));
            assert_eq!(Number::of(table.name, key.name), found);
        }
        assert_eq!(number("service", "no_such_key"), None);
    }

    #[test]
    #[should_panic(expected = "no such key")]
    fn a_wrong_constant_is_found() {
        let _ = Number::of("service", "no_such_key");
    }
}
