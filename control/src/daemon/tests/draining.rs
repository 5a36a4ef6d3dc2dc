//! Draining: what is wanted, and what is so.

use super::{applying::root, finding::weights, *};
use crate::admin::api::{Done, DrainEndpointRequest};

#[tokio::test]
async fn a_drain_is_noted_and_told_when_the_data_plane_is_there() {
    let world = World::new("drain-absent").await;
    world.apply("b").await.unwrap();
    for drain in [true, false] {
        world.stand_in.stop();
        world.until(|state| state.link.is_none()).await;
        let Done { changed, pending } = world.engine.drain(&root(), drain).await.unwrap();
        assert!(changed && pending.is_some(), "{pending:?}");
        let state = world.engine.state();
        assert_eq!((state.draining, state.dataplane.drains), (drain, None), "wanted, and not known to be so");
        world.stand_in.listen(world.dir.path());
        world.until(|state| state.dataplane.drains == Some(drain)).await;
        assert_eq!(world.stand_in.inside().drains, drain);
    }
    let done = world.engine.drain(&root(), true).await.unwrap();
    assert_eq!((done.pending, world.engine.state().dataplane.drains), (None, Some(true)));
}

#[tokio::test]
async fn a_data_plane_that_does_not_take_a_drain_is_told_again() {
    let world = World::new("drain-refused").await;
    world.apply("b").await.unwrap();
    world.until(|state| state.dataplane.drains == Some(false)).await;
    world.stand_in.set(|it| it.refuse_drain = true);
    let done = world.engine.drain(&root(), true).await.unwrap();
    assert!(done.changed && done.pending.is_some());
    assert_eq!(world.engine.state().dataplane.drains, Some(false));
    world.stand_in.set(|it| it.refuse_drain = false);
    world.until(|state| state.dataplane.drains == Some(true)).await;
    assert!(world.stand_in.inside().drains);
}

#[tokio::test]
async fn an_endpoints_drain_is_noted_too() {
    let world = World::new("drain-endpoint").await;
    world.apply("b").await.unwrap();
    let request = |drain| DrainEndpointRequest { backend: None, address: "10.77.0.12:8080".into(), drain };
    world.stand_in.set(|it| it.drop_next = Some(false));
    let done = world.engine.drain_endpoint(&root(), request(true)).await.unwrap();
    assert!(done.changed && done.pending.is_some(), "{done:?}");
    world.stand_in.until(|it| it.snapshot.as_ref().unwrap().backends[0].endpoints[1].weight == 0).await;
    // What the data plane refuses is not so, now or later.
    world.until(|state| state.answered).await;
    world.stand_in.set(|it| it.refuse = Some("no".into()));
    world.engine.drain_endpoint(&root(), request(false)).await.unwrap_err();
    world.stand_in.set(|it| it.refuse = None);
    world.apply("c").await.unwrap();
    assert_eq!(weights(&world), [1, 0]);
}
