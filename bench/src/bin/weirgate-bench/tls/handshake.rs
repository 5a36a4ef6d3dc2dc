//! Handshakes of both sides together, beside both sides' operations.

use super::{
    Options,
    crypto::Operations,
    pair::{Contexts, Place},
};
use rustls::NamedGroup;
use weirgate_bench::Figure;
use weirgate_dataplane::port::Pool;

pub(super) fn measure(options: &Options, pool: &Pool) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (name, group) in [("x25519", NamedGroup::X25519), ("mlkem", NamedGroup::X25519MLKEM768)] {
        let (full, resumed) = (Contexts::new(false, group), Contexts::new(true, group));
        let operations = Operations::new(group);
        let mut places = [Place::new(pool), Place::new(pool)];
        let [place, resumed_place] = &mut places;
        resumed_place.shake_hands(&resumed);
        // The client verifies the chain's signature and the server's.
        let mut full_bound = || {
            operations.exchange();
            operations.sign();
            (0..2).for_each(|_| operations.verify());
            (0..2).for_each(|_| operations.schedule());
        };
        let mut resumed_bound = || {
            operations.exchange();
            (0..2).for_each(|_| operations.schedule());
        };
        let [full, resumed, full_bound, resumed_bound] = options.by_turns([
            &mut || drop(place.shake_hands(&full)),
            &mut || {
                let (server, _) = resumed_place.shake_hands(&resumed);
                assert!(server.info().is_some_and(|info| info.is_resumed));
            },
            &mut full_bound,
            &mut resumed_bound,
        ]);
        figures.push(Figure::shown(&format!("tls.handshakes_per_second.{name}"), 1.0 / full, "handshakes/s"));
        figures.push(Figure::shown(&format!("tls.resumed_per_second.{name}"), 1.0 / resumed, "handshakes/s"));
        let (full, resumed) = (full_bound / full, resumed_bound / resumed);
        if name == "x25519" {
            figures.push(Figure::at_least("tls.handshake_vs_crypto", full, "ratio", 0.7));
            figures.push(Figure::at_least("tls.resumed_vs_crypto", resumed, "ratio", 0.7));
        } else {
            figures.push(Figure::shown(&format!("tls.handshake_vs_crypto.{name}"), full, "ratio"));
            figures.push(Figure::shown(&format!("tls.resumed_vs_crypto.{name}"), resumed, "ratio"));
        }
    }
    figures
}
