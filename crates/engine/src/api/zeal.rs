//! Zeal: collecting far more often than any program needs, so that a root or a barrier that is missing shows at once.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroU64;
use std::str::FromStr;

/// When collections are forced; by default never.
///
/// ```
/// use engine::Zeal;
/// let zeal: Zeal = "alloc:7".parse().unwrap();
/// assert_eq!(zeal.alloc.unwrap().get(), 7);
/// assert_eq!(zeal.to_string(), "alloc:7");
/// assert!("often".parse::<Zeal>().unwrap_err().to_string().contains("alloc:N"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Zeal {
    /// A store collects (a major collection) before every Nth object that it allocates, by compiled code or by the host.
    pub alloc: Option<NonZeroU64>,
}

/// The modes, as they are written, and what each does.
pub const ZEAL_MODES: &[(&str, &str)] = &[("alloc:N", "collect at every Nth allocation")];

impl Zeal {
    /// Never.
    pub const OFF: Zeal = Zeal { alloc: None };

    /// Collects at every `n`th allocation; 0 is never.
    pub const fn every_nth_allocation(n: u64) -> Zeal {
        Zeal { alloc: NonZeroU64::new(n) }
    }

    /// Whether the runtime must see every allocation, so that compiled code allocates nothing itself.
    pub(crate) fn sees_allocations(self) -> bool {
        self.alloc.is_some()
    }

    fn add(&mut self, mode: &str) -> Result<(), ZealError> {
        let (name, argument) = match mode.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (mode, None),
        };
        let wrong = |what: &str| Err(ZealError(format!("`{mode}` {what}: {}", there_is())));
        match (name, argument) {
            ("alloc", Some(n)) => match n.parse() {
                Ok(_) if self.alloc.is_some() => wrong("gives `alloc` a second time"),
                Ok(n) => {
                    self.alloc = Some(n);
                    Ok(())
                }
                Err(_) => wrong("does not say how often, by a whole number from 1 on"),
            },
            ("alloc", None) => wrong("does not say how often"),
            _ => wrong("is no way to force collections"),
        }
    }
}

fn there_is() -> String {
    let modes: Vec<String> = ZEAL_MODES.iter().map(|(form, what)| format!("`{form}` ({what})")).collect();
    format!("there is {}; several are separated by commas", modes.join(", "))
}

/// Modes, separated by commas.
impl FromStr for Zeal {
    type Err = ZealError;

    fn from_str(text: &str) -> Result<Zeal, ZealError> {
        let mut zeal = Zeal::OFF;
        text.split(',').try_for_each(|mode| zeal.add(mode.trim()))?;
        Ok(zeal)
    }
}

/// As [`FromStr`] takes it; nothing when there is none.
impl Display for Zeal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.alloc.map_or(Ok(()), |n| write!(f, "alloc:{n}"))
    }
}

/// What is wrong with the text for a [`Zeal`], and what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ZealError(String);

#[cfg(test)]
mod tests;
