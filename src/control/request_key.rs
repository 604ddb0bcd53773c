//! What a client calls a request of its own, so that it can ask the same twice without its being done twice.
//!
//! A client that loses the connection while it waits does not know how far the daemon got. It connects again (to the
//! next daemon, as a rule) and repeats the call with the same key. What then happens, by verb:
//!
//! | Verb | A repetition with the same key |
//! |---|---|
//! | `Start`, `Restart`, `TryRestart` | joins the job that is under way, or answers what came of it; no further run |
//! | `Kill` | answers that the signal was sent, and sends none; whether one was sent that a dying daemon was just about to send is not known, and said so |
//! | `Reload` | joins, or answers what came of it; of a reload that the former daemon did not see the end of nothing is known, so it is done again |
//! | `Stop`, `StopAll`, `Scale`, `Set`, `Freeze`, `Thaw`, `ResetFailed`, `ReloadConfig` | these take no key: done twice is as done once |
//! | `Exec` | takes no key, and is not asked again: the command tells its end by itself, whatever becomes of the daemon |
//! | all others | change nothing |
//!
//! The daemon keeps the key with the unit until the client has the answer: until it ends that connection or uses it
//! for another call. No key, no memory: such a call means the same as ever.

use std::fmt;
use std::str::FromStr;

/// 128 random bits; 32 hexadecimal digits in lower case on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey([u8; 16]);

impl RequestKey {
    /// From bytes that nobody else draws.
    pub fn new(random: [u8; 16]) -> RequestKey {
        RequestKey(random)
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

impl FromStr for RequestKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<RequestKey, NoKey> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(NoKey);
        }
        u128::from_str_radix(text, 16).map(|number| RequestKey(number.to_be_bytes())).map_err(|_| NoKey)
    }
}

impl serde::Serialize for RequestKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RequestKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<RequestKey, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(from)?;
        text.parse().map_err(|NoKey| serde::de::Error::custom("not 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_digits_and_nothing_else() {
        let key = RequestKey::new(*b"\x00\x01abcdefghijkl\xfe\xff");
        let text = key.to_string();
        assert_eq!(text, "00016162636465666768696a6b6cfeff");
        assert_eq!(text.parse(), Ok(key));
        for bad in ["", "0", &text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace('0', "+"), "ä"] {
            assert_eq!(bad.parse::<RequestKey>(), Err(NoKey), "{bad}");
        }
        assert_eq!(serde_json::from_str::<RequestKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    }
}
