use super::*;

const MS: u64 = 1_000_000;

/// Looks every 20 ms of a while in which `waited` and `idle` percent of the time go by; says when the arrangement
/// is another one, in ms, and stops there.
fn until_change(
    load: &mut Load,
    at: &mut Sample,
    split: bool,
    percent: [u64; 2],
    ms: u64,
) -> Option<u64> {
    let start = at.at;
    while at.at < start + ms * MS {
        at.at += 20 * MS;
        at.waited += 20 * MS * percent[0] / 100;
        at.idle += 20 * MS * percent[1] / 100;
        if load.look(*at, split) != split {
            return Some((at.at - start) / MS);
        }
    }
    None
}

#[test]
fn contention_takes_the_second_cpu_away() {
    let (mut load, mut at) =
        (Load::new(), Sample { at: 5_000 * MS, waited: 70, idle: 90_000 * MS });
    assert_eq!(until_change(&mut load, &mut at, true, [10, 0], 10_000), None, "a little waiting");
    assert_eq!(until_change(&mut load, &mut at, true, [50, 0], 10_000), Some(80));
}

#[test]
fn a_burst_changes_nothing() {
    let (mut load, mut at) = (Load::new(), Sample { at: 5_000 * MS, waited: 0, idle: 0 });
    for _ in 0..20 {
        assert_eq!(until_change(&mut load, &mut at, true, [90, 0], 60), None);
        assert_eq!(until_change(&mut load, &mut at, true, [0, 0], 20), None);
    }
}

#[test]
fn a_free_cpu_comes_back_after_a_while() {
    let (mut load, mut at) = (Load::new(), Sample { at: 5_000 * MS, waited: 0, idle: 0 });
    assert!(until_change(&mut load, &mut at, true, [50, 0], 10_000).is_some());
    assert_eq!(until_change(&mut load, &mut at, false, [0, 70], 10_000), None, "not a whole one");
    assert_eq!(until_change(&mut load, &mut at, false, [0, 98], 10_000), Some(200));
}

#[test]
fn who_is_always_refused_asks_less_often() {
    let (mut load, mut at) = (Load::new(), Sample { at: 5_000 * MS, waited: 0, idle: 0 });
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert!(until_change(&mut load, &mut at, true, [50, 100], 200).is_some());
        pauses.push(until_change(&mut load, &mut at, false, [0, 100], 60_000).expect("it is free"));
    }
    assert_eq!(pauses, [2_000, 4_000, 8_000, 16_000, 16_000, 16_000, 16_000]);
    // It lasted: everything is as at the start.
    assert_eq!(until_change(&mut load, &mut at, true, [0, 0], 20_000), None);
    assert!(until_change(&mut load, &mut at, true, [50, 0], 200).is_some());
    assert_eq!(until_change(&mut load, &mut at, false, [0, 100], 60_000), Some(1_000));
}

#[test]
fn the_host_says_something() {
    let first = Sample::take(1).expect("Linux says");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let second = Sample::take(2).expect("Linux says");
    assert!(second.waited >= first.waited && second.idle >= first.idle);
}
