//! `top`: a live screen.

mod look;
mod screen;

use super::{
    Outcome,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    human::seconds,
};
use crate::admin::client::Client;
use clap::Args;
use look::Look;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use screen::{Screen, View};
use std::time::Duration;
use tokio::sync::mpsc;

/// Watch workers, listeners, routes, backends and endpoints on a live screen
///
/// Rates are over the time between two looks. The screen stays when the daemon or the data plane
/// goes, and goes on when they are back.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Keys:
  q, Esc, Ctrl-C  end
  Tab, 1 to 4     the next list; listeners, routes, backends, endpoints
  s, r            sort by the next column; the other way round
  Up, Down, PageUp, PageDown, j, k
  Space           stand still

Examples:
  weirgate top
  weirgate top --view endpoints --interval 5s
  weirgate top --once | head -20      # one frame, for a pipe"
)]
pub(super) struct Top {
    /// The list that it begins with
    #[arg(long, value_enum, value_name = "LIST", default_value_t = View::Routes)]
    view: View,
    /// Between looks
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "1s")]
    interval: u64,
    /// Print one frame, of the time between two looks, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    at: At,
}

/// A look that takes longer is given up; the next may fare better.
const PATIENCE: Duration = Duration::from_secs(5);
/// Columns where there is no terminal.
const WIDTH: usize = 120;

impl Top {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        if self.interval == 0 {
            return Err(Failure::usage("an interval of 0 leaves nothing to measure").next("--interval 1s"));
        }
        if self.once {
            return Daemon::block_on(self.once(console));
        }
        if console.width.is_none() {
            return Err(Failure::usage("top needs a terminal").next("weirgate top --once prints one frame"));
        }
        Daemon::block_on(self.live(!console.style.coloured))
    }

    fn client(&self) -> Client {
        self.at.client().with_patience(PATIENCE)
    }

    async fn once(&self, console: &mut Console<'_>) -> Outcome {
        let client = self.client();
        let mut screen = Screen::new(self.view);
        screen.see(Ok(Look::take(&client).await?));
        tokio::time::sleep(Duration::from_secs(self.interval)).await;
        screen.see(Ok(Look::take(&client).await?));
        let text = screen.text(console.style, console.width.unwrap_or(WIDTH));
        console.print(&text)?;
        Ok(Exit::Done)
    }

    async fn live(&self, is_plain: bool) -> Outcome {
        let mut looks = looks(self.client(), Duration::from_secs(self.interval));
        let mut keys = keys();
        let mut screen = Screen::new(self.view);
        let mut terminal = ratatui::try_init()?;
        let _restored = Restored;
        loop {
            terminal.draw(|frame| screen.draw(frame, is_plain))?;
            tokio::select! {
                Some(look) = looks.recv() => screen.see(look),
                event = keys.recv() => match event {
                    Some(Some(key)) if screen.handle(key) => return Ok(Exit::Done),
                    // A new size, among others: it is drawn again.
                    Some(_) => {}
                    // The terminal is gone.
                    None => return Ok(Exit::Done),
                },
            }
        }
    }
}

/// Gives the terminal back as it was, whatever ends this.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Looks, one after another. Keys are never kept waiting by a daemon that is slow.
fn looks(client: Client, interval: Duration) -> mpsc::Receiver<Result<Look, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let look = Look::take(&client).await.map_err(|error| error.to_string());
            if sender.send(look).await.is_err() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
    });
    receiver
}

/// Keys that are pressed; `None` is anything else that asks for a new frame. The thread waits for the terminal, and ends with the process.
fn keys() -> mpsc::Receiver<Option<KeyEvent>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.is_press() => Some(key),
                _ => None,
            };
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    });
    receiver
}
