//! Profiles and the data of a server that are kept as fixtures, and worlds of these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use starling_keys::{KeyFile, StorageKey};
use starling_rendezvous::local::set_clock;

use super::{Person, Who, World};
use crate::{
    ProfileDir,
    engine::Engine,
    net::gossip::Inspector,
    store::Store,
    turn::{Now, Source},
};

impl World {
    /// Copies the profiles of people who do not run, and the server's data, to a directory, with the key files and the time.
    pub fn keep(&self, people: &[(Who, &str)], to: &Path) {
        for (who, name) in people {
            let (person, to) = (&self.people[*who], to.join(name));
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(person.dir.join("profile.redb"), to.join("profile.redb")).unwrap();
            std::fs::write(to.join("key"), KeyFile::plain(&person.key).to_bytes()).unwrap();
        }
        let server = to.join("rendezvous");
        std::fs::create_dir_all(&server).unwrap();
        std::fs::copy(self.config.data_dir.join("rendezvous.redb"), server.join("rendezvous.redb")).unwrap();
        std::fs::write(to.join("time"), self.now.wall_ms.to_string()).unwrap();
    }

    /// A world at the time of a fixture, with its server, which does not run, and its people, who do not either.
    pub fn of_fixture(seed: u64, from: &Path, people: &[&str]) -> Self {
        let mut world = Self::new(seed);
        world.stop_server();
        let wall_ms: u64 = std::fs::read_to_string(from.join("time")).unwrap().parse().unwrap();
        world.now = Now { steady_ms: wall_ms, wall_ms, running_ms: 0 };
        set_clock(wall_ms);
        world.config.data_dir = world.dir.path().join("kept");
        world.servers[0].data_dir.clone_from(&world.config.data_dir);
        std::fs::create_dir_all(&world.config.data_dir).unwrap();
        std::fs::copy(from.join("rendezvous/rendezvous.redb"), world.config.data_dir.join("rendezvous.redb")).unwrap();
        for name in people {
            let dir = world.dir.path().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::copy(from.join(name).join("profile.redb"), dir.join("profile.redb")).unwrap();
            let key = KeyFile::from_bytes(&std::fs::read(from.join(name).join("key")).unwrap()).unwrap();
            world.add_profile(dir, key.open_plain().unwrap());
        }
        world
    }

    pub(super) fn add_profile(&mut self, dir: PathBuf, key: StorageKey) -> Who {
        let store = Arc::new(Store::open(ProfileDir::lock(&dir).unwrap(), &key).unwrap());
        let engine = Engine::load(store, self.now.wall_ms, Source::seeded(0)).unwrap();
        let (name, account, device) =
            (engine.account.identity.row.name.clone(), engine.account.id(), engine.account.device());
        drop(engine);
        self.people.push(Person {
            name,
            account,
            device,
            dir,
            key,
            running: None,
            sessions: BTreeMap::new(),
            wants: BTreeSet::new(),
            visits: BTreeMap::new(),
            targets: Vec::new(),
            reaches: BTreeSet::new(),
            inspector: Inspector::default(),
            topics: BTreeSet::new(),
            links: Vec::new(),
            live: Vec::new(),
            calls: Vec::new(),
        });
        self.people.len() - 1
    }
}
