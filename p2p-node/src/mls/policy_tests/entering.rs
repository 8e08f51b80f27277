//! Who comes into a group by its door, and reads what is written there.

use super::*;

#[test]
fn ten_accounts_enter_by_the_door_and_read_each_other() {
    let mut company = Company::of(&[Role::Member; 9]);
    assert_eq!(company.group.members().len(), 10);
    let hello = company.others[8].2.encrypt(b"hello").unwrap();
    assert!(matches!(company.group.process(&hello), Processed::Application { .. }));
    for (_, _, other) in company.others.iter_mut().take(8) {
        assert!(matches!(other.process(&hello), Processed::Application { .. }));
    }
}

#[test]
fn nobody_enters_who_is_not_in_the_policy() {
    let company = Company::of(&[Role::Member]);
    let mallory = account();
    assert!(enter(&company.group, &device(&mallory).0).is_none());
    let (_, commit) = rogue(&mallory, &DeviceKey::generate(), &company.group);
    assert!(is_void(&company.group, &commit));
    assert!(is_void(&company.others[0].2, &commit));
}

#[test]
fn a_device_enters_again_in_place_of_its_own_leaf_and_of_no_other() {
    let company = Company::of(&[Role::Member, Role::Member]);
    let (account, key, _) = &company.others[0];
    let again = Mls::new(&Certificate::issue(account, key.id(), 1), key, KeyPackages::default()).unwrap();
    let (live, commit) = enter(&company.group, &again).unwrap();
    assert_eq!((live.members().len(), follow(&company.group, &commit).members().len()), (3, 3));
    // Its other device does not take its place, nor does one of another account.
    for (account, key) in [(account, &DeviceKey::generate()), (&company.others[1].0, &company.others[1].1)] {
        let client = modified::in_groups(account, key);
        let door = company.group.door().unwrap().unwrap();
        let foreign = leaf_of(&company.group, company.others[0].0.id());
        let builder = client.external_commit_builder().unwrap().with_removal(foreign);
        if let Ok((_, commit)) = builder.build(MlsMessage::from_bytes(&door).unwrap()) {
            assert!(is_void(&company.group, &commit.to_bytes().unwrap()));
        }
    }
}

#[test]
fn a_policy_group_and_a_direct_one_are_never_taken_for_each_other() {
    let company = Company::of(&[Role::Member]);
    let door = company.group.door().unwrap().unwrap();
    let (account, ..) = &company.others[0];
    let accounts = [company.owner.id(), account.id()];
    let (laptop, _) = device(account);
    let epoch = (GROUP, company.group.epoch());
    assert!(laptop.enter(&door, epoch, Expected::Direct(accounts), Vec::new(), NOW_MS).is_err());
    assert!(laptop.enter(&door, epoch, Expected::Group([8; 16]), Vec::new(), NOW_MS).is_err());
    assert!(laptop.enter(&door, epoch, Expected::Group(TALK), Vec::new(), NOW_MS).is_ok());
    // Nobody is added by others.
    let package: bytes::Bytes = laptop.key_package(false, NOW_MS).unwrap().into();
    assert!(company.group.commit_adding(&package, NOW_MS).is_err());
}

#[test]
fn garbage_in_the_place_of_a_policy_makes_no_group() {
    let owner = account();
    let client: Client<_> = modified::in_groups(&owner, &DeviceKey::generate());
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(POLICY, vec![0xff; 30]));
    let group = client.create_group_with_id(GROUP.to_vec(), extensions, ExtensionList::new(), None).unwrap();
    let door = group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    let (mls, _) = device(&owner);
    assert!(mls.enter(&door, (GROUP, 0), Expected::Group(TALK), Vec::new(), NOW_MS).is_err());
}

#[test]
fn what_comes_late_of_who_is_gone_is_nobody_elses() {
    let mut company = Company::of(&[Role::Member, Role::Member]);
    let late = company.others[1].2.encrypt(b"late").unwrap();
    let gone = company.others[1].0.id();
    // Its account is removed, and its leaf may become somebody else's.
    let after = company.changes(None, |policy| {
        policy.remove(gone.as_bytes());
    });
    let read = after.unwrap().process(&late);
    assert!(matches!(read, Processed::Garbage), "{read:?}");
}
