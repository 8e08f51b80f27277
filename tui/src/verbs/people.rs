//! `invite` and `contacts`.

use serde_json::{Value, json};
use starling_control::{
    methods::{chats, node},
    objects::{Rendezvous, Status},
};

use super::{contacts_in_short, field, find, find_whole, init::parse_home, node_of, print, say};
use crate::{
    cli::{Contacts, Global, parse_duration},
    error::{CliError, CliResult},
    local_time::LocalTimes,
    output::print_coloured,
    rpc::Client,
    terminal::safe_line,
};

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
    let lifetime = parse_duration(expires)
        .ok_or_else(|| CliError::usage(format!("“{expires}” is no time: use 30m, 12h or 7d")))?;
    let (_, client) = node_of(global).await?;
    if code {
        return by_code(global, &client).await;
    }
    catch_up(global, &client).await?;
    let invite = client.call("invite", json!({ "uses": uses, "lifetime_ms": lifetime })).await?;
    // Until our home knows the invite it is worth nothing.
    wait_registered(global, &client).await?;
    if global.json {
        print(&invite)?;
    } else {
        let link = field(&invite, "link");
        print(link)?;
        if show_qr {
            for line in qr(link)? {
                // Explicit black on white: dark themes would invert it, and cameras would not read it.
                print_coloured("38;2;0;0;0;48;2;255;255;255", &line)?;
            }
        }
        say(
            global,
            format!(
                "Good for {uses} use(s) until {}. They run: starling contacts add LINK",
                LocalTimes::new(global).minute_with_zone(field(&invite, "expires_at"))
            ),
        );
    }
    client.finish().await;
    Ok(())
}

/// Waits until our home is connected and knows us, unless it does not take connections.
pub async fn wait_registered(global: &Global, client: &Client) -> CliResult {
    for attempt in 0..150 {
        let status = client.request(node::Status {}).await?;
        if status.homes().next().is_none() || status.homes().any(|home| home.registered) {
            warn_of_clock(global, &status);
            return Ok(());
        }
        if let Some(refusal) = status.homes().find_map(Rendezvous::refusal) {
            say(global, format!("warning: the rendezvous does not register us: {refusal}"));
            if let Some(hint) = home_hint(refusal) {
                say(global, format!("hint: {hint}"));
            }
            return Ok(());
        }
        // A server that does not take connections will not do so in a moment.
        if status.is_cut_off() || attempt == 149 {
            let problem = status.homes().find_map(Rendezvous::failure).unwrap_or("it does not answer");
            say(global, format!("warning: our rendezvous cannot be reached ({problem}): what needs it waits"));
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
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

/// What to do about a problem with a rendezvous, as far as it is known.
pub fn home_hint(problem: &str) -> Option<&'static str> {
    let table = [
        ("token", "ask its operator for a token, then: starling profile rendezvous --invite-token TOKEN"),
        (
            "restored",
            "use the device that took its place; `starling init --restore` with the phrase takes the account back",
        ),
        ("banned", "ask its operator, or move: starling profile rendezvous ADDR"),
        ("registers nobody", "move to another: starling profile rendezvous ADDR"),
        ("user name", "choose another: starling profile username NAME"),
        ("more work", "move to another: starling profile rendezvous ADDR"),
    ];
    table.iter().find(|(part, _)| problem.contains(part)).map(|(_, hint)| *hint)
}

/// Before something is shown: what waits at the rendezvous is fetched, if that goes at once.
pub async fn catch_up(global: &Global, client: &Client) -> CliResult {
    if !client.is_own() {
        return Ok(());
    }
    for _ in 0..160 {
        let status = client.request(node::Status {}).await?;
        if status.synced || status.homes().next().is_none() {
            return Ok(());
        }
        let problem = status.homes().find_map(|home| home.refusal().or_else(|| home.failure()));
        if let Some(problem) = problem {
            say(global, format!("note: the rendezvous was not asked for news: {problem}"));
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    say(global, "note: the rendezvous does not answer: what waits there is not shown");
    Ok(())
}

async fn by_code(global: &Global, client: &Client) -> CliResult {
    client.call("subscribe", json!({ "since": "now" })).await?;
    let opened = client.call("code.open", json!({})).await?;
    let code = field(&opened, "code").to_owned();
    if global.json {
        print(json!({ "code": code, "expires_in_s": 600 }))?;
    } else {
        print(&code)?;
        say(global, "Waiting up to ten minutes for them to run: starling contacts add CODE");
    }
    loop {
        let event = client.event().await?;
        if event["type"] == "code.ended" && event["code"] == code {
            if event["used"] != true {
                return Err(CliError::timeout("the code was not used in time, or burnt by three wrong guesses")
                    .hint("run `starling invite --code` again"));
            }
            break;
        }
        if event["type"] == "contact.accepted" && !global.json {
            print(format!("{} is a contact now", safe_line(field(&event["contact"], "name"))))?;
        }
    }
    // The new contact's name is on its way; leave once it is stored.
    client.finish().await;
    Ok(())
}

/// An account, from a contact or a request.
async fn account(client: &Client, who: &str) -> CliResult<String> {
    match find(client, who).await {
        Ok(contact) => return Ok(field(&contact, "account").to_owned()),
        // Several have this name.
        Err(error) if error.exit == 2 => return Err(error),
        Err(_) => {}
    }
    let requests = client.call("requests", json!({})).await?;
    let name = who.strip_prefix('@').unwrap_or(who);
    let matching = |r: &&Value| r["account"] == who || starling_text::same(field(r, "name"), name);
    let found: Vec<&Value> = requests.as_array().map(|r| r.iter().filter(matching).collect()).unwrap_or_default();
    match found.as_slice() {
        [one] => Ok(field(one, "account").to_owned()),
        [] => Err(CliError::not_found(format!("nobody called “{name}” is a contact or asks to be one"))
            .hint("see `starling contacts list`")),
        several => {
            let ids: Vec<&str> = several.iter().map(|r| field(r, "account")).collect();
            Err(CliError::usage(format!("{} requests have this name", several.len()))
                .hint(format!("use one of: {}", ids.join(", "))))
        }
    }
}

pub async fn contacts(global: &Global, command: Contacts) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = run(global, &client, command).await;
    client.finish().await;
    result
}

async fn run(global: &Global, client: &Client, command: Contacts) -> CliResult {
    let (method, who, extra, said) = match command {
        Contacts::List => {
            catch_up(global, client).await?;
            return list(global, client).await;
        }
        Contacts::Add { what, name, greeting, rendezvous } => {
            return add(global, client, &what, name, &greeting, rendezvous).await;
        }
        Contacts::Verify { who, yes, undo } => return verify(global, client, &who, yes, undo).await,
        Contacts::Accept { who } => ("contacts.accept", who, json!({}), "accepted"),
        Contacts::Decline { who } => ("contacts.decline", who, json!({}), "declined"),
        Contacts::Rename { who, name } => ("contacts.rename", who, json!({ "name": name }), "renamed"),
        Contacts::Trust { who } => ("contacts.trust", who, json!({}), "trusted"),
        Contacts::Block { who } => ("contacts.block", who, json!({}), "blocked"),
        Contacts::Unblock { who } => ("contacts.unblock", who, json!({}), "unblocked"),
        Contacts::Remove { who } => ("contacts.remove", who, json!({}), "removed"),
    };
    catch_up(global, client).await?;
    let account = account(client, &who).await?;
    let mut params = extra;
    params["account"] = account.clone().into();
    client.call(method, params).await?;
    if method == "contacts.accept" {
        settle(client).await;
    }
    if global.json {
        print(json!({ "account": account, "done": said }))
    } else {
        print(format!("{} {said}", safe_line(&who)))
    }
}

/// Gives what a one-off node still owes to others a moment to leave.
pub async fn settle(client: &Client) {
    if !client.is_own() {
        return;
    }
    // A request costs some seconds of work; what is not out by then goes out at the next run.
    for _ in 0..200 {
        let (Ok(chats), Ok(status)) = (client.request(chats::List {}).await, client.request(node::Status {}).await)
        else {
            return;
        };
        let connected = status.rendezvous.iter().any(|server| server.connected);
        let waiting = chats.iter().any(|chat| chat.queued > 0) || status.requests_waiting > 0;
        if !waiting || !connected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn list(global: &Global, client: &Client) -> CliResult {
    let contacts =
        if global.json { client.call("contacts", json!({})).await? } else { contacts_in_short(client).await? };
    let requests = client.call("requests", json!({})).await?;
    if global.json {
        for contact in contacts.as_array().into_iter().flatten() {
            print(contact)?;
        }
        for request in requests.as_array().into_iter().flatten() {
            let mut line = request.clone();
            line["state"] = "asks".into();
            print(line)?;
        }
        return Ok(());
    }
    let known: Vec<&Value> =
        contacts.as_array().into_iter().flatten().filter(|c| field(c, "state") != "removed").collect();
    for c in &known {
        let mark = match field(c, "presence") {
            "online" => "●",
            "away" => "◐",
            _ => "○",
        };
        let state = match field(c, "state") {
            "requested" => "asked, not yet accepted",
            state => state,
        };
        let mut notes = vec![state.to_owned()];
        notes.push(if c["verified"] == true { "verified".into() } else { "not verified".into() });
        if c["key_changed"] == true {
            notes.push("KEY CHANGED".into());
        }
        if field(c, "path") != "none" {
            notes.push(field(c, "path").into());
        }
        print(format!("{mark} {:<24} {}", safe_line(field(c, "name")), notes.join(", ")))?;
    }
    for r in requests.as_array().into_iter().flatten() {
        print(format!(
            "? {:<24} asks to be a contact: {}  (accept with `starling contacts accept {}`)",
            safe_line(field(r, "name")),
            safe_line(field(r, "greeting")),
            field(r, "account")
        ))?;
    }
    if known.is_empty() && requests.as_array().is_none_or(Vec::is_empty) {
        say(global, "No contacts yet. `starling invite --qr` makes an invite for the first.");
    }
    Ok(())
}

async fn add(
    global: &Global,
    client: &Client,
    what: &str,
    name: Option<String>,
    greeting: &str,
    rendezvous: Option<String>,
) -> CliResult {
    let answer = add_contact(client, what, name, greeting, rendezvous).await?;
    settle(client).await;
    let account = field(&answer, "account").to_owned();
    let contact = find_whole(client, &account).await?;
    if global.json {
        return print(&contact);
    }
    print(format!(
        "{} {}",
        safe_line(field(&contact, "name")),
        match field(&contact, "state") {
            "active" => "is a contact now",
            _ => "was asked; they are a contact once they accept (at once, if the invite is good)",
        }
    ))
}

/// Adds somebody by invite link, short code or user@host.
pub async fn add_contact(
    client: &Client,
    what: &str,
    name: Option<String>,
    greeting: &str,
    rendezvous: Option<String>,
) -> CliResult<Value> {
    let home = match &rendezvous {
        Some(text) => Some(parse_home(text)?),
        None => None,
    };
    let what = &starling_text::unquoted(what);
    if starling_text::folded(what).starts_with(starling_keys::LINK_SCHEME) {
        what.parse::<starling_keys::Invite>().map_err(|e| CliError::usage(e.to_string()))?;
        let params = json!({ "invite": what, "greeting": greeting, "name": name });
        client.call("contacts.add", params).await
    } else if let Some((user, host)) = what.split_once('@').filter(|(user, _)| !user.is_empty()) {
        let home = match home {
            Some(home) => home,
            None => resolve_host(client, host).await?,
        };
        let params = json!({ "username": starling_text::folded(user), "rendezvous": home.to_string(), "greeting": greeting, "name": name });
        client.call("contacts.add", params).await
    } else {
        what.parse::<starling_keys::ShortCode>().map_err(|e| {
            CliError::usage(format!("“{}” is no invite, short code or address: {e}", safe_line(what))).hint("an invite begins with “starling:”, a code looks like 7-uniform-quiz, an address like alice@rendezvous.example")
        })?;
        let params = json!({ "code": what, "rendezvous": home.map(|h| h.to_string()) });
        client.call("code.use", params).await
    }
}

/// A home of ours at this host, or the address itself if it is one.
async fn resolve_host(client: &Client, host: &str) -> CliResult<starling_keys::RendezvousAddr> {
    if host.starts_with('/') {
        return parse_home(host);
    }
    let status = client.call("status", json!({})).await?;
    let homes = status["rendezvous"].as_array().cloned().unwrap_or_default();
    let wanted = host.split(':').next().unwrap_or(host);
    for home in homes {
        let Ok(address) = field(&home, "address").parse::<starling_keys::RendezvousAddr>() else {
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
        .hint("give its whole address with --rendezvous ADDR: the key in it is what makes it trustworthy"))
}

async fn verify(global: &Global, client: &Client, who: &str, yes: bool, undo: bool) -> CliResult {
    let contact = find_whole(client, who).await?;
    if yes || undo {
        let params = json!({ "account": field(&contact, "account"), "verified": yes });
        client.call("contacts.verify", params).await?;
    }
    let verified = if yes || undo { yes } else { contact["verified"] == true };
    if global.json {
        return print(
            json!({ "account": field(&contact, "account"), "safety_number": field(&contact, "safety_number"), "verified": verified }),
        );
    }
    let groups: Vec<&str> = field(&contact, "safety_number").split(' ').collect();
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
