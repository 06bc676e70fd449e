use super::*;

const GHZ3: u64 = (1 << 32) / 3;

#[test]
fn lines_follow_without_going_back() {
    let old = Line { tsc: 1000, ns: 500_005_000, mult: GHZ3 };
    let now = 1000 + 3_000_000;
    let shown = old.at(now);
    assert!((501_004_998..=501_005_000).contains(&shown));
    let period = 1_000_000;
    for error in [-90_000i64, -50, -1, 0, 1, 50, 90_000] {
        let host = shown.wrapping_add_signed(error);
        let new = old.follow(now, u64::MAX, host, GHZ3, period);
        assert_eq!(new.at(now), shown, "starts where the old one was");
        assert!(new.mult > 0);
        // After one period it has met the host, unless the slope was limited.
        let later = now + 3_000_000;
        let host_later = host + 1_000_000;
        let left = host_later as i64 - new.at(later) as i64;
        assert!(left.abs() <= 2 || error.abs() > period as i64 / 16, "{error}: {left}");
        assert!(left.signum() * error.signum() >= 0 || left.abs() <= 2);
    }
    // Far behind: forward at once. Far ahead: slower, never back.
    assert_eq!(old.follow(now, u64::MAX, shown + 200_000, GHZ3, period).ns, shown + 200_000);
    let ahead = old.follow(now, u64::MAX, shown - 10_000_000, GHZ3, period);
    assert_eq!(ahead.ns, shown);
    assert_eq!(ahead.mult, GHZ3 - (GHZ3 >> SLEW_SHIFT));
    // Expired before: only what was read counts.
    let read_to = 1000 + 3000;
    let jumped = old.follow(now, read_to, shown - 10_000, GHZ3, period);
    assert_eq!(jumped.ns, shown - 10_000);
    assert_eq!(old.follow(now, read_to, 3, GHZ3, period).ns, old.at(read_to));
}

fn at(tsc: u64, ns: u64) -> Sample {
    Sample { tsc, monotonic: ns, raw_offset: 7, real_offset: 1_000_000, boot_offset: 0 }
}

fn calibration() -> Calibration {
    Calibration {
        anchor: at(0, 0),
        last: at(0, 0),
        mult: 0,
        raw_mult: 0,
        monotonic: Line::default(),
        raw: Line::default(),
        max_delta: 0,
        real_offset: 0,
        boot_offset: 0,
        period: FIRST_PERIOD,
        seq: 1,
        wild: 0,
    }
}

#[test]
fn frequency_and_its_accidents() {
    let mut c = calibration();
    assert!(c.estimate(at(3_000_000, 1_000_000)));
    assert!(c.mult.abs_diff(GHZ3) < 2);
    c.period = LONGEST_PERIOD;
    // A second later, 10 ppm faster: steered.
    assert!(c.estimate(at(3_003_000_000, 1_001_010_000)));
    assert_eq!(c.wild, 0);
    // The host slept: the counter ran on, the clock did not. New baseline.
    assert!(!c.estimate(at(30_003_000_000, 1_101_010_000)));
    assert_eq!((c.wild, c.period, c.mult), (1, FIRST_PERIOD, 0));
    assert!(c.estimate(at(30_006_000_000, 1_102_010_000)));
    assert!(c.mult.abs_diff(GHZ3) < 2);
    // The counter was reset.
    assert!(!c.estimate(at(5, 2_000_000_000)));
    assert!(c.estimate(at(3_000_005, 2_001_000_000)));
}

#[test]
fn offsets_take_steps_but_no_noise() {
    let mut c = calibration();
    let offset = |real| Sample { real_offset: real, ..at(0, 0) };
    c.follow_offsets(offset(1_700_000_000_000));
    c.follow_offsets(offset(1_700_000_000_040));
    assert_eq!(c.real_offset, 1_700_000_000_000);
    c.follow_offsets(offset(1_600_000_000_000));
    assert_eq!(c.real_offset, 1_600_000_000_000);
    assert_eq!(c.boot_offset, 0);
}
