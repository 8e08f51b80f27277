use starling_control::objects::ChatKind;

use super::*;

fn chat(id: &str, archived: bool) -> Chat {
    Chat { id: id.into(), archived, ..Chat::default() }
}

fn of_kind(id: &str, kind: ChatKind) -> Chat {
    Chat { kind, ..chat(id, false) }
}

fn ids<const N: usize>(ids: [&str; N]) -> Vec<ChatId> {
    ids.map(ChatId::from).to_vec()
}

fn rebuild(list: &mut ChatList, chats: &[Chat], follow: Option<&str>) {
    let sources = ListSources { chats: chats.iter().collect(), ..ListSources::default() };
    list.rebuild(&sources, follow.map(ChatId::from).as_ref());
}

#[test]
fn titles_are_stepped_over_and_the_open_chat_is_followed() {
    let mut list = ChatList::default();
    rebuild(&mut list, &[], None);
    list.step(true);
    assert_eq!((list.at(), list.beside(None, 1)), (0, None));
    let chats = [chat("a", false), chat("b", true), chat("c", false)];
    let asks = [Request { account: "r".into(), ..Request::default() }];
    let sources = ListSources { requests: &asks, chats: chats.iter().collect(), ..ListSources::default() };
    list.rebuild(&sources, Some(&"c".into()));
    // Requests, r, Direct, a, c, Archived, b.
    assert_eq!((list.rows().len(), list.at()), (7, 4));
    list.step(true);
    assert_eq!(list.at(), 6);
    list.step(true);
    assert_eq!(list.at(), 6);
    (0..9).for_each(|_| list.step(false));
    assert_eq!(list.at(), 1);
    assert!(!list.choose(2) && !list.choose(7) && list.choose(3));
    assert_eq!(
        [("a", 1), ("b", 1), ("a", -1)].map(|(open, by)| list.beside(Some(&open.into()), by).map(ChatId::as_str)),
        [Some("c"), None, Some("a")]
    );
    rebuild(&mut list, &chats[..1], None);
    assert_eq!(list.at(), 1);
    let groups = [chat("a", false), of_kind("g", ChatKind::Group)];
    let (invited, asked) = (ChatId::from("i"), ChatId::from("w"));
    let sources = ListSources { invitations: vec![&invited], chats: groups.iter().collect(), ..ListSources::default() };
    list.rebuild(&sources, Some(&"g".into()));
    // Invitations, i, Direct, a, Groups, g.
    assert_eq!((list.rows().len(), list.at()), (6, 5));
    let sources = ListSources { asked: vec![&asked], ..ListSources::default() };
    list.rebuild(&sources, None);
    assert_eq!(list.rows()[..2], [ListRow::Title("Waiting"), ListRow::Asked(asked)]);
    rebuild(&mut list, &chats[..1], Some("a"));
    assert_eq!(list.at(), 1);
}

#[test]
fn no_title_is_chosen_where_there_is_something_else() {
    let mut list = ChatList::default();
    // Direct, Groups, g.
    rebuild(&mut list, &[of_kind("g", ChatKind::Group)], None);
    assert_eq!(list.rows()[list.at()], ListRow::Chat("g".into()));
    // Invitations, i, Direct.
    let invited = ChatId::from("i");
    let sources = ListSources { invitations: vec![&invited], ..ListSources::default() };
    list.rebuild(&sources, None);
    assert_eq!(list.rows()[list.at()], ListRow::Invitation(invited.clone()));
}

#[test]
fn who_moves_in_the_list_stays_on_the_same_row_when_the_order_changes() {
    let mut list = ChatList::default();
    let chats = [chat("a", false), chat("b", false), chat("c", false)];
    rebuild(&mut list, &chats, Some("a"));
    list.step(true);
    let [a, b, c] = chats;
    rebuild(&mut list, &[c, a, b], None);
    assert_eq!(list.rows()[list.at()], ListRow::Chat("b".into()));
}

/// A community with two channels, a third one in a folder, and a group.
fn community(is_folded: bool) -> [Chat; 5] {
    [
        Chat { folded: is_folded, ..of_kind("club", ChatKind::Community) },
        of_kind("one", ChatKind::Channel),
        of_kind("two", ChatKind::Group),
        Chat { folder: Some("work".into()), ..of_kind("three", ChatKind::Group) },
        of_kind("other", ChatKind::Group),
    ]
}

fn listed(chats: &[Chat], folded: &[&str], open: Option<&str>) -> (ChatList, String) {
    let (club, open) = (ChatId::from("club"), open.map(ChatId::from));
    let channels = ["one", "two", "three"].map(ChatId::from);
    let sources = ListSources {
        chats: chats.iter().collect(),
        communities: channels.iter().map(|channel| (channel, &club)).collect(),
        folded: folded.iter().copied().collect(),
        open: open.as_ref(),
        ..ListSources::default()
    };
    let mut list = ChatList::default();
    list.rebuild(&sources, open.as_ref());
    let word = |row: &ListRow| match row {
        ListRow::Title(title) => (*title).to_owned(),
        ListRow::Folder(name, is_folded) => format!("{}{name}", if *is_folded { '+' } else { '-' }),
        ListRow::Channel(id) => format!("·{id}"),
        row => row.chat().map(ToString::to_string).unwrap_or_default(),
    };
    let rows: Vec<String> = list.rows().iter().map(word).collect();
    (list, rows.join(" "))
}

#[test]
fn channels_stand_below_their_community_and_in_folders_and_can_be_folded() {
    assert_eq!(listed(&community(false), &[], None).1, "-work three Direct Groups club ·one ·two other");
    let (list, rows) = listed(&community(true), &["work"], None);
    assert_eq!(rows, "+work Direct Groups club other");
    assert_eq!(list.hidden_below(0), ids(["three"]));
    assert_eq!(list.hidden_below(3), ids(["one", "two"]));
    assert!(list.hidden_below(4).is_empty());
    // The open one is seen, and is the one that is chosen.
    let (list, rows) = listed(&community(true), &["work"], Some("two"));
    assert_eq!((rows.as_str(), list.at()), ("+work Direct Groups club ·two other", 4));
    // Without the community it is a group like others, and what is archived is out of the way.
    let mut chats = community(false);
    chats[0].archived = true;
    assert_eq!(listed(&chats, &[], None).1, "-work three Direct Groups other Archived club ·one ·two");
    chats[1].archived = true;
    assert_eq!(listed(&chats[1..], &[], None).1, "-work three Direct Groups two other Archived one");
}

#[test]
fn chats_that_stand_together_are_sorted_by_hand() {
    let mut chats = community(false);
    (chats[1].place, chats[2].place) = (Some(2), Some(1));
    (chats[0].place, chats[4].place) = (Some(9), Some(3));
    let (list, rows) = listed(&chats, &[], None);
    assert_eq!(rows, "-work three Direct Groups other club ·two ·one");
    assert_eq!(list.together_with(&"one".into()), ids(["two", "one"]));
    assert_eq!(list.together_with(&"club".into()), ids(["other", "club"]));
    assert!(list.together_with(&"nobody".into()).is_empty());
    // What is pinned stays above, and what is new below.
    chats[1].pinned = true;
    chats[4].place = None;
    assert_eq!(listed(&chats, &[], None).1, "-work three Direct Groups club ·one ·two other");
}
