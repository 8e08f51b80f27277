//! A device joins an account: what it needs is on the disk before it asks, so that it is this device that goes on if its program ends meanwhile, and
//! not one of which nobody has the keys.

use starling_control::objects::{AccountId, DeviceId};
use starling_keys::{Protection, RecoveryPhrase, RendezvousAddr, StorageKey};
use starling_node::{AccountLink, NewDevice, Node, NodeError, Origin, ProfileDir};

use super::{NewProfile, devices::short, init::make_profile_in, say};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::Profile,
    rpc::{described, open_node},
};

/// A profile that is about to be made: its directory, which nobody else uses meanwhile, and its key.
pub struct Joining {
    profile: Profile,
    dir: ProfileDir,
    key: StorageKey,
}

impl Joining {
    /// Goes on where an earlier run was interrupted, or else asks for an account with the code that is shown, if there is one, at the rendezvous that is
    /// shown with it. `asked` is given what this device is called once the code
    /// was right, and the user of the other device is asked.
    ///
    /// # Errors
    /// Before anything is asked if the directory cannot be written or has no room. What is needed to go on stays there unless the answer was no.
    pub async fn ask(
        global: &Global,
        profile: &Profile,
        protection: Protection,
        shown: Option<(&str, RendezvousAddr)>,
        asked: impl FnOnce(&str),
    ) -> CliResult<(Self, AccountLink, NewDevice)> {
        let dir = ProfileDir::lock(&profile.dir)?;
        if ProfileDir::has_profile(&profile.joining_dir()) {
            say(global, "Finishing the link that was begun here …");
            let key = profile.open_key()?;
            let node = open(global, profile, &key).await?;
            let resumed = node.resume_join().await;
            node.stop().await;
            match resumed {
                Ok((link, device)) => return Ok((Self { profile: profile.clone(), dir, key }, link, device)),
                Err(error) if is_answer(&error) && shown.is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some((code, home)) = shown else {
            return Err(CliError::usage("no link was begun here").hint("give the code that the other device shows"));
        };
        profile.discard_joining()?;
        let key = StorageKey::generate();
        profile.write_key(&key, protection)?;
        let nobody = starling_node::NewProfile {
            origin: Origin::New(RecoveryPhrase::generate().account_key()),
            name: "nobody".into(),
            bot: false,
            homes: Vec::new(),
            registration_token: String::new(),
            username: String::new(),
        };
        starling_node::create_profile(ProfileDir::lock(&profile.joining_dir())?, &key, nobody)?;
        let node = open(global, profile, &key).await?;
        let device = NewDevice::generate().map_err(CliError::internal)?;
        let shown = device.id().to_string().into();
        let joined = node.join_account(code.to_owned(), home, device, described(), || asked(short(&shown))).await;
        node.stop().await;
        match joined {
            Ok((link, device)) => Ok((Self { profile: profile.clone(), dir, key }, link, device)),
            Err(error) => {
                if is_answer(&error) {
                    profile.discard_unmade()?;
                }
                Err(error.into())
            }
        }
    }

    /// Makes the profile.
    pub fn finish(self, new: NewProfile) -> CliResult<(AccountId, DeviceId)> {
        let made = make_profile_in(self.dir, &self.key, new)?;
        self.profile.discard_joining()?;
        Ok(made)
    }
}

/// Whether an error says that the device is not in the account, and not only that this is not known.
fn is_answer(error: &NodeError) -> bool {
    matches!(error, NodeError::NotFound(_) | NodeError::NotAllowed(_) | NodeError::Invalid(_))
}

/// Opens the profile, without an account of its own, with which a device asks to join another.
async fn open(global: &Global, profile: &Profile, key: &StorageKey) -> CliResult<Node> {
    let profile = profile.clone().at(&profile.joining_dir());
    open_node(&profile, &Global { no_mdns: true, ..global.clone() }, key).await
}
