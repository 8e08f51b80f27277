//! `starling-bench dm`, `profile`, `send`, `history`, `link`, `chain`, `group`, `rendezvous`, `attack` and `call`: what a message, a large profile, a
//! command, a connected client, a group and a call cost, beside the floor of the same machine in the same run.

/// Takes the place of the standard macro, which would panic with a message: no line of a report can forget it.
macro_rules! println {
    ($($arg:tt)*) => { $crate::report::print(format_args!($($arg)*)) };
}

mod attack;
mod call;
mod chain;
mod client;
mod dm;
mod floor;
mod group;
mod history;
mod link;
mod measure;
mod pair;
mod processes;
mod profile;
mod rendezvous;
mod report;
mod send;
mod session;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "starling-bench", about = "Measures Starling beside the floor under it")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Direct messages between two nodes in two processes.
    Dm {
        /// Messages sent one at a time.
        #[arg(long, default_value_t = 2_000)]
        single: usize,
        /// Messages in a burst.
        #[arg(long, default_value_t = 100_000)]
        burst: usize,
    },
    /// The burst of direct messages, start and memory of a profile with thousands of conversations and contacts, beside an empty one.
    Profile {
        #[command(flatten)]
        filled: pair::Filled,
        /// Messages in a burst.
        #[arg(long, default_value_t = 100_000)]
        burst: usize,
        /// Bursts of each profile; the best counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Whole processes of `starling send` through a daemon.
    Send {
        /// How many.
        #[arg(long, default_value_t = 50)]
        count: usize,
    },
    /// The history of a device, copied to a new one.
    History {
        /// Messages.
        #[arg(long, default_value_t = 100_000)]
        messages: u32,
        /// Bytes of each.
        #[arg(long, default_value_t = 64)]
        size: usize,
    },
    /// A device that is linked to an account whose contacts are all there.
    Link {
        /// Conversations.
        #[arg(long, default_value_t = 200)]
        conversations: usize,
    },
    /// Device chains of many entries.
    Chain,
    /// Groups of several sizes: delivery to all, members who come and go, catching up.
    Group {
        /// Members of each.
        #[arg(long, value_delimiter = ',', num_args = 0.., default_values_t = [2, 16, 128])]
        members: Vec<usize>,
        #[command(flatten)]
        wanted: group::Wanted,
    },
    /// Memory and CPU of idle clients, and the rates of the log.
    Rendezvous {
        /// Idle clients.
        #[arg(long, default_value_t = 2_000)]
        clients: usize,
        /// Entries appended and fetched.
        #[arg(long, default_value_t = 50_000)]
        entries: usize,
    },
    /// What honest clients see of a server under attack.
    Attack {
        /// Only these attacks.
        #[arg(long, value_delimiter = ',')]
        only: Vec<attack::Attack>,
        /// Length of each measurement.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Voice and video calls: delay, CPU, bad networks, a mesh.
    Call {
        /// Length of each run.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        /// Only one part: loopback, sound, lips, speech, loss, rate, mesh or renderers.
        #[arg(long)]
        only: Option<String>,
    },
    // The processes of the above.
    #[command(hide = true)]
    Serve { dir: PathBuf },
    #[command(hide = true)]
    Peer {
        dir: PathBuf,
        home: String,
        #[command(flatten)]
        filled: pair::Filled,
    },
    #[command(hide = true)]
    Crowd { dir: PathBuf, home: String, invite: String, count: usize },
    #[command(hide = true)]
    ServeLimited { dir: PathBuf },
    #[command(hide = true)]
    Attacker { attack: attack::Attack, home: String, tcp: String, victim: String },
    #[command(hide = true)]
    Sink,
    #[command(hide = true)]
    Clients { home: String, count: usize },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // Thousands of idle clients are thousands of sockets.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = async {
        match cli.bench {
            Bench::Dm { single, burst } => Box::pin(dm::run(single, burst)).await,
            Bench::Profile { filled, burst, rounds } => Box::pin(profile::run(filled, burst, rounds)).await,
            Bench::Send { count } => Box::pin(send::run(count)).await,
            Bench::History { messages, size } => Box::pin(history::run(messages, size)).await,
            Bench::Link { conversations } => Box::pin(link::run(conversations)).await,
            Bench::Crowd { dir, home, invite, count } => Box::pin(link::crowd(dir, home, invite, count)).await,
            Bench::Chain => chain::run(),
            Bench::Group { members, wanted } => Box::pin(group::run(&members, wanted)).await,
            Bench::Rendezvous { clients, entries } => Box::pin(rendezvous::run(clients, entries)).await,
            Bench::Call { seconds, only } => Box::pin(call::run(seconds, only.as_deref())).await,
            Bench::Attack { only, seconds } => Box::pin(attack::run(only, seconds)).await,
            Bench::Attacker { attack, home, tcp, victim } => {
                Box::pin(attack::attacker::run(attack, &home, &tcp, &victim)).await
            }
            Bench::Serve { dir } => Box::pin(processes::serve(dir)).await,
            Bench::ServeLimited { dir } => Box::pin(processes::serve_limited(dir)).await,
            Bench::Peer { dir, home, filled } => Box::pin(pair::peer(dir, home, filled)).await,
            Bench::Sink => Box::pin(floor::sink()).await,
            Bench::Clients { home, count } => Box::pin(rendezvous::clients(&home, count)).await,
        }
    };
    report::until_its_reader_has_gone(|| runtime.block_on(bench))
}
