//! Bytes on their way through the proxy.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{Mode, frames::pass_frames};

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
    mode: &watch::Sender<Mode>,
    frozen: &CancellationToken,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let is_amqp = AtomicBool::new(false);
    let one_way = |way, from, to| one_way(way, from, to, mode.subscribe(), frozen, &is_amqp);
    tokio::try_join!(
        one_way(Way::ToServer, from_client, to_server),
        one_way(Way::ToClient, from_server, to_client),
    )?;
    Ok(())
}

async fn one_way(
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mode: watch::Receiver<Mode>,
    frozen: &CancellationToken,
    is_amqp: &AtomicBool,
) -> io::Result<()> {
    tokio::select! {
        ended = pass(way, &mut from, &mut to, mode, is_amqp) => match ended {
            // What it noticed of the end of the frozen side counts no more.
            Err(_) if frozen.is_cancelled() => {}
            ended => return ended,
        },
        () = frozen.cancelled() => {}
    }
    let mut lost = vec![0; CHUNK];
    while let Ok(1..) = from.read(&mut lost).await {}
    Ok(())
}

async fn pass(
    way: Way,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    is_amqp: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut incomplete = Vec::new();
    let mut began = false;
    loop {
        let count = from.read(&mut chunk).await?;
        let mode = mode.wait_for(|mode| *mode != Mode::Stall).await;
        let mode = *mode.expect("the proxy outlives its connections");
        if let Mode::Delay(time) = mode {
            tokio::time::sleep(time).await;
        }
        let bytes = &chunk[..count];
        if way == Way::ToServer && !began {
            is_amqp.store(bytes.starts_with(AMQP), Ordering::SeqCst);
        }
        began = true;
        if count == 0 {
            return to.shutdown().await;
        }
        // Frame by frame in every mode, so that it is known where one begins when the mode changes.
        if way == Way::ToClient && is_amqp.load(Ordering::SeqCst) {
            incomplete.extend_from_slice(bytes);
            let whole = pass_frames(&mut incomplete, mode == Mode::DropConfirms);
            to.write_all(&whole).await?;
        } else {
            to.write_all(bytes).await?;
        }
    }
}
