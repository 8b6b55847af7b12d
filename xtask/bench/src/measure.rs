use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor time that this thread has used. Unlike the time on the wall, neighbours on the
/// machine do not change it.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The least value that this part of them does not exceed; sorts them.
pub(crate) fn part(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = (values.len() as f64 * part).ceil() as usize;
    values.get(count.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(vec![9.0, 1.0, 5.0, 2.0, 100.0]) - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_hundredth_exceeds_the_p99() {
        let mut values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        assert!((part(&mut values, 0.99) - 990.0).abs() < f64::EPSILON);
        assert!(part(&mut [], 0.99).is_nan());
    }
}
