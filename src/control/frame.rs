//! Splits a byte stream into messages: each is ended by one NUL byte, and the pieces arrive as the kernel likes.
//!
//! Knows nothing of JSON. A message longer than the limit poisons the reader: there is no way to find the next
//! beginning that both ends would agree on, so the connection has to go.

use std::fmt;

/// Longest request, its NUL not counted, in bytes. A call is a method and a unit's name.
pub const REQUEST_LIMIT: usize = 64 * 1024;

/// Longest single reply, its NUL not counted, in bytes.
pub const REPLY_LIMIT: usize = 1024 * 1024;

/// A buffer that grew past this is given back once it is empty, so that idle connections cost little.
const KEEP_CAPACITY: usize = 4096;

/// The message is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// Collects bytes and hands out whole messages.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes before this belong to messages already handed out.
    head: usize,
    /// Bytes before this hold no NUL that was not handed out.
    scanned: usize,
    limit: usize,
}

impl FrameReader {
    /// An empty reader that accepts messages of up to `limit` bytes.
    pub fn new(limit: usize) -> FrameReader {
        FrameReader { buffer: Vec::new(), head: 0, scanned: 0, limit }
    }

    /// Takes bytes as they came from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.head);
        self.scanned -= self.head;
        self.head = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message without its NUL; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the message in front is longer than the limit, complete or not; so does every later call.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let found = self.buffer[self.scanned..].iter().position(|&b| b == 0).map(|at| self.scanned + at);
        let end = found.unwrap_or(self.buffer.len());
        if end - self.head > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        self.scanned = end;
        let Some(nul) = found else { return Ok(None) };
        let frame = self.buffer[self.head..nul].to_vec();
        self.head = nul + 1;
        self.scanned = self.head;
        if self.head == self.buffer.len() {
            self.head = 0;
            self.scanned = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEEP_CAPACITY {
                self.buffer = Vec::new();
            }
        }
        Ok(Some(frame))
    }

    /// What was pushed and not handed out yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.head..]
    }

    /// Bytes held that were not handed out yet.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = reader.next_frame() {
            frames.push(frame);
        }
        frames
    }

    #[test]
    fn a_message_in_three_pieces_comes_out_whole() {
        let mut reader = FrameReader::new(100);
        for piece in [b"{\"a".as_slice(), b"\":", b"1}"] {
            reader.push(piece);
            assert_eq!(reader.next_frame(), Ok(None));
        }
        reader.push(b"\0");
        assert_eq!(reader.next_frame(), Ok(Some(b"{\"a\":1}".to_vec())));
        assert_eq!(reader.held(), 0);
    }

    #[test]
    fn an_unfinished_message_past_the_limit_is_refused_before_its_end() {
        let mut reader = FrameReader::new(8);
        reader.push(b"12345678");
        assert_eq!(reader.next_frame(), Ok(None));
        reader.push(b"9");
        assert_eq!(reader.next_frame(), Err(TooLong { limit: 8 }));
        reader.push(b"\0");
        assert_eq!(reader.next_frame(), Err(TooLong { limit: 8 }), "stays poisoned");
    }

    #[test]
    fn a_whole_message_of_exactly_the_limit_passes_and_one_more_does_not() {
        let mut reader = FrameReader::new(4);
        reader.push(b"1234\x0012345\0");
        assert_eq!(reader.next_frame(), Ok(Some(b"1234".to_vec())));
        assert_eq!(reader.next_frame(), Err(TooLong { limit: 4 }));
    }

    #[test]
    fn empty_messages_are_messages() {
        let mut reader = FrameReader::new(4);
        reader.push(b"\0\0");
        assert_eq!(all(&mut reader), vec![Vec::<u8>::new(), Vec::new()]);
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            messages in prop::collection::vec(prop::collection::vec(1u8.., 0..40), 0..12),
            cuts in prop::collection::vec(1usize..30, 1..60),
            greedy in any::<bool>(),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| m.iter().copied().chain([0])).collect();
            let mut reader = FrameReader::new(64);
            let (mut got, mut rest, mut cut) = (Vec::new(), stream.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                reader.push(piece);
                rest = tail;
                if greedy { got.extend(all(&mut reader)) } else if let Ok(Some(frame)) = reader.next_frame() { got.push(frame) }
            }
            got.extend(all(&mut reader));
            prop_assert_eq!(got, messages);
            prop_assert_eq!(reader.held(), 0);
        }
    }
}
