//! Chromium at the other side of a call: its pictures and sound reach us, and ours reach it, with and without loss.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};
use starling_media::{
    Call, CallConfig, CallEvent, PeerConfig,
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
    transport::link::Link,
};

/// The page: a camera and a microphone of Chromium's own, one connection, and what it sees of us each second.
const PAGE: &str = r#"<!doctype html><video id=v autoplay muted playsinline></video><script>
const post = (path, body) => fetch(path, {method: 'POST', body: JSON.stringify(body)});
(async () => { try {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 640, height: 360, frameRate: 20}});
  const pc = new RTCPeerConnection();
  pc.ontrack = e => { if (e.track.kind == 'video') v.srcObject = e.streams[0] || new MediaStream([e.track]); };
  for (const track of media.getTracks()) pc.addTrack(track, media);
  await pc.setLocalDescription(await pc.createOffer());
  await new Promise(done => { const ready = () => pc.iceGatheringState == 'complete' && done(); pc.onicegatheringstatechange = ready; ready(); });
  const answer = await (await post('/offer', {sdp: pc.localDescription.sdp})).json();
  await pc.setRemoteDescription({type: 'answer', sdp: answer.sdp});
  let taken = 0;
  setInterval(async () => {
    const found = await (await fetch('/candidates')).json();
    for (; taken < found.length; taken++) try { await pc.addIceCandidate(JSON.parse(found[taken])); } catch (e) { post('/error', {text: '' + e}); }
    const out = {state: pc.connectionState};
    for (const s of (await pc.getStats()).values()) {
      if (s.type == 'inbound-rtp' && s.kind == 'video') Object.assign(out, {frames: s.framesDecoded, fps: s.framesPerSecond, freezes: s.freezeCount, lost: s.packetsLost, width: s.frameWidth, codec: s.codecId});
      if (s.type == 'transport') out.srtp = s.srtpCipher;
      if (s.type == 'inbound-rtp' && s.kind == 'audio') Object.assign(out, {energy: s.totalAudioEnergy, concealed: s.concealedSamples, samples: s.totalSamplesReceived});
    }
    post('/stats', out);
  }, 500);
} catch (e) { post('/error', {text: '' + e}); } })();
</script>"#;

struct Request {
    path: String,
    body: Value,
    stream: TcpStream,
}

impl Request {
    fn read(stream: TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { path, body: serde_json::from_slice(&body).unwrap_or_default(), stream })
    }

    fn answer(mut self, kind: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = self.stream.write_all(head.as_bytes()).and_then(|()| self.stream.write_all(body.as_bytes()));
    }
}

struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn chromium(profile: &std::path::Path, address: &str) -> Option<Browser> {
    let child = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"])
        .args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
        .args(["--autoplay-policy=no-user-gesture-required", "--disable-features=WebRtcHideLocalIpsWithMdns"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{address}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Browser(child)),
        Err(_) => {
            starling_tests::skip("chromium");
            None
        }
    }
}

/// Talks with Chromium; gives what it saw of us in the last second, and us of it.
async fn talk(link: Option<&str>) -> Option<(Vec<Value>, starling_media::CallStats)> {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _browser = chromium(dir.path(), &address)?;
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || Request::read(stream).map(|request| sender.send(request)));
        }
    });
    let (audio, video): (AudioIn, VideoIn) = ("tone".parse().unwrap(), "pattern".parse().unwrap());
    let mut config = CallConfig::from_specs(&audio, &AudioOut::None, &video, &VideoOut::None);
    config.peer = PeerConfig { loopback: true, link: link.map(|l| Link::parse(l).unwrap()), ..PeerConfig::default() };
    let (call, mut events) = Call::start(config).unwrap();
    let mut candidates: Vec<String> = Vec::new();
    let mut seen: Vec<Value> = Vec::new();
    let runtime = tokio::runtime::Handle::current();
    let talking = call.clone();
    let (seen, stats) = tokio::task::spawn_blocking(move || {
        while seen.iter().filter(|s| s["frames"].as_u64() > Some(0)).count() < 24 {
            let request: Request = requests.recv_timeout(Duration::from_secs(60)).expect("Chromium says nothing");
            while let Ok(event) = events.try_recv() {
                if let CallEvent::Candidate(_, json) = event {
                    candidates.push(json);
                }
            }
            match request.path.as_str() {
                "/" => request.answer("text/html", PAGE),
                "/offer" => {
                    let offer = request.body["sdp"].as_str().unwrap().to_owned();
                    let answer = runtime.block_on(talking.answer(0, offer)).unwrap();
                    request.answer("application/json", &json!({ "sdp": answer }).to_string());
                }
                "/candidates" => request.answer("application/json", &json!(candidates).to_string()),
                "/error" => panic!("in Chromium: {}", request.body),
                "/stats" => {
                    seen.push(request.body.clone());
                    assert!(seen.len() < 100, "no video comes: {seen:?}");
                    request.answer("application/json", "{}");
                }
                _ => request.answer("text/plain", ""),
            }
        }
        (seen, talking.stats())
    })
    .await
    .unwrap();
    call.end().await;
    Some((seen, stats))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_sees_and_hears_us_and_we_it() {
    let Some((seen, stats)) = talk(None).await else { return };
    let last = seen.last().unwrap();
    println!("chromium without loss: {last}");
    assert!(last["fps"].as_f64() > Some(20.0), "{last}");
    // Nothing plays it there, but it comes whole.
    let number = |name: &str| last[name].as_f64().unwrap_or(0.0);
    assert!(number("samples") > 100_000.0 && number("concealed") < number("samples") / 10.0, "{last}");
    assert!(last["freezes"].as_u64() <= Some(1), "{last}");
    // Though it also knows AES-GCM.
    assert_eq!(last["srtp"], "AES_CM_128_HMAC_SHA1_80", "{last}");
    let route = &stats.routes[0];
    assert!(route.video.frames > 80 && route.video.broken_frames == 0, "{stats:#?}");
    assert!(route.audio.packets > 200, "{stats:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_gets_our_video_through_ten_percent_of_loss() {
    let Some((seen, _)) = talk(Some("loss=0.1,delay=20,seed=9")).await else { return };
    let last = seen.last().unwrap();
    println!("chromium with 10 % loss: {last}");
    let rates: Vec<f64> = seen[seen.len() - 12..].iter().filter_map(|s| s["fps"].as_f64()).collect();
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    assert!(mean > 15.0, "{rates:?}");
}
