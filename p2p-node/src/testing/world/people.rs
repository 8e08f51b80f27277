//! People of the test world: their profiles and devices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountKey, RecoveryPhrase, RendezvousAddr, StorageKey};
use tokio::sync::oneshot;

use super::{Who, World};
use crate::{
    AccountLink, NewDevice, NewProfile, Origin, ProfileDir, Rights,
    account::link::Candidate,
    api::{error::NodeError, problem::HomeProblem},
    engine::{AccountCommand, Input},
    node::create_profile_at,
    testing::servers::At,
};

impl World {
    /// Somebody with a new profile, registered.
    pub fn person(&mut self, name: &str) -> Who {
        self.person_at(name, &[0])
    }

    /// The same, with homes at these servers.
    pub fn person_at(&mut self, name: &str, homes: &[At]) -> Who {
        let root = RecoveryPhrase::generate().account_key();
        let again = AccountKey::from_seed(&root.seed());
        let homes = homes.iter().map(|at| self.servers[*at].address.clone()).collect();
        let who = self.profile_at(name, Origin::New(root), homes);
        self.phrases.insert(self.people[who].account, again);
        self.settle();
        who
    }

    /// Another profile of somebody's account, made from the phrase.
    pub fn restored(&mut self, who: Who) -> Who {
        let (name, account) = (self.people[who].name.clone(), self.people[who].account);
        self.kill(who);
        let root = AccountKey::from_seed(&self.phrases[&account].seed());
        let other = self.profile(&name, Origin::Restored(root));
        self.settle();
        other
    }

    /// A copy of the directory of somebody's profile as it is now, which does not run yet. Somebody's own goes on.
    pub fn copied(&mut self, who: Who) -> Who {
        let ran = self.is_running(who);
        self.kill(who);
        let (from, key) = (self.people[who].dir.clone(), self.people[who].key.clone());
        let to = self.dir.path().join(format!("copy-{}", self.people.len()));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(&from).unwrap().flatten().filter(|file| file.file_name() != "lock") {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let copy = self.add_profile(to, key);
        if ran {
            self.start(who);
        }
        copy
    }

    /// What is wrong with somebody's home, as their device sees it.
    pub fn home_problem(&self, who: Who) -> Option<HomeProblem> {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.homes.servers.get(&self.home.peer).and_then(|home| home.problem.clone())
    }

    /// Another device of somebody's account, linked by the one that is there.
    pub fn linked(&mut self, who: Who) -> Who {
        let other = self.begin_linking(who);
        self.settle();
        other
    }

    /// The same, without a code: it asks and is answered at once, and is one of the account's devices when the world goes on.
    pub fn begin_linking(&mut self, who: Who) -> Who {
        let (device, _) = self.let_in(who, false);
        self.joined(who, device)
    }

    /// A device is linked that may copy the history of the one that is there; the copying begins when the world goes on.
    pub fn linked_with_history(&mut self, who: Who) -> Who {
        let (device, mut answer) = self.let_in(who, true);
        // The home takes the chain, and the snapshot that the device will read.
        for _ in 0..10 {
            self.pass(2_000);
            if let Ok(answer) = answer.try_recv() {
                answer.unwrap();
                return self.joined(who, device);
            }
        }
        panic!("no answer");
    }

    /// A device is linked as it is outside of tests: it exists when the home has the chain with it. `None` if it has not after so many steps.
    pub fn link_within(&mut self, who: Who, steps: usize) -> Option<Who> {
        let (device, mut answer) = self.let_in(who, false);
        let mut pauses = 0;
        for _ in 0..steps {
            match answer.try_recv() {
                Ok(Ok(())) => return Some(self.joined(who, device)),
                Ok(Err(_)) => return None,
                Err(_) if self.step() => {}
                Err(_) if pauses == 6 => return None,
                // The old device answers when its snapshot is stored, which it writes a second later.
                Err(_) => {
                    pauses += 1;
                    self.pass(500);
                }
            }
        }
        None
    }

    /// A device asks, and the user agrees.
    pub(in crate::testing) fn let_in(
        &mut self,
        who: Who,
        history: bool,
    ) -> (NewDevice, oneshot::Receiver<Result<(), NodeError>>) {
        let account = self.people[who].account;
        let device = NewDevice::generate().unwrap();
        let joining = device.joining(&account);
        let (reply, answer) = oneshot::channel();
        let (engine, _) = self.people[who].running.as_mut().unwrap();
        let home = engine.account.identity.homes[0].peer;
        engine.account.candidates.push(Candidate::of(joining, home));
        let agreed = AccountCommand::AnswerLink { device: device.id(), rights: Some(Rights::Admin), history, reply };
        self.turn(who, vec![Input::Command(agreed.into())]);
        (device, answer)
    }

    pub(in crate::testing) fn joined(&mut self, who: Who, device: NewDevice) -> Who {
        let name = self.people[who].name.clone();
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        let chain = engine.account.list().unwrap().clone();
        let recovery_key = engine.account.identity.row.recovery_public.clone();
        let homes = engine.account.identity.homes.clone();
        let history = Some(engine.history.number_for(&device.id()));
        let link =
            AccountLink { chain, name: name.clone(), bot: false, username: String::new(), recovery_key, history };
        self.profile_at(&name, Origin::Linked(Box::new(link), device), homes)
    }

    pub fn profile(&mut self, name: &str, origin: Origin) -> Who {
        self.profile_at(name, origin, vec![self.home.clone()])
    }

    /// A new profile with these homes.
    pub fn profile_at(&mut self, name: &str, origin: Origin, homes: Vec<RendezvousAddr>) -> Who {
        let dir = self.dir.path().join(format!("{name}-{}", self.people.len()));
        let key = StorageKey::generate();
        let new = NewProfile {
            origin,
            name: name.into(),
            bot: false,
            homes,
            registration_token: String::new(),
            username: String::new(),
        };
        create_profile_at(ProfileDir::lock(&dir).unwrap(), &key, new, self.now.wall_ms).unwrap();
        let who = self.add_profile(dir, key);
        self.start(who);
        who
    }
}
