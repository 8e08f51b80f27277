#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use futures::AsyncWriteExt;
use rtc_stun::message::{CLASS_REQUEST, METHOD_ALLOCATE, MessageType, TransactionId};
use starling_wire::streams::write_message;
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::{super::codec::begin, *};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A stream that is served, its other end, and what the server hears.
fn served() -> (tokio::task::JoinHandle<()>, Compat<DuplexStream>, mpsc::Receiver<FromStream>) {
    let StreamTable { streams, arriving, .. } = StreamTable::new(8, 8);
    let (ours, theirs) = tokio::io::duplex(4096);
    let serving = tokio::spawn(async move { streams.serve(theirs.compat(), HERE, false).await });
    (serving, ours.compat(), arriving)
}

fn request() -> Vec<u8> {
    begin(MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST), TransactionId::new()).raw
}

#[tokio::test]
async fn messages_go_both_ways_until_the_client_leaves() {
    let (serving, mut client, mut heard) = served();
    let Some(FromStream::Opened(who, replies)) = heard.recv().await else { unreachable!("it opens") };
    let question = request();
    write_message(&mut client, &question).await.unwrap();
    client.flush().await.unwrap();
    assert!(
        matches!(heard.recv().await, Some(FromStream::Message(from, message)) if (from, &message) == (who, &question))
    );
    replies.send(vec![0x40, 1, 0, 1, 9]).await.unwrap();
    assert_eq!(read_message(&mut client, 64).await.unwrap().unwrap(), [0x40, 1, 0, 1, 9]);
    drop(client);
    assert!(matches!(heard.recv().await, Some(FromStream::Closed(gone)) if gone == who));
    serving.await.unwrap();
}

#[tokio::test]
async fn who_sends_something_else_or_what_is_too_long_is_left() {
    for bytes in [&[0x80; 64][..], &[0x40, 1, 0xff, 0xff]] {
        let (serving, mut client, mut heard) = served();
        client.write_all(bytes).await.unwrap();
        client.flush().await.unwrap();
        serving.await.unwrap();
        assert!(matches!(heard.recv().await, Some(FromStream::Opened(..))));
        assert!(matches!(heard.recv().await, Some(FromStream::Closed(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_left_also_in_the_middle_of_a_message() {
    for begun in [&[][..], &request()[..7]] {
        let (serving, mut client, mut heard) = served();
        let Some(FromStream::Opened(_, _replies)) = heard.recv().await else { unreachable!("it opens") };
        client.write_all(begun).await.unwrap();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn whom_the_server_does_not_take_is_left() {
    let (serving, _client, mut heard) = served();
    drop(heard.recv().await);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_nobody() {
    let (_serving, _client, mut heard) = served();
    let Some(FromStream::Opened(_, replies)) = heard.recv().await else { unreachable!("it opens") };
    let mut taken = 0;
    while replies.try_send(vec![0x40, 1, 0x04, 0].into_iter().chain([9; 1024]).collect()).is_ok() {
        taken += 1;
        tokio::task::yield_now().await;
    }
    assert!(taken <= TURN_STREAM_QUEUE + 8, "{taken}");
}
