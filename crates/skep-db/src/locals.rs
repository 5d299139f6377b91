//! What a transaction's operations leave for the moment before its commit.
//!
//! Invariant: what is left is taken up by [`BeforeCommit`](crate::BeforeCommit) or the operation
//! fails; nothing is dropped silently.

use std::any::Any;

/// Values that belong to one run of one operation, at most one of each type.
///
/// They are gone when the operation fails or is run again. Empty, it holds no memory.
#[derive(Default)]
pub struct Locals(Vec<Box<dyn Any + Send>>);

impl Locals {
    /// The value of this type, made if there is none yet.
    pub fn get<T: Default + Send + 'static>(&mut self) -> &mut T {
        let found = self.0.iter().position(|value| value.is::<T>());
        let at = found.unwrap_or_else(|| {
            self.0.push(Box::<T>::default());
            self.0.len() - 1
        });
        let value = self.0[at].downcast_mut();
        value.unwrap_or_else(|| unreachable!("it was found by its type"))
    }

    /// Takes the value of this type out.
    pub fn take<T: 'static>(&mut self) -> Option<T> {
        let at = self.0.iter().position(|value| value.is::<T>())?;
        self.0.swap_remove(at).downcast().ok().map(|value| *value)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why an operation is not committed that left something when nobody takes it up.
pub(crate) const LEFT_BEHIND: &str = "it left a value for the commit that nothing takes up";

#[cfg(test)]
mod tests {
    use super::Locals;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut locals = Locals::default();
        assert!(locals.is_empty());
        locals.get::<Vec<i64>>().push(1);
        locals.get::<Vec<i64>>().push(2);
        locals.get::<String>().push('a');
        assert_eq!(locals.take::<Vec<i64>>(), Some(vec![1, 2]));
        assert_eq!(locals.take::<Vec<i64>>(), None);
        assert_eq!(locals.take::<String>().as_deref(), Some("a"));
        assert!(locals.is_empty());
    }
}
