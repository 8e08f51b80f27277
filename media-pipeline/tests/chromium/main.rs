//! Chromium at the other side of a call: its pictures and sound reach us, and ours reach it, with and without loss, and wherever either end moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod browser;
mod roaming;
mod talk;

use std::{net::TcpListener, process::Command, time::Duration};

use browser::{Browser, Caller};
use serde_json::Value;
use starling_media::{
    CallConfig, CallStats, PeerConfig,
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
    transport::link::Link,
};
use talk::Talk;

/// A tone and pictures, which go out so.
fn config(video: &str, peer: PeerConfig) -> CallConfig {
    let (audio, video): (AudioIn, VideoIn) = ("tone".parse().unwrap(), video.parse().unwrap());
    CallConfig { peer, ..CallConfig::from_specs(&audio, &AudioOut::None, &video, &VideoOut::None) }
}

/// Talks with Chromium; gives what it saw of us every half second, and us of it.
async fn talk_over(link: Option<&str>) -> Option<(Vec<Value>, CallStats)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let browser = Browser::start(Command::new("chromium"), listener, Caller::Chromium)?;
    let peer = PeerConfig { loopback: true, link: link.map(|l| Link::parse(l).unwrap()), ..PeerConfig::default() };
    let mut talk = Talk::answer(browser, config("pattern", peer));
    talk.until("video", |talk| talk.browser.report()["frames"].as_u64() > Some(0)).await;
    let mut seen = Vec::new();
    for _ in 0..24 {
        talk.pass(Duration::from_millis(500)).await;
        seen.push(talk.browser.report());
    }
    let stats = talk.call.stats();
    talk.call.end().await;
    Some((seen, stats))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_sees_and_hears_us_and_we_it() {
    let Some((seen, stats)) = talk_over(None).await else { return };
    let last = seen.last().unwrap();
    println!("chromium without loss: {last}");
    assert!(last["fps"].as_f64() > Some(20.0), "{last}");
    // Nothing plays it there, but it comes whole.
    let number = |name: &str| last[name].as_f64().unwrap_or(0.0);
    assert!(number("samples") > 100_000.0 && number("concealed") < number("samples") / 10.0, "{last}");
    assert!(last["freezes"].as_u64() <= Some(1), "{last}");
    // Though it also knows AES-GCM.
    assert_eq!(last["srtp"], "SRTP_AES128_CM_HMAC_SHA1_80", "{last}");
    let route = &stats.routes[0];
    assert!(route.video.frames > 80 && route.video.broken_frames == 0, "{stats:#?}");
    assert!(route.audio.packets > 200, "{stats:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_gets_our_video_through_ten_percent_of_loss() {
    let Some((seen, _)) = talk_over(Some("loss=0.1,delay=20,seed=9")).await else { return };
    let last = seen.last().unwrap();
    println!("chromium with 10 % loss: {last}");
    let rates: Vec<f64> = seen[seen.len() - 12..].iter().filter_map(|s| s["fps"].as_f64()).collect();
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    assert!(mean > 15.0, "{rates:?}");
}
