//! The screen: what is shown of the last two looks, and what keys do to it. It draws lines of text, so that a pipe gets the same as a terminal.

use super::look::{Look, value};
use crate::{
    admin::api::{CounterColumn, EndpointSummary},
    cli::{
        golden::Signals,
        human::{age, micros, percent, rate},
        style::{Style, Tone},
        table::{Cell, Table},
    },
};
use clap::ValueEnum;
use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier, Style as Drawn},
    text::{Line, Span, Text},
};
use std::{cmp::Ordering, time::Duration};

/// Which list is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum View {
    Listeners,
    Routes,
    Backends,
    Endpoints,
}

/// What a list is sorted by, the greatest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Requests,
    Failures,
    Slowness,
    Name,
}

/// All of it.
pub(super) struct Screen {
    view: View,
    by: By,
    reversed: bool,
    /// Rows that are above the list's first one.
    scrolled: usize,
    paused: bool,
    last: Option<Look>,
    before: Option<Look>,
    /// Why the last look brought nothing.
    trouble: Option<String>,
}

/// A line as pieces of text.
type Pieces = Vec<(Tone, String)>;

impl View {
    const ALL: [Self; 4] = [Self::Listeners, Self::Routes, Self::Backends, Self::Endpoints];

    fn word(self) -> &'static str {
        match self {
            Self::Listeners => "listener",
            Self::Routes => "route",
            Self::Backends => "backend",
            Self::Endpoints => "endpoint",
        }
    }
}

impl Screen {
    pub(super) fn new(view: View) -> Self {
        let (last, before, trouble) = (None, None, None);
        Self { view, by: By::Requests, reversed: false, scrolled: 0, paused: false, last, before, trouble }
    }

    /// Takes a look, or why there is none.
    pub(super) fn see(&mut self, look: Result<Look, String>) {
        match look {
            _ if self.paused => {}
            Ok(look) => {
                self.before = self.last.replace(look);
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// Takes a key; whether it is the one that ends this.
    pub(super) fn handle(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Tab => self.turn_to(View::ALL[(self.view as usize + 1) % View::ALL.len()]),
            KeyCode::BackTab => self.turn_to(View::ALL[(self.view as usize + View::ALL.len() - 1) % View::ALL.len()]),
            KeyCode::Char(digit @ '1'..='4') => self.turn_to(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('s') => {
                self.by = match self.by {
                    By::Requests => By::Failures,
                    By::Failures => By::Slowness,
                    By::Slowness => By::Name,
                    By::Name => By::Requests,
                }
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('j') | KeyCode::Down => self.scrolled += 1,
            KeyCode::Char('k') | KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled += 10,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        false
    }

    fn turn_to(&mut self, view: View) {
        (self.view, self.scrolled) = (view, 0);
    }

    /// Draws as much as there is room for.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, is_plain: bool) {
        let area = frame.area();
        let lines = self.lines(usize::from(area.width), Some(usize::from(area.height)));
        let drawn = lines.into_iter().map(|pieces| {
            Line::from(
                pieces.into_iter().map(|(tone, text)| Span::styled(text, drawn(tone, is_plain))).collect::<Vec<_>>(),
            )
        });
        frame.render_widget(Text::from(drawn.collect::<Vec<_>>()), area);
    }

    /// All of it, as text.
    pub(super) fn text(&mut self, style: Style, width: usize) -> String {
        let paint = |line: Pieces| line.iter().map(|(tone, text)| style.paint(*tone, text)).collect::<String>();
        self.lines(width, None).into_iter().map(|line| paint(line).trim_end().to_owned() + "\n").collect()
    }

    /// Head, workers, the list; and what keys do, where there is a keyboard.
    fn lines(&mut self, width: usize, height: Option<usize>) -> Vec<Pieces> {
        let mut lines = self.head();
        lines.extend(self.workers().lines(Some(width)));
        lines.push(Vec::new());
        lines.push(self.tabs());
        let mut list = self.list().lines(Some(width));
        let heads = list.remove(0);
        if list.is_empty() {
            list.push(vec![(Tone::Faint, format!("no {} has served anything yet", self.view.word()))]);
        }
        lines.push(heads);
        let room = height.map_or(list.len(), |height| height.saturating_sub(lines.len() + 1));
        self.scrolled = self.scrolled.min(list.len().saturating_sub(room));
        lines.extend(list.into_iter().skip(self.scrolled).take(room));
        if let Some(height) = height {
            lines.resize(height.saturating_sub(1).max(1), Vec::new());
            let keys = "q end  Tab list  s sort  r reverse  arrows scroll  Space stand still";
            lines.push(vec![(Tone::Faint, keys.into())]);
        }
        lines
    }

    fn head(&self) -> Vec<Pieces> {
        let Some(look) = &self.last else {
            let what = self.trouble.clone().map_or((Tone::Faint, "looking ..".to_owned()), |why| (Tone::Bad, why));
            return vec![vec![what], Vec::new()];
        };
        let status = &look.status;
        let revision =
            status.revision.as_ref().map_or("no revision".into(), |head| format!("revision {}", head.revision));
        let state = match (&status.not_ready, status.draining) {
            (_, true) => (Tone::Doubtful, "draining".to_owned()),
            (_, false) if status.ready => (Tone::Good, "ready".into()),
            (Some(why), _) => (Tone::Bad, format!("not ready: {why}")),
            (None, _) => (Tone::Bad, "not ready".into()),
        };
        let dataplane = match (status.dataplane.connected, status.dataplane.pid) {
            (true, Some(pid)) => format!("data plane {pid}"),
            (true, None) => "data plane".into(),
            (false, _) => "no data plane".into(),
        };
        let mut line =
            vec![(Tone::Strong, status.node.clone()), (Tone::Plain, format!("  {revision}  {dataplane}  ")), state];
        if let Some(waits) = &status.unconfirmed {
            let left = age(waits.seconds_left * 1_000);
            line.push((Tone::Doubtful, format!("  goes back to {} in {left}", waits.back_to)));
        }
        if self.paused {
            line.push((Tone::Doubtful, "  standing still".into()));
        }
        let trouble = self.trouble.iter().map(|why| vec![(Tone::Bad, format!("these are old values: {why}"))]);
        std::iter::once(line).chain(trouble).chain([Vec::new()]).collect()
    }

    /// The time between the looks, if there are two.
    fn elapsed(&self) -> Option<Duration> {
        Some(self.last.as_ref()?.at.duration_since(self.before.as_ref()?.at))
    }

    fn workers(&self) -> Table {
        let heads =
            ["WORKER", ">BUSY", ">RX/S", ">TX/S", ">REQ/S", ">5XX/S", ">DROPS/S", ">CONNS", ">FRAMES", ">LONGEST TURN"];
        let mut table = Table::new(&heads);
        let Some(look) = &self.last else { return table };
        for now in look.workers() {
            let before = self.before.as_ref().and_then(|look| look.workers().find(|it| it.name == now.name));
            table.row(self.worker(now, before));
        }
        table
    }

    fn worker(&self, now: &CounterColumn, before: Option<&CounterColumn>) -> Vec<Cell> {
        // A data plane that began anew counts from zero.
        let grown = |name| before.and_then(|before| value(now, name).checked_sub(value(before, name)));
        let each_second = |name| {
            let grown = grown(name)?;
            Some(grown as f64 / self.elapsed().filter(|it| !it.is_zero())?.as_secs_f64())
        };
        let shown = |name| each_second(name).map_or_else(|| "-".into(), rate);
        let busy = grown("turns").filter(|&turns| turns > 0).zip(grown("busy_turns"));
        let busy = busy.map_or("-".into(), |(turns, busy)| percent(busy as f64 / turns as f64));
        let troubled = |name| {
            let tone = if each_second(name).is_some_and(|it| it > 0.0) { Tone::Bad } else { Tone::Plain };
            Cell::new(tone, shown(name))
        };
        vec![
            now.name.clone().into(),
            busy.into(),
            shown("rx_frames").into(),
            shown("tx_frames").into(),
            shown("http_requests").into(),
            troubled("http_5xx"),
            troubled("dropped_frames"),
            value(now, "tcp_connections").into(),
            format!("{}/{}", value(now, "frames_in_use"), value(now, "frames_capacity")).into(),
            micros(value(now, "turn_us_max")).into(),
        ]
    }

    /// `listeners  ROUTES  backends  endpoints   by requests`
    fn tabs(&self) -> Pieces {
        let mut line = Vec::new();
        for view in View::ALL {
            let name = format!("{}s", view.word());
            let is_shown = view == self.view;
            line.push(if is_shown { (Tone::Strong, format!("[{name}]")) } else { (Tone::Faint, format!(" {name} ")) });
        }
        let by = match self.by {
            By::Requests => "requests",
            By::Failures => "failures",
            By::Slowness => "p99",
            By::Name => "name",
        };
        let order = if self.reversed { ", reversed" } else { "" };
        line.push((Tone::Faint, format!("  by {by}{order}")));
        line
    }

    fn list(&self) -> Table {
        let (signals, has_rates) = self.signals();
        let has_state = matches!(self.view, View::Backends | View::Endpoints);
        let mut heads = vec![
            "NAME",
            if has_rates { ">RPS" } else { ">REQUESTS" },
            ">SUCCESS",
            ">P50",
            ">P90",
            ">P99",
            ">5XX",
            ">NONE",
        ];
        heads.extend(if has_rates { [">IN/S", ">OUT/S"] } else { [">IN", ">OUT"] });
        if has_state {
            heads.insert(1, "STATE");
        }
        let mut table = Table::new(&heads);
        for it in &signals {
            let mut cells = it.cells();
            if has_state {
                cells.insert(1, self.state(it));
            }
            table.row(cells);
        }
        table
    }

    /// Those of the list, in order.
    fn signals(&self) -> (Vec<Signals>, bool) {
        let meters = |look: &'_ Option<Look>| look.as_ref().and_then(|look| look.meters.clone());
        let Some(after) = meters(&self.last) else { return (Vec::new(), true) };
        let (mut all, has_rates): (Vec<_>, _) = match meters(&self.before).zip(self.elapsed()) {
            Some((before, elapsed)) => (Signals::of_looks(&before, &after, elapsed), true),
            None => (after.meters.iter().map(|it| Signals::of_total(it, &after.duration_bounds_us)).collect(), false),
        };
        all.retain(|it| it.kind == self.view.word());
        all.sort_by(|a, b| {
            let order = match self.by {
                By::Requests => b.requests.cmp(&a.requests),
                By::Failures => a.success_rate.partial_cmp(&b.success_rate).unwrap_or(Ordering::Equal),
                By::Slowness => b.p99_us.cmp(&a.p99_us),
                By::Name => Ordering::Equal,
            };
            let order = order.then_with(|| a.shown_name().cmp(&b.shown_name()));
            if self.reversed { order.reverse() } else { order }
        });
        (all, has_rates)
    }

    /// How an endpoint is, or how many of a backend's are well.
    fn state(&self, it: &Signals) -> Cell {
        let endpoints = self.last.as_ref().map(|look| &look.endpoints[..]).unwrap_or_default();
        let is_well = |one: &EndpointSummary| one.live.as_ref().is_some_and(|live| live.healthy) && !one.draining;
        if it.kind == "endpoint" {
            let of_it = |one: &&EndpointSummary| Some(&one.backend) == it.backend.as_ref() && one.address == it.name;
            return match endpoints.iter().find(of_it) {
                None => Cell::new(Tone::Faint, "gone"),
                Some(one) if one.draining => Cell::new(Tone::Doubtful, "draining"),
                Some(one) if one.live.is_none() => Cell::new(Tone::Faint, "unknown"),
                Some(one) => Cell::judged(is_well(one), if is_well(one) { "healthy" } else { "unhealthy" }),
            };
        }
        let own: Vec<_> = endpoints.iter().filter(|one| one.backend == it.name).collect();
        let well = own.iter().filter(|one| is_well(one)).count();
        Cell::judged(well == own.len() && well > 0, format!("{well}/{}", own.len()))
    }
}

fn drawn(tone: Tone, is_plain: bool) -> Drawn {
    let style = Drawn::default();
    match tone {
        Tone::Plain => style,
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Faint => style.add_modifier(Modifier::DIM),
        _ if is_plain => style,
        Tone::Good => style.fg(Color::Green),
        Tone::Doubtful => style.fg(Color::Yellow),
        Tone::Bad => style.fg(Color::Red),
    }
}

#[cfg(test)]
mod tests;
