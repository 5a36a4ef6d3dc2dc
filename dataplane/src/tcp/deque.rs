//! A queue whose first element lies inline: while one segment is outstanding, as between a request and its response, nothing is on the heap.

use std::collections::VecDeque;

/// `rest` holds elements only while `first` does.
#[derive(Clone, Debug)]
pub(super) struct Deque<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Deque<T> {
    pub(super) const fn new() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
    #[inline]
    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }
    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }
    pub(super) fn back(&self) -> Option<&T> {
        self.rest.back().or(self.first.as_ref())
    }
    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        self.rest.back_mut().or(self.first.as_mut())
    }
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        if index == 0 { self.first.as_ref() } else { self.rest.get(index - 1) }
    }
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index == 0 { self.first.as_mut() } else { self.rest.get_mut(index - 1) }
    }
    #[inline]
    pub(super) fn push_back(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.rest.push_back(element);
        }
    }
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let next = if self.rest.is_empty() { None } else { self.rest.pop_front() };
        std::mem::replace(&mut self.first, next)
    }
    /// Puts an element behind the one at `index`.
    pub(super) fn insert_after(&mut self, index: usize, element: T) {
        debug_assert!(index < self.len());
        self.rest.insert(index, element);
    }
    /// How many elements, from the first on, fulfil `before`, which must not hold again after it has not.
    #[inline]
    pub(super) fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        match &self.first {
            Some(first) if before(first) => 1 + self.rest.partition_point(before),
            _ => 0,
        }
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(&mut self.rest)
    }
}

impl<T> Default for Deque<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> std::ops::Index<usize> for Deque<T> {
    type Output = T;
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("an index below the length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec(0u8..4, 0..60)) {
            let (mut deque, mut model) = (Deque::new(), Vec::new());
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        deque.push_back(i);
                        model.push(i);
                    }
                    2 => prop_assert_eq!(deque.pop_front(), (!model.is_empty()).then(|| model.remove(0))),
                    _ if !model.is_empty() => {
                        let at = i % model.len();
                        deque.insert_after(at, model[at]);
                        model.insert(at + 1, model[at]);
                    }
                    _ => {}
                }
                prop_assert_eq!(deque.iter().copied().collect::<Vec<_>>(), model.clone());
                prop_assert_eq!((deque.len(), deque.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((deque.front(), deque.back()), (model.first(), model.last()));
                prop_assert_eq!(deque.partition_point(|x| *x < i / 2), model.partition_point(|x| *x < i / 2));
                for at in 0..=model.len() {
                    prop_assert_eq!(deque.get(at), model.get(at));
                }
            }
        }
    }
}
