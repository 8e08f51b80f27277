use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::screen::theme::Theme;

fn shown(form: &Form, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| form.draw(frame, &Theme::named("mono").unwrap())).unwrap();
    terminal.backend().to_string()
}

fn words() -> Zeroizing<String> {
    let words: Vec<String> = (0..24).map(|n| format!("word{n}")).collect();
    Zeroizing::new(words.join(" "))
}

fn press(form: &mut Form, code: KeyCode) -> Next {
    form.key(&KeyEvent::new(code, KeyModifiers::NONE))
}

fn enter(form: &mut Form, text: &str) -> Next {
    form.fields[form.step as usize] = Zeroizing::new(text.into());
    press(form, KeyCode::Enter)
}

#[test]
fn what_is_typed_is_shown_at_every_size_and_so_is_the_whole_reason() {
    let mut form = Form::new(String::new());
    for step in [Step::Name, Step::Code, Step::Phrase, Step::Home, Step::Token, Step::FirstWord] {
        form.go_to(step);
        form.fields[step as usize] = Zeroizing::new("typed-just-now".into());
        for (width, height) in [(40, 12), (80, 24), (200, 50), (30, 8)] {
            let screen = shown(&form, width, height);
            assert!(screen.contains("› typed-just-now"), "{step:?} at {width}x{height}:\n{screen}");
        }
    }
    form.go_to(Step::Token);
    form.problem = "the rendezvous does not register this account: it asks for a token of its operator".into();
    let screen = shown(&form, 40, 12);
    assert!(screen.contains("operator") && screen.contains("› typed"), "{screen}");
}

#[test]
fn a_new_account_asks_for_two_of_its_words() {
    let mut form = Form::new(String::new());
    press(&mut form, KeyCode::Enter);
    enter(&mut form, "alice");
    enter(&mut form, "");
    assert!(matches!(enter(&mut form, ""), Next::Make));
    form.take(Progress::Made(words()));
    shown(&form, 40, 12);
    assert!(form.all_shown.get(), "a small window is enough");
    press(&mut form, KeyCode::Enter);
    let [first, second] = form.checks.places;
    enter(&mut form, "wrong");
    assert!(form.step == Step::FirstWord && form.problem.contains("not what was shown"));
    press(&mut form, KeyCode::BackTab);
    assert_eq!(form.step, Step::Words);
    press(&mut form, KeyCode::Enter);
    enter(&mut form, &format!("WORD{first}"));
    assert!(matches!(enter(&mut form, &format!("word{second}")), Next::Leave(true)), "nobody is to register it");
    assert!(form.words.is_empty() && form.field(Step::FirstWord).is_empty(), "the phrase is wiped");
}

#[test]
fn the_line_of_the_other_device_has_code_and_rendezvous() {
    let mut form = Form::new(String::new());
    press(&mut form, KeyCode::Char('2'));
    assert_eq!(form.step, Step::Code);
    let peer = "12D3KooWGC6tVbQ2hAqDGyy5ayYv8iVbc3DvYuHpXmWJ8i7hHFB1";
    let home = format!("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{peer}");
    enter(&mut form, &format!("starling device join 7-uniform-quiz-acid-zoo --rendezvous {home}"));
    assert_eq!((form.step, form.problem.as_str()), (Step::Passphrase, ""));
    assert!(matches!(enter(&mut form, ""), Next::Make));
    let wanted = form.wanted();
    assert_eq!((wanted.code.as_str(), wanted.home), ("7-uniform-quiz-acid-zoo", home));
    form.take(Progress::NotMade("there is no such code".into()));
    assert_eq!(form.step, Step::Code);
}

#[test]
fn a_rendezvous_that_was_named_is_asked_for_its_key_which_is_looked_at() {
    let home = "starling-server:rendezvous.example/12D3KooWGC6tVbQ2hAqDGyy5ayYv8iVbc3DvYuHpXmWJ8i7hHFB1";
    for compare in [None, Some("compare it")] {
        let mut form = Form::new(String::new());
        press(&mut form, KeyCode::Enter);
        enter(&mut form, "alice");
        assert!(matches!(enter(&mut form, "rendezvous.example"), Next::Introduce));
        assert_eq!(form.step, Step::Waiting);
        form.take(Progress::NotIntroduced("it does not answer".into()));
        assert_eq!((form.step, form.problem.as_str()), (Step::Home, "it does not answer"));
        assert!(matches!(press(&mut form, KeyCode::Enter), Next::Introduce));
        form.take(Progress::Introduced(home.into(), compare));
        if let Some(compare) = compare {
            assert_eq!((form.step, form.problem.as_str(), form.field(Step::Home)), (Step::Home, compare, home));
            press(&mut form, KeyCode::Enter);
        }
        assert_eq!((form.step, form.problem.as_str()), (Step::Passphrase, ""));
        assert_eq!(form.wanted().home, home);
        press(&mut form, KeyCode::BackTab);
        assert_eq!(form.step, Step::Home);
    }
    let mut form = Form::new(String::new());
    press(&mut form, KeyCode::Char('2'));
    enter(&mut form, "starling device join 7-uniform-quiz-acid-zoo --rendezvous rendezvous.example");
    assert_eq!((form.step, form.field(Step::Home)), (Step::Home, "rendezvous.example"), "it is asked first");
}

/// The form after an answer to each of its questions.
fn at(step: Step, purpose: char) -> Form {
    let mut form = Form::new(String::new());
    press(&mut form, KeyCode::Char(purpose));
    form.go_to(step);
    form
}

#[test]
fn what_a_first_run_looks_like() {
    let mut waits = at(Step::Waiting, '2');
    waits.take(Progress::Notice("Say yes on the other device. This one is “desk” (linux, aaaaaaaa).".into()));
    let mut refused = at(Step::Code, '2');
    refused.take(Progress::NotMade("the other device does not let this one in".into()));
    let mut shows_words = Form::new(String::new());
    shows_words.take(Progress::Made(words()));
    let mut phrase = at(Step::Phrase, '3');
    phrase.paste("uniform quiz acid zoo with some words that go on and on until they need more than a row");
    enter(&mut phrase, "uniform quiz");
    let forms = [
        ("purpose", Form::new(String::new())),
        ("code", at(Step::Code, '2')),
        ("asking", waits),
        ("refused", refused),
        ("phrase", phrase),
        ("words", shows_words),
    ];
    for (name, form) in forms {
        for (width, height) in [(80, 24), (200, 50), (40, 12)] {
            insta::assert_snapshot!(format!("{name}-{width}x{height}"), shown(&form, width, height));
        }
    }
}
