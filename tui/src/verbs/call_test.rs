//! `starling call test`: what a call needs, tried; each failure with a remedy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ratatui::{Terminal, backend::CrosstermBackend, crossterm::terminal::size, layout::Rect};
use starling_control::{
    lines::{Check, RendererCost},
    methods::calls::Test,
    objects::RelayTest,
};
use starling_node::media::{
    audio::{AudioSink, AudioSource, device, level},
    limits::TICK,
    video::{Frame, VideoSource, camera, pattern},
};

use super::{people::wait_registered, print, print_object};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::Profile,
    rpc,
    screen::{Colours, GraphicsProtocol, Picture, Pictures, Tile, half_blocks},
};

struct Found {
    what: &'static str,
    ok: bool,
    text: String,
    remedy: &'static str,
}

pub async fn call_test(global: &Global, only_renderers: bool) -> CliResult {
    if only_renderers {
        for cost in renderers() {
            if global.json {
                print_object(&cost)?;
                continue;
            }
            let RendererCost { way, columns, rows, ms, bytes } = cost;
            print(format!("{way:<6} {columns}×{rows}  {ms} ms, {bytes} bytes a frame"))?;
        }
        return Ok(());
    }
    let mut found = Vec::new();
    let devices = tokio::task::spawn_blocking(|| [microphone(), loudspeaker(), eyes()]).await;
    found.extend(devices.map_err(CliError::internal)?);
    found.push(terminal());
    found.push(relay(global).await);
    let bad = found.iter().any(|f| !f.ok && f.what == "relay");
    for f in &found {
        if global.json {
            let (check, found) = (f.what.to_owned(), f.text.clone());
            print_object(&Check { check, ok: Some(f.ok), found, remedy: f.remedy.to_owned() })?;
            continue;
        }
        print(format!("{} {:<12} {}", if f.ok { "✓" } else { "✗" }, f.what, f.text))?;
        if !f.ok && !f.remedy.is_empty() {
            print(format!("               → {}", f.remedy))?;
        }
    }
    if bad { Err(CliError::unreachable("calls may not work everywhere: see above")) } else { Ok(()) }
}

fn microphone() -> Found {
    let what = "microphone";
    let remedy = "plug one in, start the sound server, or call with --audio-in none";
    let listened = device::Microphone::open("default").and_then(|mut source| {
        let (mut tick, mut loudest) = ([0.0; TICK], 0.0f32);
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            source.read(&mut tick)?;
            loudest = loudest.max(level(&tick));
        }
        Ok(loudest)
    });
    match listened {
        Ok(loudest) if loudest > 0.0005 => {
            Found { what, ok: true, text: format!("works, level up to {:.0} %", loudest * 100.0), remedy: "" }
        }
        Ok(_) => Found { what, ok: true, text: "opens, and hears nothing: it may be muted".into(), remedy: "" },
        Err(error) => Found { what, ok: false, text: error.to_string(), remedy },
    }
}

fn loudspeaker() -> Found {
    let what = "loudspeaker";
    let remedy = "plug one in, start the sound server, or call with --audio-out none";
    let played = device::Loudspeaker::open("default").and_then(|mut sink| {
        // A quarter of a second of a quiet tone.
        for n in 0..25 {
            let mut tick = [0.0; TICK];
            for (i, sample) in tick.iter_mut().enumerate() {
                *sample = 0.05 * (((n * TICK + i) as f32) * 0.0576).sin();
            }
            sink.play(&tick)?;
        }
        Ok(())
    });
    match played {
        Ok(()) => Found { what, ok: true, text: "plays; you should have heard a short tone".into(), remedy: "" },
        Err(error) => Found { what, ok: false, text: error.to_string(), remedy },
    }
}

fn eyes() -> Found {
    let what = "camera";
    let remedy = "plug one in, close what uses it, or call without --video";
    let seen = camera::Camera::open("default").and_then(|mut camera| {
        let mut frame = Frame::default();
        camera.read(&mut frame)?;
        Ok((frame.width, frame.height))
    });
    match seen {
        Ok((width, height)) => Found { what, ok: true, text: format!("works, {width}×{height}"), remedy: "" },
        Err(error) => Found { what, ok: false, text: error.to_string(), remedy },
    }
}

/// Counts what is written.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(bytes.len(), Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Frames that are drawn for a measurement.
const FRAMES: u32 = 60;
/// Pixels of a cell in a common font.
const CELL: (u32, u32) = (8, 16);

/// Time and bytes of a frame of the test pattern.
fn cost(way: GraphicsProtocol, columns: u16, rows: u16) -> Option<(Duration, usize)> {
    let area = Rect { x: 0, y: 0, width: columns, height: rows };
    let options = ratatui::TerminalOptions { viewport: ratatui::Viewport::Fixed(area) };
    let written = Counter::default();
    let mut out = written.clone();
    let mut terminal = Terminal::with_options(CrosstermBackend::new(written.clone()), options).ok()?;
    let mut pictures = Pictures::new(way, CELL);
    let (width, height) = pictures.pixels(area);
    let mut frame = Frame::black(640, 360);
    let mut time = Duration::ZERO;
    // The first one paints everything.
    for number in 0..=FRAMES {
        pattern::draw(number, &mut frame);
        let began = Instant::now();
        let small = frame.scaled(width as usize, height as usize);
        let (width, height) = (small.width as u16, small.height as u16);
        let picture = Picture { number: number.into(), width, height, rgb: small.to_rgb() };
        let tile = Tile { stream: 0, area };
        terminal
            .draw(|f| match way {
                GraphicsProtocol::Cells => half_blocks(&picture, area, Colours::True, f.buffer_mut()),
                _ => pictures.place(tile, &picture, f.buffer_mut()),
            })
            .ok()?;
        pictures.write(&mut out).ok()?;
        // As a terminal does that has read it.
        pictures.forget();
        if number == 0 {
            written.0.store(0, Relaxed);
        } else {
            time += began.elapsed();
        }
    }
    Some((time / FRAMES, written.0.load(Relaxed) / FRAMES as usize))
}

/// What each way of showing pictures costs.
fn renderers() -> Vec<RendererCost> {
    let mut found = Vec::new();
    for (columns, rows) in [(80, 24), (200, 50)] {
        for (name, way) in
            [("cells", GraphicsProtocol::Cells), ("sixel", GraphicsProtocol::Sixel), ("kitty", GraphicsProtocol::Kitty)]
        {
            if let Some((time, bytes)) = cost(way, columns, rows) {
                let ms = (time.as_secs_f64() * 1e5).round() / 1e2;
                found.push(RendererCost { way: name.to_owned(), columns, rows, ms, bytes });
            }
        }
    }
    found
}

fn terminal() -> Found {
    let colours = Colours::of_terminal("");
    let way = GraphicsProtocol::of_terminal();
    let kind = match (way, colours) {
        (GraphicsProtocol::Cells, Colours::True) => "half blocks in true colour",
        (GraphicsProtocol::Cells, _) => "half blocks in 256 colours",
        _ => way.as_str(),
    };
    let (columns, rows) = size().unwrap_or((80, 24));
    let cost = cost(way, columns.clamp(20, 300), rows.clamp(6, 100));
    let cost = cost.map_or_else(String::new, |(time, bytes)| {
        format!(", {:.1} ms and {:.1} kB a frame at {columns}×{rows}", time.as_secs_f64() * 1e3, bytes as f64 / 1e3)
    });
    let remedy = "set COLORTERM=truecolor if your terminal has true colour";
    let ok = colours == Colours::True || way != GraphicsProtocol::Cells;
    Found { what: "terminal", ok, text: format!("{kind}{cost}"), remedy }
}

async fn relay(global: &Global) -> Found {
    let what = "relay";
    let result: CliResult<RelayTest> = async {
        let profile = Profile::new(global)?;
        let client = rpc::acquire(&profile, global).await?;
        wait_registered(&Global { quiet: true, ..global.clone() }, &client).await?;
        let result = client.call(Test {}).await;
        client.finish().await;
        result
    }
    .await;
    let remedy = "the operator of your rendezvous has to open its UDP port for calls (3478) and set turn.public_ip";
    match result {
        Ok(RelayTest { ok: true, set_up_ms, problem, .. }) => {
            let text = format!("a call through it connects in {} ms", set_up_ms.unwrap_or_default());
            match problem {
                // Such calls work, and could be better.
                Some(problem) => Found { what, ok: true, text: format!("{text}; {problem}; {remedy}"), remedy: "" },
                None => Found { what, ok: true, text, remedy: "" },
            }
        }
        Ok(test) => Found { what, ok: false, text: test.problem.unwrap_or_default(), remedy },
        Err(error) => Found { what, ok: false, text: error.message.into(), remedy: "run starling init first" },
    }
}
