//! What few services have.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value that nearly all services have alike: it takes room only where it has been touched.
#[derive(Clone, Default)]
pub(super) struct Rare<T>(Option<Box<T>>);

/// A type with a value that nearly all services have.
pub(super) trait Usual: Default + 'static {
    /// That value; the same as `Default` makes.
    const USUAL: &'static Self;
}

impl<T: Usual> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::USUAL)
    }
}

impl<T: Usual> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Usual + PartialEq> From<T> for Rare<T> {
    fn from(value: T) -> Rare<T> {
        Rare((value != *T::USUAL).then(|| Box::new(value)))
    }
}

impl<T: Usual + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::service::Said;
    use super::super::slices::FromSlice;
    use super::*;

    #[test]
    fn the_usual_value_is_the_default_and_takes_no_room() {
        assert_eq!((Said::USUAL, FromSlice::USUAL), (&Said::default(), &FromSlice::default()));
        let mut said = Rare::<Said>::default();
        assert!(said.error.is_none() && said.0.is_none());
        said.errno = Some(7);
        assert_eq!((said.errno, said.0.is_some()), (Some(7), true));
        said = Said::default().into();
        assert!(said.0.is_none());
        said = Said { errno: Some(8), ..Said::default() }.into();
        assert_eq!(said.clone().errno, Some(8));
    }
}
