//! Bytes from the control socket: framing over partial reads, the envelope, the calls, and replies as a client sees them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::control::{Asked, FrameReader, Request, Verb, decode_reply};

/// Smaller than the daemon's, so that inputs get past it.
const LIMIT: usize = 512;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let pieces = bytes.chunks(usize::from(piece) + 1);
    let frames = read(pieces);
    assert_eq!(frames, split(bytes), "pieces of {}", usize::from(piece) + 1);
    for frame in frames.0 {
        if let Ok(request) = Request::decode(&frame)
            && let Ok(Asked::Verb(verb)) = request.asked()
        {
            let _ = verb.decode(request.into_parameters());
        }
        for (verb, _) in Verb::ALL {
            let _ = decode_reply(verb, &frame);
        }
    }
});

/// The frames, and whether the reader gave up.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let mut reader = FrameReader::new(LIMIT);
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// The same in the plainest way.
fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut frames: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let long = frames.iter().position(|frame| frame.len() > LIMIT);
    // What follows the last NUL is no frame yet.
    frames.truncate(long.unwrap_or(frames.len() - 1));
    (frames, long.is_some())
}
