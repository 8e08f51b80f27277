//! `invite` and `contacts`.

use std::time::{Duration, Instant};

use starling_control::{
    event::EventKind,
    lines::{Asks, OpenedCode, SafetyNumber},
    methods::{
        chats,
        contacts::{
            Accept, Account, Add, Decline, Invite, List, OpenCode, Remove, Rename, Requests, Trust, Unblock, UseCode,
            Verify,
        },
        node,
    },
    objects::{Contact, ContactState, Path, Presence, Rendezvous, Status},
};
use starling_keys::RendezvousAddr;

use super::{
    contacts_in_short,
    decisions::{answer, block, change},
    find_whole,
    init::parse_home,
    introduction::home_of_node,
    node_of, print, print_object, say,
};
use crate::{
    cli::{Contacts, Global, no_time_span, parse_time_span},
    error::{CliError, CliResult, problem::home_hint},
    local_time::LocalTimes,
    output::print_coloured,
    rpc::Client,
    terminal::safe_line,
};

/// How long a short code can be used, in seconds.
pub const CODE_SECONDS: u64 = 600;

/// The QR code of a text: black on white whatever the terminal's colours, four modules of quiet zone, two modules in a cell.
pub fn qr(text: &str) -> CliResult<Vec<String>> {
    use qrcode::{Color, EcLevel, QrCode};
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L)
        .map_err(|_| CliError::usage("the invite is too long for a QR code"))?;
    let (width, quiet) = (code.width() as i64, 4);
    let dark = |x: i64, y: i64| {
        let inside = (0..width).contains(&x) && (0..width).contains(&y);
        inside && code[(x as usize, y as usize)] == Color::Dark
    };
    let mut lines = Vec::new();
    for y in (-quiet..width + quiet).step_by(2) {
        let cells = (-quiet..width + quiet).map(|x| match (dark(x, y), dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        lines.push(cells.collect());
    }
    Ok(lines)
}

pub async fn invite(global: &Global, uses: u32, expires: &str, show_qr: bool, code: bool) -> CliResult {
    let lifetime = parse_time_span(expires).ok_or_else(|| no_time_span(expires, "30m, 12h or 7d"))?;
    let (_, client) = node_of(global).await?;
    if code {
        return by_code(global, &client).await;
    }
    // Until our home knows the invite it is worth nothing.
    let otherwise = "see `starling doctor`, and try again when it answers";
    if let Err(error) = ensure_registered(global, &client, otherwise).await {
        client.finish().await;
        return Err(error);
    }
    catch_up(global, &client).await?;
    let invite = client.call(Invite { uses: Some(uses), lifetime_ms: Some(lifetime) }).await?;
    if global.json {
        print_object(&invite)?;
    } else {
        print(&invite.link)?;
        if show_qr {
            for line in qr(&invite.link)? {
                // Explicit black on white: dark themes would invert it, and cameras would not read it.
                print_coloured("38;2;0;0;0;48;2;255;255;255", &line)?;
            }
        }
        say(
            global,
            format!(
                "Good for {uses} use(s) until {}. They run: starling contacts add LINK",
                LocalTimes::new(global).minute_with_zone(&invite.expires_at)
            ),
        );
    }
    client.finish().await;
    Ok(())
}

/// How long what can be shown without a rendezvous waits for a connection to it.
const CONNECTS: Duration = Duration::from_millis(1500);
/// How long a rendezvous that is connected may take to give what waits there.
const CATCHES_UP: Duration = Duration::from_secs(4);
/// How long what needs it waits until it knows us.
const REGISTERS: Duration = Duration::from_millis(7500);

/// Waits until our home is connected and knows us, unless it does not take connections.
pub async fn wait_registered(global: &Global, client: &Client) -> CliResult {
    wait_registered_within(global, client, REGISTERS).await
}

/// The same for what is of use without our home: one that is silent is not waited for.
pub async fn wait_connected(global: &Global, client: &Client) -> CliResult {
    wait_registered_within(global, client, CONNECTS).await
}

async fn wait_registered_within(global: &Global, client: &Client, connects: Duration) -> CliResult {
    let began = Instant::now();
    loop {
        let status = client.call(node::Status::default()).await?;
        if status.homes().next().is_none() || status.homes().any(|home| home.registered) {
            warn_of_clock(global, &status);
            return Ok(());
        }
        if let Some((home, refusal)) = status.homes().find_map(|home| Some((home, home.refusal()?))) {
            say(global, format!("warning: the rendezvous does not register us: {refusal}"));
            if let Some(hint) = hint_for(home) {
                say(global, format!("hint: {hint}"));
            }
            return Ok(());
        }
        // A server that does not take connections will not do so in a moment.
        let connected = status.homes().any(|home| home.connected);
        let limit = if connected { REGISTERS } else { connects };
        if status.is_cut_off() || began.elapsed() > limit {
            let problem = status.homes().find_map(|home| home.problem.as_deref()).unwrap_or("it does not answer");
            say(global, format!("warning: our rendezvous cannot be reached ({problem}): what needs it waits"));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until our home knows us.
///
/// # Errors
/// `refused` with the reason if it does not register us, `unreachable` if it cannot be reached or does not answer; `otherwise` is the hint if nothing
/// better is known.
pub async fn ensure_registered(global: &Global, client: &Client, otherwise: &'static str) -> CliResult {
    let quiet = Global { quiet: true, ..global.clone() };
    wait_registered(&quiet, client).await?;
    let status = client.call(node::Status::default()).await?;
    if status.homes().next().is_none() || status.homes().any(|home| home.registered) {
        return Ok(());
    }
    let home = status.homes().find(|home| home.problem.is_some());
    let problem = home.and_then(|home| home.problem.as_deref()).unwrap_or("it does not answer");
    let error = if status.homes().any(|home| home.connected) {
        CliError::new("refused", 6, format!("the rendezvous does not register this account: {problem}"))
    } else {
        CliError::unreachable(format!("the rendezvous cannot be reached: {problem}"))
    };
    Err(error.hint(home.and_then(hint_for).unwrap_or(otherwise)))
}

/// Says if this machine's clock is far from that of the rendezvous.
pub fn warn_of_clock(global: &Global, status: &Status) {
    let offsets = status.homes().filter(|home| home.connected).map(|home| home.clock_offset_ms);
    let offset = offsets.max_by_key(|offset| offset.abs()).unwrap_or(0);
    if offset.abs() > 5 * 60_000 {
        let direction = if offset > 0 { "behind" } else { "ahead of" };
        let minutes = offset.abs() / 60_000;
        say(
            global,
            format!(
                "warning: this machine's clock is {minutes} minutes {direction} the rendezvous: set it (timedatectl set-ntp true)"
            ),
        );
    }
}

/// What to do about the problem of a rendezvous, as far as it is known.
pub fn hint_for(home: &Rendezvous) -> Option<&'static str> {
    home.problem_code.as_deref().and_then(home_hint)
}

/// Before something is shown: what waits at the rendezvous is fetched, if that goes at once.
pub async fn catch_up(global: &Global, client: &Client) -> CliResult {
    if !client.is_own() {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        let status = client.call(node::Status::default()).await?;
        if status.synced || status.homes().next().is_none() {
            return Ok(());
        }
        let problem = status.homes().find_map(|home| home.refusal().or_else(|| home.failure()));
        if let Some(problem) = problem {
            say(global, format!("note: the rendezvous was not asked for news: {problem}"));
            return Ok(());
        }
        let connected = status.homes().any(|home| home.connected);
        if began.elapsed() > if connected { CATCHES_UP } else { CONNECTS } {
            say(global, "note: the rendezvous does not answer: what waits there is not shown");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn by_code(global: &Global, client: &Client) -> CliResult {
    client.call(node::Subscribe::since("now")).await?;
    let opened = client.call(OpenCode { while_connected: Some(true) }).await?.code;
    if global.json {
        print_object(&OpenedCode { code: opened.clone(), rendezvous: None, expires_in_s: CODE_SECONDS })?;
    } else {
        print(&opened)?;
        say(global, "Waiting up to ten minutes for them to run: starling contacts add CODE");
    }
    loop {
        match client.event().await?.kind {
            EventKind::CodeEnded { code, used: true } if code == opened => break,
            EventKind::CodeEnded { code, used: false } if code == opened => {
                return Err(CliError::timeout("the code was not used in time, or burnt by three wrong guesses")
                    .hint("run `starling invite --code` again"));
            }
            EventKind::ContactAccepted { contact } if !global.json => {
                print(format!("{} is a contact now", safe_line(contact.name.as_deref().unwrap_or_default())))?;
            }
            _ => {}
        }
    }
    // The new contact's name is on its way; leave once it is stored.
    client.finish().await;
    Ok(())
}

pub async fn contacts(global: &Global, command: Contacts) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = run(global, &client, command).await;
    client.finish().await;
    result
}

async fn run(global: &Global, client: &Client, command: Contacts) -> CliResult {
    match command {
        Contacts::List => {
            catch_up(global, client).await?;
            list(global, client).await
        }
        Contacts::Add { what, name, greeting, rendezvous } => {
            add(global, client, &what, name, &greeting, rendezvous.as_deref()).await
        }
        Contacts::Verify { who, yes, undo } => verify(global, client, &who, yes, undo).await,
        Contacts::Accept { who } => {
            answer(global, client, &who, "accepted", |account| Accept { account }).await?;
            settle(client).await;
            Ok(())
        }
        Contacts::Decline { who } => answer(global, client, &who, "declined", |account| Decline { account }).await,
        Contacts::Rename { who, name } => {
            change(global, client, &who, "renamed", |account| Rename { account, name }).await
        }
        Contacts::Trust { who } => change(global, client, &who, "trusted", |account| Trust { account }).await,
        Contacts::Block { who } => block(global, client, &who).await,
        Contacts::Unblock { who } => change(global, client, &who, "unblocked", |account| Unblock { account }).await,
        Contacts::Remove { who } => change(global, client, &who, "removed", |account| Remove { account }).await,
    }
}

/// Gives what a one-off node still owes to others a moment to leave.
pub async fn settle(client: &Client) {
    if !client.is_own() {
        return;
    }
    // A request costs some seconds of work; what is not out by then goes out at the next run.
    for _ in 0..200 {
        let (Ok(chats), Ok(status)) = (client.call(chats::List {}).await, client.call(node::Status::default()).await)
        else {
            return;
        };
        let connected = status.rendezvous.iter().any(|server| server.connected);
        let waiting = chats.iter().any(|chat| chat.queued > 0) || status.requests_waiting > 0;
        if !waiting || !connected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn list(global: &Global, client: &Client) -> CliResult {
    let contacts = if global.json { client.call(List::default()).await? } else { contacts_in_short(client).await? };
    let requests = client.call(Requests {}).await?;
    if global.json {
        contacts.iter().try_for_each(print_object)?;
        let mut asks = requests.into_iter().map(|request| Asks { request, state: "asks".into() });
        return asks.try_for_each(|asks| print_object(&asks));
    }
    let known: Vec<&Contact> = contacts.iter().filter(|c| c.state != ContactState::Removed).collect();
    for contact in &known {
        print(contact_line(contact))?;
    }
    for request in &requests {
        print(format!(
            "? {:<24} asks to be a contact: {}  (accept with `starling contacts accept {}`)",
            safe_line(&request.name),
            safe_line(&request.greeting),
            request.account
        ))?;
    }
    if known.is_empty() && requests.is_empty() {
        say(global, "No contacts yet. `starling invite --qr` makes an invite for the first.");
    }
    Ok(())
}

fn contact_line(contact: &Contact) -> String {
    let mark = match contact.presence {
        Some(Presence::Online) => "●",
        Some(Presence::Away) => "◐",
        Some(Presence::Offline) | None => "○",
    };
    let state = match contact.state {
        ContactState::Requested => "asked, not yet accepted",
        state => state.as_str(),
    };
    let mut notes = vec![state, if contact.verified { "verified" } else { "not verified" }];
    if contact.key_changed {
        notes.push("KEY CHANGED");
    }
    let doubt = name_doubt(contact);
    notes.extend(doubt.as_deref());
    if contact.path != Path::None {
        notes.push(contact.path.as_str());
    }
    format!("{mark} {:<24} {}", safe_line(&contact.name), notes.join(", "))
}

/// What there is to say of the user name by which somebody was found.
fn name_doubt(contact: &Contact) -> Option<String> {
    let name = contact.found_as.as_deref()?;
    Some(match contact.state {
        ContactState::Active => format!("found as {name}, WHICH THEY DO NOT SAY THEY ARE"),
        _ => format!("found as {name}"),
    })
}

async fn add(
    global: &Global,
    client: &Client,
    what: &str,
    name: Option<String>,
    greeting: &str,
    rendezvous: Option<&str>,
) -> CliResult {
    let home = match rendezvous {
        Some(text) => Some(home_of_node(global, client, text).await?),
        None => None,
    };
    let added = add_contact(client, what, name, greeting, home).await?;
    settle(client).await;
    let contact = find_whole(client, added.account.as_str()).await?;
    if global.json {
        return print_object(&contact);
    }
    print(format!(
        "{} {}",
        safe_line(&contact.name),
        match contact.state {
            ContactState::Active => "is a contact now",
            _ => "was asked; they are a contact once they accept (at once, if the invite is good)",
        }
    ))?;
    if let Some(name) = &contact.found_as {
        let name = safe_line(name);
        say(
            global,
            format!(
                "hint: a rendezvous can lead to anybody by a name: compare numbers, starling contacts verify {name}"
            ),
        );
    }
    Ok(())
}

/// Adds somebody by invite link, short code or user@host.
pub async fn add_contact(
    client: &Client,
    what: &str,
    name: Option<String>,
    greeting: &str,
    home: Option<RendezvousAddr>,
) -> CliResult<Account> {
    let add = Add { greeting: Some(greeting.to_owned()), name, ..Add::default() };
    let what = &starling_text::unquoted(what);
    if starling_text::folded(what).starts_with(starling_keys::LINK_SCHEME) {
        what.parse::<starling_keys::Invite>().map_err(|e| CliError::usage(e.to_string()))?;
        client.call(Add { invite: Some(what.clone()), ..add }).await
    } else if let Some((user, host)) = what.split_once('@').filter(|(user, _)| !user.is_empty()) {
        let home = match home {
            Some(home) => home,
            None => resolve_host(client, host).await?,
        };
        let (username, rendezvous) = (Some(starling_text::folded(user)), Some(home.to_string()));
        client.call(Add { username, rendezvous, ..add }).await
    } else {
        what.parse::<starling_keys::ShortCode>().map_err(|e| {
            CliError::usage(format!("“{}” is no invite, short code or address: {e}", safe_line(what))).hint("an invite begins with “starling:”, a code looks like 271828-uniform-quiz, an address like alice@rendezvous.example")
        })?;
        client.call(UseCode { code: what.clone(), rendezvous: home.map(|h| h.to_string()) }).await
    }
}

/// A home of ours at this host, or the address itself if it is one.
async fn resolve_host(client: &Client, host: &str) -> CliResult<RendezvousAddr> {
    // With the key in it.
    if host.contains('/') {
        return parse_home(host);
    }
    let wanted = host.split(':').next().unwrap_or(host);
    for home in client.call(node::Status::default()).await?.rendezvous {
        let Ok(address) = home.address.parse::<RendezvousAddr>() else {
            continue;
        };
        let is = match &address.host {
            starling_keys::Host::V4(ip) => ip.to_string() == wanted,
            starling_keys::Host::V6(ip) => ip.to_string() == wanted,
            starling_keys::Host::Dns(name) => name == wanted,
        };
        if is {
            return Ok(address);
        }
    }
    Err(CliError::not_found(format!("the rendezvous “{host}” is not known here"))
        .hint("give its address with --rendezvous ADDR: the key in it is what makes it trustworthy"))
}

async fn verify(global: &Global, client: &Client, who: &str, yes: bool, undo: bool) -> CliResult {
    let contact = find_whole(client, who).await?;
    if yes || undo {
        client.call(Verify { account: contact.account.clone(), verified: Some(yes) }).await?;
    }
    let verified = if yes || undo { yes } else { contact.verified };
    let (account, safety_number) = (contact.account, contact.safety_number.unwrap_or_default());
    if global.json {
        return print_object(&SafetyNumber { account, safety_number, verified });
    }
    let groups: Vec<&str> = safety_number.split(' ').collect();
    for row in groups.chunks(4) {
        print(row.join(" "))?;
    }
    say(
        global,
        if verified {
            "Verified."
        } else {
            "Compare these 60 digits with theirs, in person or on a call. If they are the same: the same command with --yes."
        },
    );
    Ok(())
}
