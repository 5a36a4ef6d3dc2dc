//! Endpoints that discovery finds: whose they are, how long they hold, and what is refused.

use super::{applying::root, *};
use crate::{
    admin::api::{Code, ConfirmRequest, DrainEndpointRequest, RollbackRequest},
    config::{Discovery, DnsKind},
    daemon::{store::Drained, view},
    discovery::EndpointUpdate,
};
use weirgate_dataplane::snapshot::Endpoint;

/// The small configuration with discovery instead of written endpoints.
fn found_by(path: &str, how: &str) -> String {
    yaml(path).replace("static: [\"10.77.0.11:8080\", \"10.77.0.12:8080\"]", how)
}

fn dns(name: &str) -> Discovery {
    Discovery::Dns {
        backend: "web".into(),
        name: name.into(),
        kind: DnsKind::Address,
        port: Some(8080),
        refresh_ms: None,
    }
}

fn endpoint(n: u8, weight: u32) -> Endpoint {
    Endpoint { address: ([10, 0, 0, n], 8080).into(), weight }
}

fn said(source: Discovery, endpoints: &[Endpoint]) -> Vec<EndpointUpdate> {
    vec![EndpointUpdate { source, endpoints: endpoints.to_vec() }]
}

/// As if the small configuration's discovery were this, whatever else is asked.
fn by_dns(name: &str) -> impl FnOnce(&mut ApplyRequest) {
    let text = found_by("b", &format!("dns: {{name: {name}, port: 8080}}"));
    move |it| it.files[0].text = text
}

pub(super) fn weights(world: &World) -> Vec<u32> {
    let snapshot = world.stand_in.inside().snapshot.unwrap();
    snapshot.backends[0].endpoints.iter().map(|it| it.weight).collect()
}

#[tokio::test]
async fn endpoints_come_and_go_without_revisions() {
    let world = World::new("endpoints").await;
    world.apply_with("b", |it| it.files[0].text = found_by("b", "dns: {name: web.example, port: 8080}")).await.unwrap();
    assert!(weights(&world).is_empty());
    let update = |endpoints| vec![EndpointUpdate { source: dns("web.example"), endpoints }];
    world.engine.endpoints(update(vec![endpoint(1, 1), endpoint(2, 5)])).await;
    assert_eq!(weights(&world), [1, 5]);
    let snapshot = world.stand_in.inside().snapshot.unwrap();
    assert_eq!((snapshot.revision, world.stand_in.inside().replaced), (1_000_001, 1));
    // Nonsense is left alone.
    world.engine.endpoints(update(vec![endpoint(1, 1), endpoint(1, 1)])).await;
    assert_eq!(weights(&world), [1, 5]);
    // One that drains stays so, whatever else changes.
    let drain = |drain| DrainEndpointRequest { backend: Some("web".into()), address: "10.0.0.2:8080".into(), drain };
    assert!(world.engine.drain_endpoint(&root(), drain(true)).await.unwrap().changed);
    assert!(!world.engine.drain_endpoint(&root(), drain(true)).await.unwrap().changed);
    world.engine.endpoints(update(vec![endpoint(2, 7), endpoint(3, 1)])).await;
    assert_eq!(weights(&world), [0, 1]);
    // What was found is known after a kill, before anybody asks again.
    let (dir, stand_in) = world.kill().await;
    stand_in.set(|it| it.replaced = 0);
    let world = World::over(dir, stand_in, None);
    world.stand_in.until(|it| it.replaced == 1).await;
    assert_eq!(weights(&world), [0, 1]);
    assert!(
        world
            .engine
            .state()
            .overlay
            .drained
            .contains(&Drained { backend: "web".into(), address: ([10, 0, 0, 2], 8080).into() })
    );
    assert!(world.engine.drain_endpoint(&root(), drain(false)).await.unwrap().changed);
    assert_eq!(weights(&world), [7, 1]);
    let unknown = DrainEndpointRequest { backend: None, address: "10.9.9.9:1".into(), drain: true };
    assert_eq!(world.engine.drain_endpoint(&root(), unknown).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn another_source_has_no_endpoints_until_it_answers() {
    let world = World::new("source").await;
    world.apply_with("b", by_dns("one.example")).await.unwrap();
    world.engine.endpoints(said(dns("one.example"), &[endpoint(1, 3)])).await;
    assert_eq!(weights(&world), [3]);
    // How often it is asked makes it no other source.
    let text = found_by("b", "dns: {name: one.example, port: 8080, refresh: 5s}");
    world.apply_with("b", |it| it.files[0].text = text).await.unwrap();
    assert_eq!(weights(&world), [3]);
    world.apply_with("b", by_dns("two.example")).await.unwrap();
    assert_eq!(weights(&world), [] as [u32; 0]);
    let told = view::describe(&world.engine, view::Kind::Backend, "web").await.unwrap().discovery.unwrap();
    assert_eq!((told.pending, told.source.as_str(), told.endpoints), (true, "two.example", 0));
    // What was asked before may still be answered: that is nobody's any more.
    world.engine.endpoints(said(dns("one.example"), &[endpoint(1, 3)])).await;
    assert_eq!(weights(&world), [] as [u32; 0]);
    world.engine.endpoints(said(dns("two.example"), &[endpoint(2, 5)])).await;
    assert_eq!(weights(&world), [5]);
    let told = view::describe(&world.engine, view::Kind::Backend, "web").await.unwrap().discovery.unwrap();
    assert_eq!((told.pending, told.endpoints), (false, 1));
    // And nothing of it is kept, here or on the disk.
    world.apply("b").await.unwrap();
    assert!(world.engine.state().overlay.discovered.is_empty());
    assert!(world.engine.with_store(|store| store.endpoints()).await.is_empty());
}

#[tokio::test]
async fn what_may_come_back_keeps_its_endpoints() {
    let world = World::new("source-back").await;
    world.apply_with("b", by_dns("one.example")).await.unwrap();
    world.engine.endpoints(said(dns("one.example"), &[endpoint(1, 3)])).await;
    let to = |name: &'static str| {
        move |it: &mut ApplyRequest| {
            by_dns(name)(it);
            it.how.confirm_seconds = Some(3_600);
        }
    };
    world.apply_with("b", to("two.example")).await.unwrap();
    world.engine.endpoints(said(dns("two.example"), &[endpoint(2, 5)])).await;
    assert_eq!(weights(&world), [5]);
    world.engine.rollback(&root(), RollbackRequest::default()).await.unwrap();
    assert_eq!(weights(&world), [3], "at once, before anybody asks again");
    world.apply_with("b", to("two.example")).await.unwrap();
    world.engine.confirm(&root(), ConfirmRequest::default()).await.unwrap();
    let known: Vec<_> = world.engine.state().overlay.discovered.keys().cloned().collect();
    assert_eq!(known, [], "it cannot come back by itself any more");
}

#[tokio::test]
async fn one_refused_backend_keeps_no_other_from_its_endpoints() {
    let world = World::new("one-bad").await;
    let backends: String = (0..5).map(|n| format!("- {{name: b{n}, discovery: {{file: /b{n}}}}}\n")).collect();
    world.apply_with("b", |it| it.files[0].text += &backends).await.unwrap();
    let source = |n: u8| Discovery::File { backend: format!("b{n}"), path: format!("/b{n}").into() };
    let updates = || (0..5).flat_map(|n| said(source(n), &[endpoint(n, 1)])).collect::<Vec<_>>();
    world.stand_in.set(|it| it.refuse_endpoint = Some(endpoint(3, 1).address));
    assert!(!world.engine.endpoints(updates()).await.is_nothing());
    let served = || {
        let snapshot = world.stand_in.inside().snapshot.unwrap();
        snapshot.backends[1..].iter().map(|it| it.endpoints.len()).collect::<Vec<_>>()
    };
    assert_eq!(served(), [1, 1, 1, 0, 1]);
    let told = |n: usize| world.engine.discoveries()[n].clone();
    assert!(told(3).refused.is_some_and(|why| why.contains("10.0.0.3:8080")));
    assert_eq!((told(3).endpoints, told(2).endpoints, told(2).refused), (0, 1, None));
    // Nor when it is found while no data plane is there.
    world.stand_in.stop();
    world.until(|state| state.link.is_none()).await;
    world.engine.endpoints(updates()).await;
    world.stand_in.set(|it| it.snapshot = Some(Arc::new(body("a").snapshot)));
    world.stand_in.listen(world.dir.path());
    world.until(|state| state.refused.contains_key("b3")).await;
    assert_eq!(served(), [1, 1, 1, 0, 1]);
    world.stand_in.set(|it| it.refuse_endpoint = None);
    assert!(world.engine.endpoints(updates()).await.is_nothing());
    assert_eq!((served(), told(3).refused), (vec![1; 5], None));
}

#[tokio::test]
async fn what_is_refused_or_cannot_be_written_is_tried_again() {
    let world = World::new("again").await;
    world.apply_with("b", by_dns("one.example")).await.unwrap();
    let (sender, taken) = tokio::sync::mpsc::channel(8);
    tokio::spawn(Arc::clone(&world.engine).take_endpoints(taken));
    world.stand_in.set(|it| it.refuse_endpoint = Some(endpoint(1, 1).address));
    sender.send(said(dns("one.example"), &[endpoint(1, 1)]).remove(0)).await.unwrap();
    world.until(|state| !state.refused.is_empty()).await;
    world.stand_in.set(|it| it.refuse_endpoint = None);
    world.until(|state| state.refused.is_empty()).await;
    assert_eq!(weights(&world), [1]);
    let written = async |n: u8| {
        let kept = world.engine.with_store(|store| store.endpoints()).await;
        kept.values().any(|it| *it == [endpoint(n, 1)]).then_some(())
    };
    eventually(async || written(1).await).await.expect("it is written");
    // In the file's place is something that cannot be replaced.
    let path = world.dir.path().join("state/endpoints.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("full")).unwrap();
    sender.send(said(dns("one.example"), &[endpoint(2, 1)]).remove(0)).await.unwrap();
    world.stand_in.until(|it| it.snapshot.as_ref().unwrap().backends[0].endpoints == [endpoint(2, 1)]).await;
    std::fs::remove_dir_all(&path).unwrap();
    eventually(async || written(2).await).await.expect("it is written");
}

#[tokio::test]
async fn what_leads_back_to_the_gateway_is_left_out_and_named() {
    let world = World::new("loop").await;
    world.apply_with("b", by_dns("one.example")).await.unwrap();
    let own = Endpoint { address: ([10, 77, 0, 10], 80).into(), weight: 1 };
    world.engine.endpoints(said(dns("one.example"), &[own, endpoint(1, 7)])).await;
    assert_eq!(weights(&world), [7]);
    let told = view::describe(&world.engine, view::Kind::Backend, "web").await.unwrap();
    assert_eq!(told.discovery.unwrap().left_out, ["10.77.0.10:80"]);
    assert_eq!(told.endpoints.len(), 1);
}
