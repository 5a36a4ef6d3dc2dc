//! Endpoints from the DNS: addresses of a name, or the targets of a service (RFC 2782) and their addresses.

use super::{
    pace::{Pace, TTL_MAX},
    resolve::{Answer, Missing, Resolver, Target},
    source::Found,
};
use crate::config::DnsKind;
use hickory_resolver::proto::rr::{Name, RecordType};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use weirgate_dataplane::{
    limits::{ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX},
    snapshot::Endpoint,
};

/// Targets of one service. What a server sends beyond them is not looked at.
const TARGETS_MAX: usize = 1_024;
/// For one look at everything: the targets' addresses are asked for one after the other when a server does not answer.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What a source asks for.
pub(super) struct Asks {
    pub(super) name: String,
    pub(super) kind: DnsKind,
    /// Of each address; not of targets.
    pub(super) port: u16,
    pub(super) refresh: Option<Duration>,
    pub(super) take_empty: bool,
}

/// The addresses of a name that are known, those of either family by themselves: one of two answers may fail.
#[derive(Clone, PartialEq, Default, Debug)]
struct Known {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

/// What a look has come to.
struct Look {
    endpoints: Vec<Endpoint>,
    ttl: Duration,
    /// What did not work, when the rest did.
    partly: Option<String>,
}

pub(super) async fn run(asks: Asks, resolver: Arc<Resolver>, found: Arc<Found>, mut pace: Pace) {
    let mut known = BTreeMap::new();
    loop {
        let look = timeout(LOOK_MAX, look(&asks, &resolver, &mut known)).await;
        let wait = match look.unwrap_or_else(|_| Err(Missing::Failed("too slow".into()))) {
            Ok(Look { endpoints, ttl, partly }) => {
                let whole = partly.is_none();
                if !found.found(endpoints, partly).await {
                    return;
                }
                if whole { pace.after_answer(ttl, asks.refresh) } else { pace.after_part(ttl, asks.refresh) }
            }
            Err(Missing::Empty(error) | Missing::Failed(error)) => {
                found.failed(error);
                pace.after_failure()
            }
        };
        sleep(wait).await;
    }
}

async fn look(asks: &Asks, resolver: &Arc<Resolver>, known: &mut BTreeMap<Name, Known>) -> Result<Look, Missing> {
    // The configuration's names are whole: no search list, wherever this runs.
    let mut name = Name::from_ascii(&asks.name).map_err(|e| Missing::Failed(format!("no name: {e}")))?;
    name.set_fqdn(true);
    let answer = match asks.kind {
        DnsKind::Address => {
            let one = Target { priority: 0, name, port: asks.port, weight: 0 };
            Ok(Answer { records: vec![one], ttl: TTL_MAX })
        }
        DnsKind::Srv => resolver.targets(&name).await,
    };
    let look = match answer.map(|answer| (preferred(answer.records), answer.ttl)) {
        Ok((targets, _)) if targets.is_empty() => Err(Missing::Empty("no such service here".into())),
        Ok((targets, ttl)) => look_at(targets, ttl, resolver, known).await,
        Err(missing) => Err(missing),
    };
    match look {
        Err(Missing::Empty(_)) if asks.take_empty => {
            Ok(Look { endpoints: Vec::new(), ttl: Duration::ZERO, partly: None })
        }
        look => look,
    }
}

/// rfc2782: only those of the lowest priority, and a target "." says that the service is not there.
fn preferred(targets: Vec<Target>) -> Vec<Target> {
    let lowest = targets.iter().map(|target| target.priority).min();
    let preferred = targets.into_iter().filter(|t| Some(t.priority) == lowest && !t.name.is_root() && t.port != 0);
    let sorted: BTreeSet<Target> = preferred.collect();
    sorted.into_iter().take(TARGETS_MAX).collect()
}

/// The addresses of all targets. What is known changes only if at least one of them has answered with an address.
async fn look_at(
    targets: Vec<Target>,
    ttl: Duration,
    resolver: &Arc<Resolver>,
    known: &mut BTreeMap<Name, Known>,
) -> Result<Look, Missing> {
    let mut answers = JoinSet::new();
    for name in targets.iter().map(|target| target.name.clone()).collect::<BTreeSet<_>>() {
        let resolver = Arc::clone(resolver);
        answers.spawn(async move {
            let answers =
                tokio::join!(resolver.addresses(&name, RecordType::A), resolver.addresses(&name, RecordType::AAAA));
            (answers, name)
        });
    }
    let mut news = News { ttl, fresh: BTreeMap::new(), answered: false, faults: Vec::new() };
    while let Some(Ok(((a, aaaa), name))) = answers.join_next().await {
        let last = known.get(&name).cloned().unwrap_or_default();
        news.add(name, last, a, aaaa);
    }
    let look = news.sum_up(&targets)?;
    *known = news.fresh;
    Ok(look)
}

/// What the answers of one look bring.
struct News {
    /// Until all of it holds.
    ttl: Duration,
    fresh: BTreeMap<Name, Known>,
    /// Whether any answer has brought an address.
    answered: bool,
    faults: Vec<(Name, Missing)>,
}

impl News {
    /// Both answers about a name, of which `last` is known. One that fails leaves its family as it was.
    fn add(
        &mut self,
        name: Name,
        last: Known,
        a: Result<Answer<IpAddr>, Missing>,
        aaaa: Result<Answer<IpAddr>, Missing>,
    ) {
        let mut fault = None;
        let mut known = last;
        let answered = a.is_ok() || aaaa.is_ok();
        for (answer, kept) in [(a, &mut known.v4), (aaaa, &mut known.v6)] {
            match answer {
                Ok(answer) => {
                    self.ttl = self.ttl.min(answer.ttl);
                    *kept = answer.records;
                }
                Err(Missing::Empty(why)) => {
                    kept.clear();
                    if !answered {
                        fault.get_or_insert(Missing::Empty(why));
                    }
                }
                // What a server would have said is open.
                Err(failed) => fault = Some(failed),
            }
        }
        self.answered |= answered;
        self.faults.extend(fault.map(|fault| (name.clone(), fault)));
        self.fresh.insert(name, known);
    }

    /// Endpoints of all targets, and what did not work.
    fn sum_up(&self, targets: &[Target]) -> Result<Look, Missing> {
        let mut unusable = None;
        let mut shares: BTreeMap<SocketAddr, f64> = BTreeMap::new();
        for target in targets {
            let Some(Known { v4, v6 }) = self.fresh.get(&target.name) else { continue };
            let (usable, not): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
                v4.iter().chain(v6).map(IpAddr::to_canonical).partition(is_usable);
            unusable = unusable.or(not.first().copied());
            // A target's weight is the target's, however many addresses it has.
            let share = f64::from(target.weight) / (usable.len().max(1) as f64);
            for address in usable {
                *shares.entry(SocketAddr::new(address, target.port)).or_default() += share;
            }
        }
        // A failure first: then nobody knows whether there is nothing.
        let failed = self.faults.iter().find(|(_, fault)| matches!(fault, Missing::Failed(_)));
        let fault = failed.or(self.faults.first()).cloned().map(|(name, fault)| fault.about(&name));
        if !self.answered {
            return Err(fault.unwrap_or_else(|| Missing::Failed("no answer".into())));
        }
        let unusable = unusable.map(|ip| Missing::Empty(format!("{ip} is no address of an endpoint")));
        let fault = fault.or(unusable);
        if shares.is_empty() {
            return Err(fault.unwrap_or_else(|| Missing::Empty("no addresses".into())));
        }
        let partly = fault.map(Missing::into_words);
        let many =
            (shares.len() > ENDPOINTS_MAX).then(|| format!("{} endpoints; {ENDPOINTS_MAX} are taken", shares.len()));
        Ok(Look { endpoints: weigh(shares), ttl: self.ttl, partly: partly.or(many) })
    }
}

/// Whether a packet can be sent there: a lie must not make a loop of us, or have the whole snapshot refused.
fn is_usable(ip: &IpAddr) -> bool {
    let is_somebodys = match ip {
        IpAddr::V4(v4) => !v4.is_link_local(),
        // The DNS does not say of which link.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    is_somebodys && !is_nobodys(ip)
}

/// Addresses that are no single host's on any link.
pub(super) fn is_nobodys(ip: &IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    is_broadcast || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()
}

/// rfc2782's weights (0 to 65,535, where 0 is "very small") as ours (1 to 1,000), in proportion.
pub(super) fn weigh(shares: BTreeMap<SocketAddr, f64>) -> Vec<Endpoint> {
    let most = shares.values().copied().fold(0.0, f64::max);
    let fit = |share: &f64| share.fract() == 0.0 && (1.0..=f64::from(ENDPOINT_WEIGHT_MAX)).contains(share);
    let scale = match most {
        0.0 => 0.0,
        _ if shares.values().all(fit) => 1.0,
        most => f64::from(ENDPOINT_WEIGHT_MAX) / most,
    };
    let endpoint = |(address, share): (SocketAddr, f64)| {
        let weight = (share * scale).round() as u32; // saturates
        Endpoint { address, weight: weight.clamp(1, ENDPOINT_WEIGHT_MAX) }
    };
    shares.into_iter().take(ENDPOINTS_MAX).map(endpoint).collect()
}
