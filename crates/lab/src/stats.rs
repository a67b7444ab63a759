//! Means, confidence intervals, differences: Student's, Welch's and Wilcoxon's, at a level of 95 % unless said otherwise.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The level of confidence of intervals, where none is given.
pub const LEVEL: f64 = 0.95;

/// A mean with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of its interval; infinite when there is one value only.
    pub half: f64,
    /// Values.
    pub n: usize,
}

impl Estimate {
    /// Of some values; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Estimate> {
        Estimate::at(values, LEVEL)
    }

    /// Of some values, at a level of confidence.
    pub fn at(values: &[f64], level: f64) -> Option<Estimate> {
        let (mean, variance) = moments(values)?;
        let half = match values.len() {
            1 => f64::INFINITY,
            n => t_quantile(level, n as f64 - 1.0) * (variance / n as f64).sqrt(),
        };
        Some(Estimate { mean, half, n: values.len() })
    }

    /// Half the interval's width as a share of the mean.
    pub fn relative_width(&self) -> f64 {
        if self.half == 0.0 { 0.0 } else { self.half / self.mean.abs() }
    }
}

/// The mean and the unbiased variance.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, if values.len() > 1 { squares / (n - 1.0) } else { 0.0 }))
}

/// The `t` that a variable with so many degrees of freedom keeps within, to either side, with probability `level`.
fn t_quantile(level: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + level / 2.0))
}

/// How much larger one kind of values is than another, as a ratio with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the geometric means.
    pub ratio: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Ratio {
    /// `head` as a multiple of `base`, by Welch's interval for the difference of the logarithms; `None` with less than two values on either
    /// side or values that are not positive.
    pub fn of(base: &[f64], head: &[f64], level: f64) -> Option<Ratio> {
        if base.len() < 2 || head.len() < 2 || base.iter().chain(head).any(|value| *value <= 0.0) {
            return None;
        }
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
        let ((a, va), (b, vb)) = (moments(&logs(base))?, moments(&logs(head))?);
        let (na, nb) = (base.len() as f64, head.len() as f64);
        let (sa, sb) = (va / na, vb / nb);
        let error = (sa + sb).sqrt();
        let half = if error == 0.0 {
            0.0
        } else {
            let freedom = (sa + sb).powi(2) / (sa.powi(2) / (na - 1.0) + sb.powi(2) / (nb - 1.0));
            t_quantile(level, freedom) * error
        };
        let difference = b - a;
        Some(Ratio { ratio: difference.exp(), low: (difference - half).exp(), high: (difference + half).exp() })
    }

    /// `head` as a multiple of `base` when the values at the same place were measured one right after the other: what disturbs both is in
    /// neither, and what disturbs one of a few pairs counts no more than its rank. By the Hodges–Lehmann estimate of the logarithms of
    /// the ratios with the interval of Wilcoxon's signed-rank test (F. Wilcoxon, *Individual comparisons by ranking methods*, 1945; J. L.
    /// Hodges, E. L. Lehmann, *Estimates of location based on rank tests*, 1963). With too few pairs for the level it has no ends.
    pub fn paired(base: &[f64], head: &[f64], level: f64) -> Option<Ratio> {
        if base.len() < 2 || base.len() != head.len() || base.iter().chain(head).any(|value| *value <= 0.0) {
            return None;
        }
        let logs: Vec<f64> = base.iter().zip(head).map(|(base, head)| (head / base).ln()).collect();
        // The means of all pairs of them, each with itself, too.
        let mut means: Vec<f64> = (0..logs.len())
            .flat_map(|i| (i..logs.len()).map(move |j| (i, j)))
            .map(|(i, j)| logs[i].midpoint(logs[j]))
            .collect();
        means.sort_by(f64::total_cmp);
        let all = means.len();
        let median = means[(all - 1) / 2].midpoint(means[all / 2]);
        let n = logs.len() as f64;
        let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
        let outside = (n * (n + 1.0) / 4.0 - z * deviation).floor();
        let (low, high) = match outside {
            outside if outside < 1.0 => (f64::NEG_INFINITY, f64::INFINITY),
            outside => (means[outside as usize - 1], means[all - outside as usize]),
        };
        Some(Ratio { ratio: median.exp(), low: low.exp(), high: high.exp() })
    }

    /// Whether the interval leaves out equality.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// The geometric mean; `None` of nothing, or when a value is not positive.
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u32);
    for value in values {
        if value <= 0.0 {
            return None;
        }
        sum += value.ln();
        n += 1;
    }
    (n > 0).then(|| (sum / f64::from(n)).exp())
}

/// The value that the fraction `q` of all does not exceed; `None` of nothing.
pub fn quantile<T: PartialOrd + Copy>(values: &mut [T], q: f64) -> Option<T> {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).expect("values are numbers"));
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-3 * b.abs().max(1.0)
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // t(0.975; 4) = 2.776, the variance of 1..5 is 2.5.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!(close(estimate.mean, 3.0) && close(estimate.half, 2.776 * (2.5f64 / 5.0).sqrt()), "{estimate:?}");
        // t(0.975; 1) = 12.706.
        let estimate = Estimate::of(&[1.0, 2.0]).unwrap();
        assert!(close(estimate.half, 12.706 * 0.5), "{estimate:?}");
        assert_eq!(Estimate::of(&[7.0]).unwrap().half, f64::INFINITY);
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[2.0, 2.0]).unwrap().relative_width(), 0.0);
    }

    #[test]
    fn ratios_have_welchs_intervals() {
        let (base, head) = ([100.0, 102.0, 98.0, 101.0, 99.0], [110.0, 112.0, 109.0, 111.0, 108.0]);
        let ratio = Ratio::of(&base, &head, LEVEL).unwrap();
        assert!(close(ratio.ratio, 1.10) && ratio.differs() && ratio.low > 1.07 && ratio.high < 1.13, "{ratio:?}");
        let same = Ratio::of(&base, &[101.0, 99.5, 100.5, 98.0, 102.0], LEVEL).unwrap();
        assert!(!same.differs() && same.low < 1.0 && same.high > 1.0, "{same:?}");
        assert_eq!(Ratio::of(&base, &[100.0], LEVEL), None);
        assert!(!Ratio::of(&[1.0, 1.0], &[1.0, 1.0], LEVEL).unwrap().differs());
    }

    #[test]
    fn pairs_cancel_what_both_suffer() {
        // The machine's speed varies by a half, the second is slower by 3 %.
        let base: Vec<f64> = (0..20).map(|i| 100.0 + 50.0 * f64::from(i % 7)).collect();
        let head: Vec<f64> =
            base.iter().enumerate().map(|(i, t)| t * (1.03 + 0.002 * ((i % 3) as f64 - 1.0))).collect();
        assert!(!Ratio::of(&base, &head, LEVEL).unwrap().differs());
        let paired = Ratio::paired(&base, &head, LEVEL).unwrap();
        assert!(paired.differs() && close(paired.ratio, 1.03), "{paired:?}");
        // Three of the pairs were disturbed, and by much.
        let mut disturbed = head.clone();
        [2, 9, 13].into_iter().for_each(|i| disturbed[i] *= 1.6);
        let paired = Ratio::paired(&base, &disturbed, LEVEL).unwrap();
        assert!(paired.differs() && paired.ratio < 1.04, "{paired:?}");
        let few = Ratio::paired(&base[..4], &head[..4], LEVEL).unwrap();
        assert!(!few.differs() && few.high == f64::INFINITY, "{few:?}");
    }

    /// How often an interval at 95 % leaves out the truth, on values drawn from one distribution: the A/A test, without a clock.
    #[test]
    fn intervals_leave_out_the_truth_one_time_in_twenty() {
        use rand::{Rng, RngExt, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        // A sum of twelve uniform numbers is nearly normal.
        fn draw(rng: &mut impl Rng) -> f64 {
            100.0 + (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
        }
        let (mut welch, mut paired) = (0, 0);
        const RUNS: u32 = 2000;
        for _ in 0..RUNS {
            let [a, b]: [Vec<f64>; 2] = [0, 1].map(|_| (0..10).map(|_| draw(&mut rng)).collect());
            welch += u32::from(Ratio::of(&a, &b, LEVEL).unwrap().differs());
            paired += u32::from(Ratio::paired(&a, &b, LEVEL).unwrap().differs());
        }
        for wrong in [welch, paired] {
            let share = f64::from(wrong) / f64::from(RUNS);
            assert!((0.035..0.065).contains(&share), "{share}");
        }
    }

    #[test]
    fn quantiles_and_geometric_means() {
        let mut values = [5, 1, 4, 2, 3];
        assert_eq!(quantile(&mut values, 0.5), Some(3));
        assert_eq!(quantile(&mut values, 0.9), Some(5));
        assert_eq!(quantile(&mut values, 0.0), Some(1));
        assert_eq!(quantile::<f64>(&mut [], 0.5), None);
        assert!(close(geometric_mean([1.0, 4.0, 2.0]).unwrap(), 2.0));
        assert_eq!(geometric_mean([1.0, 0.0]), None);
    }
}
