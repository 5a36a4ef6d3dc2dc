use super::*;
use crate::cli::tests::{golden, values};
use ratatui::{Terminal, backend::TestBackend};
use tokio::time::Instant;

/// What is known after so many seconds.
fn look(began: Instant, second: u64) -> Look {
    Look {
        at: began + Duration::from_secs(second),
        status: values::status(),
        counters: Some(values::counters(second)),
        meters: Some(values::meters(second)),
        endpoints: values::endpoints(),
    }
}

/// A screen that has had two looks, two seconds apart.
fn screen(view: View) -> Screen {
    let began = Instant::now();
    let mut screen = Screen::new(view);
    screen.see(Ok(look(began, 0)));
    screen.see(Ok(look(began, 2)));
    screen
}

fn press(screen: &mut Screen, code: KeyCode) -> bool {
    screen.handle(KeyEvent::new(code, KeyModifiers::NONE))
}

fn text(screen: &mut Screen) -> String {
    screen.text(Style::default(), 120)
}

#[test]
fn frames_for_a_pipe() {
    for view in View::ALL {
        golden::check(&format!("top-{}s", view.word()), &text(&mut screen(view)));
    }
}

#[test]
fn a_terminal_gets_a_whole_screen() {
    let mut terminal = Terminal::new(TestBackend::new(80, 12)).unwrap();
    let mut screen = screen(View::Routes);
    terminal.draw(|frame| screen.draw(frame, false)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    assert!(row(0).starts_with("edge-a  revision 13  data plane 42  ready"), "{}", row(0));
    assert!(row(11).starts_with("q end"), "{}", row(11));
    assert_eq!(buffer[(0, 0)].modifier, Modifier::BOLD);
    terminal.draw(|frame| screen.draw(frame, true)).unwrap();
    let colours = terminal.backend().buffer().content.iter().filter(|cell| cell.fg != Color::Reset).count();
    assert_eq!(colours, 0, "NO_COLOR");
}

#[test]
fn keys_choose_sort_and_scroll() {
    let mut screen = screen(View::Listeners);
    press(&mut screen, KeyCode::Tab);
    assert_eq!(screen.view, View::Routes);
    press(&mut screen, KeyCode::Char('4'));
    assert_eq!(screen.view, View::Endpoints);
    let first = |screen: &mut Screen| text(screen).lines().nth(8).unwrap_or_default().to_owned();
    assert!(first(&mut screen).starts_with("cart-v1/10.77.0.11"), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Char('r'));
    assert!(first(&mut screen).starts_with("cart-v1/10.77.0.99"), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Char('s'));
    assert!(text(&mut screen).contains("by failures, reversed"));
    for _ in 0..1_000 {
        press(&mut screen, KeyCode::Down);
    }
    assert_eq!(screen.lines(120, Some(11)).len(), 11);
    assert_eq!(screen.scrolled, 1, "the last row is the last that is shown");
    assert!(press(&mut screen, KeyCode::Char('q')));
    assert!(screen.handle(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn old_values_are_called_old() {
    let mut screen = screen(View::Routes);
    screen.see(Err("the daemon cannot be reached".into()));
    let said = text(&mut screen);
    assert!(said.contains("these are old values: the daemon cannot be reached") && said.contains("shop"), "{said}");
    press(&mut screen, KeyCode::Char(' '));
    screen.see(Ok(look(Instant::now(), 9)));
    assert!(text(&mut screen).contains("standing still") && text(&mut screen).contains("old values"));
    press(&mut screen, KeyCode::Char(' '));
    screen.see(Ok(look(Instant::now(), 9)));
    assert!(!text(&mut screen).contains("old values"));
}

#[test]
fn nothing_is_known_yet() {
    let mut screen = Screen::new(View::Backends);
    assert!(text(&mut screen).starts_with("looking .."));
    screen.see(Err("nobody there".into()));
    assert!(text(&mut screen).starts_with("nobody there"));
}
