//! The frames of AMQP 0-9-1, as far as a proxy needs to know them: a type, a channel (2 bytes), the
//! payload's size (4 bytes), the payload, and an end mark. A method's payload begins with the numbers
//! of its class and of the method (2 bytes each).

/// Type, channel and size.
const HEAD: usize = 7;
/// The end mark.
const END: usize = 1;
/// The type of frames that hold a method.
const METHOD: u8 = 1;
/// Class 60, `basic`, and its method 80, `ack`.
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];

/// Takes the whole frames out of what has arrived, without those of `basic.ack` if they are to be
/// dropped. What is left is the beginning of a frame.
pub(super) fn pass_frames(arrived: &mut Vec<u8>, drop_acks: bool) -> Vec<u8> {
    let mut passed = Vec::with_capacity(arrived.len());
    let mut taken = 0;
    while let Some(frame) = first_frame(&arrived[taken..]) {
        if !(drop_acks && is_ack(frame)) {
            passed.extend_from_slice(frame);
        }
        taken += frame.len();
    }
    arrived.drain(..taken);
    passed
}

fn first_frame(bytes: &[u8]) -> Option<&[u8]> {
    let size: [u8; 4] = bytes.get(3..HEAD)?.try_into().ok()?;
    let size = usize::try_from(u32::from_be_bytes(size)).ok()?;
    bytes.get(..HEAD + size + END)
}

fn is_ack(frame: &[u8]) -> bool {
    frame[0] == METHOD && frame[HEAD..].starts_with(&BASIC_ACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(0xCE);
        frame
    }

    fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        let numbers = [class.to_be_bytes(), method.to_be_bytes()].concat();
        frame(METHOD, channel, &[&numbers, arguments].concat())
    }

    /// Feeds the bytes in pieces of one size, and returns all that passed.
    fn passed(bytes: &[u8], piece: usize, drop_acks: bool) -> Vec<u8> {
        let (mut arrived, mut passed) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            arrived.extend_from_slice(piece);
            passed.extend(pass_frames(&mut arrived, drop_acks));
        }
        assert!(arrived.is_empty(), "every frame was whole");
        passed
    }

    #[test]
    fn acks_are_dropped_and_nothing_else() {
        let tag = [0, 0, 0, 0, 0, 0, 0, 1, 0];
        let ack = method(1, 60, 80, &tag);
        let others = [
            method(1, 60, 120, &tag), // basic.nack
            method(1, 60, 50, b"return"),
            frame(2, 1, &BASIC_ACK), // a content's head and body that look like one
            frame(3, 1, &BASIC_ACK),
            frame(8, 0, b""), // a heartbeat
            method(0, 10, 60, b""),
            method(7, 80, 60, b""),
        ];
        let all: Vec<u8> = others.iter().flat_map(|o| [&ack[..], o].concat()).collect();
        for piece in 1..=all.len() {
            assert_eq!(passed(&all, piece, true), others.concat(), "by {piece}");
            assert_eq!(passed(&all, piece, false), all, "by {piece}");
        }
    }

    #[test]
    fn a_frame_waits_until_it_is_whole() {
        let body = frame(3, 1, &[0xCE; 70_000]);
        let mut arrived = body[..body.len() - 1].to_vec();
        assert!(pass_frames(&mut arrived, true).is_empty());
        arrived.push(0xCE);
        assert_eq!(pass_frames(&mut arrived, true), body);
        assert!(arrived.is_empty());
    }
}
