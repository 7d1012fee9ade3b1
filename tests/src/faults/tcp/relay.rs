//! Bytes on their way through the proxy.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};
use tokio_util::sync::CancellationToken;

use super::{Mode, Shared, frames::pass_frames, turns::Turn};

/// Bytes in hand at once, of one direction.
const CHUNK: usize = 64 * 1024;
/// How a client of AMQP begins.
const AMQP: &[u8] = b"AMQP";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// Carries bytes until both sides have ended in good order.
///
/// # Errors
/// One side broke: the other is to be told.
pub(super) async fn both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    frozen: &CancellationToken,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let talk = Talk {
        shared,
        frozen,
        is_amqp: AtomicBool::new(false),
        turn: Mutex::default(),
    };
    tokio::try_join!(
        talk.one_way(Way::ToServer, from_client, to_server),
        talk.one_way(Way::ToClient, from_server, to_client),
    )?;
    Ok(())
}

/// What both directions of a connection share.
struct Talk<'a> {
    shared: &'a Shared,
    frozen: &'a CancellationToken,
    is_amqp: AtomicBool,
    turn: Mutex<Turn>,
}

impl Talk<'_> {
    async fn one_way(
        &self,
        way: Way,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        tokio::select! {
            ended = self.pass(way, &mut from, &mut to) => match ended {
                // What it noticed of the end of the frozen side counts no more.
                Err(_) if self.frozen.is_cancelled() => {}
                ended => return ended,
            },
            () = self.frozen.cancelled() => {}
        }
        let mut lost = vec![0; CHUNK];
        while let Ok(1..) = from.read(&mut lost).await {}
        Ok(())
    }

    async fn pass(
        &self,
        way: Way,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut modes = self.shared.mode.subscribe();
        let mut chunk = vec![0; CHUNK];
        let mut incomplete = Vec::new();
        let mut began = false;
        loop {
            let count = from.read(&mut chunk).await?;
            let mode = modes.wait_for(|mode| *mode != Mode::Stall).await;
            let mode = *mode.expect("the proxy outlives its connections");
            if let Mode::Delay(time) = mode {
                tokio::time::sleep(time).await;
            }
            let bytes = &chunk[..count];
            if way == Way::ToServer && !began {
                self.is_amqp
                    .store(bytes.starts_with(AMQP), Ordering::SeqCst);
            }
            began = true;
            if count == 0 {
                return to.shutdown().await;
            }
            self.count(way);
            // Frame by frame in every mode, so that it is known where one begins when the mode changes.
            if way == Way::ToClient && self.is_amqp.load(Ordering::SeqCst) {
                incomplete.extend_from_slice(bytes);
                let whole = pass_frames(&mut incomplete, mode == Mode::DropConfirms);
                to.write_all(&whole).await?;
            } else {
                to.write_all(bytes).await?;
            }
        }
    }

    fn count(&self, way: Way) {
        let mut turn = self.turn.lock().unwrap();
        match way {
            Way::ToServer => self.shared.turns.asked(&mut turn),
            Way::ToClient => self.shared.turns.answered(&mut turn),
        }
    }
}
