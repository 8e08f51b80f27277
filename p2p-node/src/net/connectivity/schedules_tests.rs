//! Whatever happens, in whichever order.

use rand::RngExt;

use super::*;

/// One random thing that may happen.
fn disturb(world: &mut World, rng: &mut SmallRng) {
    let n = rng.random_range(1..6);
    match rng.random_range(0..16) {
        0 => {
            let some: Vec<u32> = (1..6).filter(|_| rng.random_bool(0.7)).collect();
            world.targets(some);
        }
        1 => drop(world.home(9, rng.random())),
        2 => world.input(Input::Hint(device(n))),
        3 | 4 => {
            if let Some((&dial, (to, addresses))) = world.dials.iter().nth(rng.random_range(0..3)) {
                let relayed = addresses.iter().all(is_circuit);
                let n = (1..10).find(|n| peer(*n) == *to).unwrap();
                world.connect(n, relayed, Some(dial));
            }
        }
        5 => world.fail_dials(),
        6 => drop(world.connect(n, rng.random(), None)),
        7 | 8 => {
            let all: Vec<ConnectionId> = world.open.keys().copied().collect();
            if !all.is_empty() {
                world.disconnect(all[rng.random_range(0..all.len())]);
            }
        }
        9 | 10 => world.open_streams(),
        11 => world.break_streams(),
        12 => {
            if let Some((&id, &(to, relayed))) = world.open.iter().next()
                && let Some(device) = device_of(&to)
            {
                world.input(Input::StreamIn { device, connection: Connection { id, relayed } });
            }
        }
        13 => {
            if let Some(connection) = world.streams.remove(&device(n)) {
                world.input(Input::StreamStalled(device(n)));
                world.input(Input::StreamEnded { device: device(n), connection });
            }
        }
        14 => world.input(Input::Found { peer: peer(n), address: address(rng.random_range(0..500)) }),
        _ => {
            let (home, _) = home(9);
            if world.net.has_session(&home) {
                world.input(Input::HomeEnded { home, left: ConnectionProblem::Closed.into() });
            }
        }
    }
}

#[test]
fn thousands_of_random_schedules_keep_the_invariants() {
    for seed in 0..3_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world = World::with_targets(seed, 1..6);
        for _ in 0..60 {
            disturb(&mut world, &mut rng);
            world.now += Duration::from_millis(rng.random_range(0..3_000));
            world.input(Input::Tick);
        }
        // Then all is quiet, and everybody who is connected ends up with one stream, on the best connection.
        world.targets(1..6);
        for _ in 0..4 {
            world.break_streams();
            world.open_streams();
            world.fail_dials();
            world.pass(150 * SECOND);
        }
        world.break_streams();
        world.open_streams();
        for n in 1..6 {
            let best = world.net.best(&peer(n));
            assert_eq!(world.net.stream_of(&device(n)), best, "device {n} with seed {seed}");
            let relayed_beside_direct = world.open.values().filter(|(p, relayed)| *p == peer(n) && *relayed).count();
            assert!(best.is_none_or(|b| b.relayed) || relayed_beside_direct == 0 || world.opening.is_empty());
        }
        let last = |n: u32| {
            world.told.iter().rev().find_map(|event| match event {
                NetEvent::DirectUp { device: d, .. } if *d == device(n) => Some(true),
                NetEvent::DirectDown(d) if *d == device(n) => Some(false),
                _ => None,
            })
        };
        for n in 1..6 {
            assert_eq!(
                last(n).unwrap_or(false),
                world.net.stream_of(&device(n)).is_some(),
                "device {n} with seed {seed}"
            );
        }
        let spans = world.log.len();
        assert!(spans < 2_000, "{spans} dials with seed {seed}");
        assert!(world.net.agenda.len() + world.net.devices_due.len() <= 5 + 3);
    }
}
